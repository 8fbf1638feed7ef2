"""Plans of experiments: which trials an ablation or a sweep has, and which plans are refused before anything is trained.

An *ablation* trains every variant, measured on the test days; a *sweep* trains one variant with one setting at a time moved
away from the preset's value, measured on the validation days, since what is chosen by the test days cannot be tested on them.
One axis at a time is what the paper's Fig. 3 does and costs a sum of runs instead of a product; it cannot see interactions.
Either may have trials beside, a variant with any overrides each (``parse_setting``). Trials are ordered seed by seed, so that
an experiment that is cut short has whole rounds.

Source: PAPER.md 16 (ablations), Fig. 3 (sweep of the loss weights).
"""

import re
from collections.abc import Sequence

from smar_core.config.ignored import find_ignored
from smar_core.errors import UserError
from smar_core.experiments.trials import SEEDED_SECTIONS, SHARED_SECTIONS, TRIAL_SECTIONS, Kind, Plan, Trial

DEFAULT_AXES = ("loss.alpha=0,0.25,0.5,1,2", "loss.beta=0,0.25,0.5,1,2", "loss.gamma=0,0.25,0.5,1,2")
"""Axes of the paper's Fig. 3, around the preset's weights."""

FASHION_KEY = "gate.visual_categories"
"""What says, beside supervising a gate, which queries are fashion: one for all trials, or their slices could not be compared."""

LONGEST_NAME = 200
"""Characters of a trial's name; file systems take 255 and files have endings."""

_FILE_SAFE = re.compile(r"[A-Za-z0-9_.+-]+")
_BEFORE_OVERRIDE = re.compile(r"\s+(?=\w+\.\w+\s*=)")


def plan_ablation(
    preset: str,
    settings: Sequence[str],
    variants: Sequence[str],
    seeds: Sequence[int],
    baseline: str = "smar",
    beside: Sequence[str] = (),
) -> Plan:
    """Plan a comparison of variants.

    Args:
        preset: What all trials start from.
        settings: ``section.key=value`` each, which all trials have.
        variants: Names of variants.
        seeds: Seeds of every trial.
        baseline: What the others are compared with: a variant, or one of ``beside`` as it is written there.
        beside: Further trials, as ``parse_setting`` reads them.

    Raises:
        UserError: A name or a setting that does not exist or fit, or a baseline that is not trained.
    """
    _check_distinct("--variants", variants)
    distinct = [Trial(variant=variant) for variant in variants] + [parse_setting(text) for text in beside]
    known = [trial.setting for trial in distinct]
    compared = baseline if baseline in known else parse_setting(baseline).setting
    if compared not in known:
        raise UserError(f"baseline {baseline!r} is none of {', '.join(known)}", "add it to --variants, or as a --setting")
    _check_new(distinct[: len(variants)], distinct[len(variants) :], preset, settings)
    return _plan("ablation", preset, settings, compared, distinct, seeds)


def plan_sweep(
    preset: str,
    settings: Sequence[str],
    axes: Sequence[str],
    seeds: Sequence[int],
    variant: str = "smar",
    beside: Sequence[str] = (),
) -> Plan:
    """Plan a sweep, on the validation days: the preset as it is, and each value of each axis that is not the preset's own.

    Args:
        preset: What all trials start from.
        settings: ``section.key=value`` each, which all trials have.
        axes: ``section.key=value,value,...`` each.
        seeds: Seeds of every trial.
        variant: What is trained along the axes.
        beside: Further trials, as ``parse_setting`` reads them.

    Raises:
        UserError: An axis that is malformed, or of a section that trials share; a setting that does not fit; test days.
    """
    if any(setting.replace(" ", "") == "evaluate.split=test" for setting in settings):
        raise UserError("a sweep chooses settings, and evaluate.split=test would choose them by the test days", "leave it out")
    shared = (*settings, "evaluate.split=validation")
    base = Trial(variant=variant)
    parsed = [_parse_axis(axis) for axis in axes]
    if parsed:
        _check_distinct("--axis", [key for key, _ in parsed])
    config = base.configure(preset, shared)
    moved = [Trial(variant=variant, overrides=(f"{key}={value}",)) for key, values in parsed for value in values]
    of_axes = [base, *(trial for trial in moved if trial.configure(preset, shared) != config)]
    added = [parse_setting(text) for text in beside]
    if len(of_axes) + len(added) == 1:
        raise UserError("the axes name the preset's own values alone", "name other ones to compare them with")
    _check_new(of_axes, added, preset, shared)
    return _plan("sweep", preset, shared, base.setting, [*of_axes, *added], seeds)


