"""What an experiment trains: its trials, and how each is configured.

A trial is a variant, overrides and a seed. An *ablation* trains every variant, measured on the test days; a *sweep* trains one
variant with one setting at a time moved away from the preset's value, measured on the validation days, since what is chosen
by the test days cannot be tested on them. One axis at a time is what the paper's Fig. 3 does and costs a sum of runs instead
of a product; it cannot see interactions. Trials are ordered seed by seed, so that an experiment that is cut short has whole
rounds. Data stages are shared: a trial may not touch what they, the evaluation or the machine are configured by.

Source: PAPER.md 16 (ablations), Fig. 3 (sweep of the loss weights).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from smar_core.config import VARIANTS, PipelineConfig, load_config
from smar_core.digest import digest_json
from smar_core.errors import UserError
from smar_core.experiments.records import Record

TRIAL_SECTIONS = ("synthetic", "model", "loss", "pretrain", "gate", "finetune", "export")
"""Config sections in which trials may differ."""

SHARED_SECTIONS = ("prepare", "evaluate", "tracking", "runtime")
"""Config sections that all trials of an experiment have in common."""

SEEDED_SECTIONS = ("pretrain", "gate", "finetune")
"""Sections whose seed is the trial's; those of the data stages stay, so that trials share their data."""

Kind = Literal["ablation", "sweep"]
Split = Literal["test", "validation"]
Values = Mapping[str, Mapping[str, Any]]
"""Config values by section and key, as JSON has them."""

DEFAULT_AXES = ("loss.alpha=0,0.25,0.5,1,2", "loss.beta=0,0.25,0.5,1,2", "loss.gamma=0,0.25,0.5,1,2")
"""Axes of the paper's Fig. 3, around the preset's weights."""

_FILE_SAFE = re.compile(r"[A-Za-z0-9_.+-]+")


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
        """Name of what is trained, whatever the seed; files and tables call it so.

        >>> Trial(variant="smar", overrides=("loss.alpha=0.5",)).setting
        'smar,loss.alpha=0.5'
        """
        return ",".join((self.variant, *self.overrides))

    @property
    def name(self) -> str:
        """Name of the trial.

        >>> Trial(variant="dpsr", seed=2).name
        'dpsr-2'
        """
        return f"{self.setting}-{self.seed}"

    def configure(self, preset: str, settings: Iterable[str]) -> PipelineConfig:
        """Return the trial's whole configuration; raises UserError as ``load_config`` does.

        Args:
            preset: Preset of the experiment.
            settings: ``section.key=value`` each, which all trials of the experiment have.
        """
        seeds = (f"{section}.seed={self.seed}" for section in SEEDED_SECTIONS)
        return load_config(preset, (*settings, *self.overrides, *seeds), self.variant)


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


def plan_ablation(
    preset: str, settings: Sequence[str], variants: Sequence[str], seeds: Sequence[int], baseline: str = "smar"
) -> Plan:
    """Plan a comparison of variants.

    Args:
        preset: What all trials start from.
        settings: ``section.key=value`` each, which all trials have.
        variants: Names of variants.
        seeds: Seeds of every variant.
        baseline: The variant that the others are compared with.

    Raises:
        UserError: A name or a setting that does not exist or fit, or a baseline that is not trained.
    """
    _check_distinct("--variants", variants)
    _check_seeds(seeds)
    if baseline not in variants:
        raise UserError(f"baseline {baseline!r} is none of the variants {', '.join(variants)}", "add it to --variants")
    trials = tuple(Trial(variant=variant, seed=seed) for seed in seeds for variant in variants)
    plan = Plan(kind="ablation", preset=preset, settings=tuple(settings), baseline=baseline, trials=trials)
    for trial in trials:
        plan.configure(trial)
    return plan


