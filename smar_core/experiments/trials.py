"""What an experiment trains: its trials, and how each is configured.

A trial is a variant, overrides and a seed. Data stages are shared: trials may not differ in what those, the evaluation or the
machine are configured by. How an experiment comes to its trials is ``plans``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from smar_core.config import VARIANTS, PipelineConfig, load_config
from smar_core.digest import digest_json
from smar_core.experiments.records import Record

TRIAL_SECTIONS = ("synthetic", "model", "loss", "pretrain", "gate", "finetune", "export")
"""Config sections in which trials may differ."""

SHARED_SECTIONS = ("prepare", "beam", "evaluate", "tracking", "runtime", "promotion", "cluster")
"""Config sections that all trials of an experiment have in common."""

SEEDED_SECTIONS = ("pretrain", "gate", "finetune")
"""Sections whose seed is the trial's; those of the data stages stay, so that trials share their data."""

Kind = Literal["ablation", "sweep"]
Split = Literal["test", "validation"]
Values = Mapping[str, Mapping[str, Any]]
"""Config values by section and key, as JSON has them."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.,=+-]")


class Trial(Record):
    """One training.

    Attributes:
        variant: One of ``smar_core.config.VARIANTS``.
        overrides: ``section.key=value`` each, on top of preset, variant and the experiment's settings.
        seed: Of pre-training, gate and fine-tuning.
    """

    variant: str
    overrides: tuple[str, ...] = ()
    seed: int = 0

    @property
    def setting(self) -> str:
        """What is trained, whatever the seed; tables call it so.

        >>> Trial(variant="smar", overrides=("loss.alpha=0.5",)).setting
        'smar,loss.alpha=0.5'
        """
        return ",".join((self.variant, *self.overrides))

    @property
    def name(self) -> str:
        """Name of the trial, fit for a file: whatever else an override holds is an underscore.

        >>> Trial(variant="dpsr", seed=2).name
        'dpsr-2'
        >>> Trial(variant="smar", overrides=("loss.matryoshka_dims=[48, 96]",)).name
        'smar,loss.matryoshka_dims=_48,_96_-0'
        """
        return _NOT_IN_NAMES.sub("_", f"{self.setting}-{self.seed}")

    def configure(self, preset: str, settings: Sequence[str]) -> PipelineConfig:
        """Return the trial's whole configuration; raises UserError as ``load_config`` does.

        Args:
            preset: Preset of the experiment.
            settings: ``section.key=value`` each, which all trials of the experiment have.
        """
        seeds = (f"{section}.seed={self.seed}" for section in SEEDED_SECTIONS)
        return load_config(preset, self.overrides, self.variant, shared=(*settings, *seeds))


class Plan(Record):
    """An experiment.

    Attributes:
        kind: Whether variants are compared, or settings.
        preset: What all trials start from.
        settings: ``section.key=value`` each, which all trials have.
        baseline: Setting (``Trial.setting``) that the others are compared with.
        trials: In the order in which they run.
    """

    kind: Kind
    preset: str
    settings: tuple[str, ...]
    baseline: str
    trials: tuple[Trial, ...]

    def configure(self, trial: Trial) -> PipelineConfig:
        """Return the whole configuration of one of the trials."""
        return trial.configure(self.preset, self.settings)


def rank_settings(baseline: str, trials: Iterable[Trial]) -> list[str]:
    """Return the settings of trials in the order of tables: the baseline, then as ``VARIANTS`` has them, overrides last.

    The order does not depend on which trials were recorded before.

    >>> rank_settings("smar", [Trial(variant="dpsr"), Trial(variant="smar"), Trial(variant="smar-nc")])
    ['smar', 'smar-nc', 'dpsr']
    """
    known = {trial.setting: trial for trial in trials}

    def place(setting: str) -> tuple[bool, int, tuple[str, ...]]:
        return setting != baseline, VARIANTS.index(known[setting].variant), known[setting].overrides

    return sorted(known, key=place)


def shaping_values(config: PipelineConfig) -> Values:
    """Return what shapes a trial's figures, by section and key: all but the report, the tracking and Beam."""
    values = {name: getattr(config, name).model_dump(mode="json") for name in ("prepare", *TRIAL_SECTIONS)}
    machine = config.runtime.model_dump(mode="json")
    measured = config.evaluate.model_dump(mode="json", include={"split", "cutoffs"})
    return {**values, "runtime": machine, "evaluate": measured}


def changed_keys(then: Values, config: PipelineConfig) -> list[str]:
    """Return the keys whose value is not what it was.

    A key that there was none of then is unchanged at its default, since a new setting's default leaves everything as it was;
    so a new version with more settings does not call for all trainings again.

    Args:
        then: ``shaping_values`` of an earlier time.
        config: Of now.
    """
    now, defaults = shaping_values(config), shaping_values(PipelineConfig())
    keys = sorted({(section, key) for values in (then, now) for section, of in values.items() for key in of})
    return [
        f"{section}.{key}"
        for section, key in keys
        if then.get(section, {}).get(key, defaults.get(section, {}).get(key)) != now.get(section, {}).get(key)
    ]


def data_digest(files: Mapping[str, str], column_map: Mapping[str, str]) -> str:
    """Return the digest of the data; judgments do not count: nothing is trained on them.

    Args:
        files: Digests of the input files, by name.
        column_map: Column by ``field`` or ``source.field``: the same files read otherwise are other data.
    """
    known = {name: files.get(name, "") for name in ("items", "clicks", "images")}
    read_as = {field: column for field, column in column_map.items() if not field.startswith("judgments.")}
    return digest_json({**known, "column_map": read_as} if read_as else known)