def parse_setting(text: str) -> Trial:
    """Read a variant and its overrides, of seed 0; the overrides are sorted, so that what is equal is called the same.

    Args:
        text: ``VARIANT section.key=value ...``; a value is YAML and may hold spaces.

    Raises:
        UserError: An override that is malformed, twice there, or of what trials share.

    >>> parse_setting("smar pretrain.hard_negatives=64 loss.matryoshka_dims=[48, 96]").overrides
    ('loss.matryoshka_dims=[48, 96]', 'pretrain.hard_negatives=64')
    """
    variant, *written = _BEFORE_OVERRIDE.split(text.strip())
    option = f"--setting {text!r}:"
    if "=" in variant:
        raise UserError(f"{option} names no variant first", "write for example --setting 'smar loss.alpha=0.5'")
    pairs = [[part.strip() for part in override.split("=", 1)] for override in written]
    for key, _ in pairs:
        _check_movable(option, key)
    if pairs:
        _check_distinct(option, [key for key, _ in pairs])
    return Trial(variant=variant, overrides=tuple(sorted(f"{key}={value}" for key, value in pairs)))


def _parse_axis(text: str) -> tuple[str, list[str]]:
    """Return key and values of ``section.key=value,value,...``."""
    key, equals, listed = (part.strip() for part in text.partition("="))
    values = [value.strip() for value in listed.split(",")]
    if not equals or "." not in key or not all(_FILE_SAFE.fullmatch(value) for value in values):
        raise UserError(
            f"--axis {text!r} is not of the form section.key=value,value,...", "write numbers or words, as loss.alpha=0,0.5,1"
        )
    _check_movable(f"--axis {key}:", key)
    _check_distinct(f"--axis {key}", values)
    return key, values


def _plan(
    kind: Kind, preset: str, settings: Sequence[str], baseline: str, distinct: Sequence[Trial], seeds: Sequence[int]
) -> Plan:
    """Return the plan of distinct settings with every seed, after looking at each."""
    _check_distinct("--seeds", [str(seed) for seed in seeds])
    trials = tuple(trial.model_copy(update={"seed": seed}) for seed in seeds for trial in distinct)
    plan = Plan(kind=kind, preset=preset, settings=tuple(settings), baseline=baseline, trials=trials)
    _check_names(trials)
    _check_shared(plan)
    if len({plan.configure(trial).gate.visual_categories for trial in trials}) > 1:
        raise UserError(
            f"the trials differ in {FASHION_KEY}, which says what queries are fashion: their slices could not be compared",
            f"give all of them one with --set {FASHION_KEY}=[...], in a folder of its own (--results)",
        )
    return plan


def _check_new(planned: Sequence[Trial], added: Sequence[Trial], preset: str, settings: Sequence[str]) -> None:
    """Refuse a trial of ``--setting`` that trains what another one of the plan trains."""
    configured = [(trial.setting, trial.configure(preset, settings)) for trial in planned]
    for trial in added:
        config = trial.configure(preset, settings)
        same = next((setting for setting, other in configured if other == config), None)
        if same is not None:
            raise UserError(f"--setting {trial.setting!r} trains what {same!r} does", "leave it out")
        configured.append((trial.setting, config))


def _check_shared(plan: Plan) -> None:
    """Refuse a setting of all trials that none of them reads."""
    ignored = [find_ignored(plan.configure(trial), plan.settings) for trial in plan.trials]
    for setting in plan.settings:
        if all(setting in found for found in ignored):
            raise ignored[0][setting]


def _check_names(trials: Sequence[Trial]) -> None:
    """Refuse names that are no names of files, or that two trials share."""
    known: dict[str, Trial] = {}
    for trial in trials:
        if trial.name in known:
            raise UserError(
                f"{known[trial.name].setting!r} and {trial.setting!r} would share the file {trial.name}.json",
                "train them in two calls with different --results, or write one of them differently",
            )
        if len(trial.name) > LONGEST_NAME:
            raise UserError(
                f"the name of {trial.setting!r} has {len(trial.name)} characters, and a file's may have {LONGEST_NAME}",
                "move fewer settings at a time, or give what all trials have with --set",
            )
        known[trial.name] = trial


def _check_movable(option: str, key: str) -> None:
    """Refuse a key that is not a trial's own to move."""
    section, _, field = key.partition(".")
    if section in SHARED_SECTIONS:
        raise UserError(
            f"{option} {key} is of section {section!r}, which all trials share", f"move a setting of {', '.join(TRIAL_SECTIONS)}"
        )
    if field == "seed" and section in SEEDED_SECTIONS:
        raise UserError(f"{option} {key} is the trial's seed", "name seeds with --seeds")


def _check_distinct(option: str, values: Sequence[str]) -> None:
    if not values:
        raise UserError(f"{option} names nothing", "name at least one")
    if len(set(values)) < len(values):
        raise UserError(f"{option} names {next(v for v in values if values.count(v) > 1)!r} twice", "name each once")