def plan_sweep(preset: str, settings: Sequence[str], axes: Sequence[str], seeds: Sequence[int], variant: str = "smar") -> Plan:
    """Plan a sweep, on the validation days: the preset as it is, and each value of each axis that is not the preset's own.

    Args:
        preset: What all trials start from.
        settings: ``section.key=value`` each, which all trials have.
        axes: ``section.key=value,value,...`` each.
        seeds: Seeds of every setting.
        variant: What is trained.

    Raises:
        UserError: An axis that is malformed, or of a section that trials share; a setting that does not fit; test days.
    """
    _check_seeds(seeds)
    if any(setting.replace(" ", "") == "evaluate.split=test" for setting in settings):
        raise UserError("a sweep chooses settings, and evaluate.split=test would choose them by the test days", "leave it out")
    shared = (*settings, "evaluate.split=validation")
    base = Trial(variant=variant)
    parsed = [_parse_axis(axis) for axis in axes]
    _check_distinct("--axis", [key for key, _ in parsed])
    config = base.configure(preset, shared)
    moved = [Trial(variant=variant, overrides=(f"{key}={value}",)) for key, values in parsed for value in values]
    distinct = [base, *(trial for trial in moved if trial.configure(preset, shared) != config)]
    if len(distinct) == 1:
        raise UserError("the axes name the preset's own values alone", "name other ones to compare them with")
    trials = tuple(trial.model_copy(update={"seed": seed}) for seed in seeds for trial in distinct)
    return Plan(kind="sweep", preset=preset, settings=shared, baseline=base.setting, trials=trials)


def rank_settings(baseline: str, trials: Iterable[Trial]) -> list[str]:
    """Return the settings of trials in the order of tables: the baseline, then as ``VARIANTS`` has them, then as they came.

    >>> rank_settings("smar", [Trial(variant="dpsr"), Trial(variant="smar"), Trial(variant="smar-nc")])
    ['smar', 'smar-nc', 'dpsr']
    """
    variant = {trial.setting: trial.variant for trial in trials}
    return sorted(variant, key=lambda setting: (setting != baseline, VARIANTS.index(variant[setting])))


def shaping_values(config: PipelineConfig) -> Values:
    """Return what shapes a trial's figures, by section and key: all but the report, the tracking and the number of workers."""
    values = {name: getattr(config, name).model_dump(mode="json") for name in ("prepare", *TRIAL_SECTIONS)}
    machine = config.runtime.model_dump(mode="json", exclude={"num_workers"})
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


def data_digest(files: Mapping[str, str]) -> str:
    """Return the digest of the data, given those of its files by name; judgments do not count: nothing is trained on them."""
    return digest_json({name: files.get(name, "") for name in ("items", "clicks", "images")})


def _parse_axis(text: str) -> tuple[str, list[str]]:
    """Return key and values of ``section.key=value,value,...``."""
    key, equals, listed = (part.strip() for part in text.partition("="))
    values = [value.strip() for value in listed.split(",")]
    section, dot, field = key.partition(".")
    if not equals or not dot or not all(_FILE_SAFE.fullmatch(value) for value in values):
        raise UserError(
            f"--axis {text!r} is not of the form section.key=value,value,...", "write numbers or words, as loss.alpha=0,0.5,1"
        )
    if section in SHARED_SECTIONS:
        raise UserError(
            f"--axis {key} is of section {section!r}, which all trials share", f"move a setting of {', '.join(TRIAL_SECTIONS)}"
        )
    if field == "seed" and section in SEEDED_SECTIONS:
        raise UserError(f"--axis {key} is the trial's seed", "name seeds with --seeds")
    _check_distinct(f"--axis {key}", values)
    return key, values


def _check_seeds(seeds: Sequence[int]) -> None:
    _check_distinct("--seeds", [str(seed) for seed in seeds])


def _check_distinct(option: str, values: Sequence[str]) -> None:
    if not values:
        raise UserError(f"{option} names nothing", "name at least one")
    if len(set(values)) < len(values):
        raise UserError(f"{option} names {next(v for v in values if values.count(v) > 1)!r} twice", "name each once")
