"""What trials say together: each setting against a baseline, and the best setting of each axis.

Everything is worked out from the trials' files alone, so that it can be done again years later. A setting's value of a query is
its mean over the seeds that both it and the baseline were trained with, so that both had as many draws of luck, from the same
data in the same order; the weights that they end with have no more in common for it. The interval is over queries; the spread
between seeds stands beside it, and an interval over both (``significance``). Holm's correction is over the settings of one table
and slice, or the values of one axis and slice: the family of questions asked at once.

Shapes: S seeds, Q queries.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smar_core.errors import UserError
from smar_core.evaluation.bootstrap import Interval, percentile_interval, resample_means
from smar_core.evaluation.significance import holm, interval_over_seeds, paired_comparison_of_seeds
from smar_core.experiments.diagnosis import Diagnosis, mean_diagnosis
from smar_core.experiments.evidence import Evidence, Queries
from smar_core.experiments.findings import MEASURES, Axis, Choice, Difference, Experiment, Row
from smar_core.experiments.records import COMPARED_SLICES, DIGITS, MEASURE, Cell
from smar_core.experiments.trials import Kind, rank_settings

NUM_SAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0
"""Bootstrap resamples, confidence of the intervals, and seed of both."""

ALSO_AGAINST = "dpsr"
"""In an ablation, the baseline's gain over this variant is shown too: the paper's headline."""


Values = NDArray[np.float64]


class _Trained:
    """The trials' values by setting and seed, and the queries they are of."""

    def __init__(self, evidences: Sequence[Evidence], queries: Queries) -> None:
        self.by_setting: dict[str, dict[int, Evidence]] = {}
        for evidence in evidences:
            self.by_setting.setdefault(evidence.trial.setting, {})[evidence.trial.seed] = evidence
        self.places = {name: places for name in COMPARED_SLICES if len(places := queries.places(name))}

    def values(self, setting: str, seeds: Sequence[int], slice_name: str) -> Values:
        """Return R@50 of a slice's queries by seed [S, Q]."""
        of = self.by_setting[setting]
        return np.array([of[seed].values for seed in seeds])[:, self.places[slice_name]]

    def common_seeds(self, one: str, other: str) -> tuple[int, ...]:
        return tuple(seed for seed in self.by_setting[one] if seed in self.by_setting[other])

    def compare(self, settings: Sequence[str], baseline: str, slice_name: str) -> list[Difference]:
        """Compare settings with a baseline in one slice, as one family."""
        found = []
        for setting in settings:
            seeds = self.common_seeds(setting, baseline)
            if not seeds:
                continue
            value_SQ, baseline_SQ = (self.values(name, seeds, slice_name) for name in (setting, baseline))
            of_seeds = paired_comparison_of_seeds(
                value_SQ, baseline_SQ, num_samples=NUM_SAMPLES, confidence=CONFIDENCE, seed=SEED
            )
            over_seeds = interval_over_seeds(value_SQ, baseline_SQ, num_samples=NUM_SAMPLES, confidence=CONFIDENCE, seed=SEED)
            comparison = of_seeds.comparison
            found.append(
                Difference(
                    setting=setting,
                    baseline=baseline,
                    slice=slice_name,
                    num_queries=value_SQ.shape[1],
                    seeds=seeds,
                    difference=Cell.of(comparison.difference),
                    over_seeds=None if over_seeds is None else Cell.of(over_seeds),
                    relative=None if comparison.relative is None else Cell.of(comparison.relative),
                    p_value=comparison.p_value,
                    holm_p_value=comparison.p_value,
                    deviation=of_seeds.deviation,
                    baseline_deviation=of_seeds.baseline_deviation,
                )
            )
        corrected = holm([difference.p_value for difference in found])
        return [d.model_copy(update={"holm_p_value": p}) for d, p in zip(found, corrected, strict=True)]

    def mean_cell(self, setting: str, seeds: Sequence[int], slice_name: str) -> Cell:
        """Return R@50 with its interval over queries, of each query's mean over the seeds."""
        value_Q = self.values(setting, seeds, slice_name).mean(axis=0)
        return Cell.of(mean_interval(value_Q))


def compare_trials(kind: Kind, baseline: str, evidences: Sequence[Evidence], queries: Mapping[str, Queries]) -> Experiment:
    """Compare trials.

    Args:
        kind: Whether variants are compared, or settings.
        baseline: The setting that the others are compared with.
        evidences: Of the trials, in any order.
        queries: The queries that evidences name, by digest.

    Raises:
        UserError: There is none of the baseline, or ``check_comparable`` refuses the trials.
    """
    check_comparable(evidences, queries)
    rank = rank_settings(baseline, [evidence.trial for evidence in evidences])
    ordered = sorted(evidences, key=lambda evidence: (rank.index(evidence.trial.setting), evidence.trial.seed))
    trained = _Trained(ordered, queries[ordered[0].queries])
    if baseline not in trained.by_setting:
        raise UserError(f"there is no result of the baseline {baseline!r}", "train it too")
    axes = _find_axes(baseline, trained) if kind == "sweep" else {}
    of_axes = {setting for settings in axes.values() for setting in settings.values()}
    compared = [setting for setting in trained.by_setting if setting != baseline and setting not in of_axes]
    diagnoses = [evidence.diagnosis for evidence in ordered if evidence.diagnosis != Diagnosis()]
    has_headline = kind == "ablation" and ALSO_AGAINST in compared
    return Experiment(
        kind=kind,
        preset=ordered[0].preset,
        settings=next(iter(trained.by_setting[baseline].values())).settings,
        baseline=baseline,
        split=ordered[0].split,
        num_queries={name: len(places) for name, places in trained.places.items()},
        rows=tuple(_make_row(setting, trained) for setting in trained.by_setting),
        differences=tuple(d for name in trained.places for d in trained.compare(compared, baseline, name)),
        headline=tuple(d for name in trained.places for d in trained.compare([baseline], ALSO_AGAINST, name))
        if has_headline
        else (),
        axes=tuple(_sweep_axis(key, settings, baseline, trained) for key, settings in axes.items()),
        hardware=tuple(dict.fromkeys(evidence.hardware for evidence in ordered)),
        versions=tuple({str(e.versions): e.versions for e in ordered}.values()),
        num_codes=len({str(evidence.code) for evidence in ordered}),
        judgments=tuple(dict.fromkeys(d.judgments for d in diagnoses if d.judged or d.attainable)),
        intervals=tuple(dict.fromkeys(d.intervals for d in diagnoses)),
    )


def check_comparable(evidences: Sequence[Evidence], queries: Mapping[str, Queries]) -> None:
    """Refuse trials that did not start from one preset, or were not measured on the same queries.

    Args:
        evidences: Of the trials.
        queries: The queries that they name, by digest.

    Raises:
        UserError: What they differ in, and which two trials.
    """
    comparable = {digest: of.comparable for digest, of in queries.items()}
    for evidence in evidences[1:]:
        first = evidences[0]
        differing = [
            name
            for name, one, other in (
                ("preset", first.preset, evidence.preset),
                ("days", first.split, evidence.split),
                ("queries", comparable[first.queries], comparable[evidence.queries]),
            )
            if one != other
        ]
        if differing:
            raise UserError(
                f"{first.trial.name} and {evidence.trial.name} are of different {' and '.join(differing)} and cannot be compared",
                "delete the file of the older one in --results, to have it trained again, or name another folder",
            )


def mean_interval(value_Q: Values) -> Interval:
    """Return the mean of queries' values with its bootstrap interval."""
    samples = resample_means(value_Q[:, None], NUM_SAMPLES, SEED)[:, 0]
    return percentile_interval(float(value_Q.mean()), samples, CONFIDENCE)


def _make_row(setting: str, trained: _Trained) -> Row:
    of = trained.by_setting[setting]
    seeds = tuple(of)
    measures: dict[str, dict[str, Any]] = {}
    deviation = {}
    for name in trained.places:
        measures[name] = {}
        for measure in MEASURES:
            cells = [e.metrics[name][measure] for e in of.values() if measure in e.metrics.get(name, {})]
            if cells:
                value, low, high = (sum(c[part] for c in cells) / len(cells) for part in ("value", "low", "high"))
                measures[name][measure] = Cell(value=round(value, DIGITS), low=round(low, DIGITS), high=round(high, DIGITS))
        measures[name][MEASURE] = trained.mean_cell(setting, seeds, name)
        if len(seeds) > 1:
            deviation[name] = float(trained.values(setting, seeds, name).mean(axis=1).std(ddof=1))
    seconds = sum(sum(e.seconds.values()) for e in of.values()) / len(of)
    ratios = [ratio for e in of.values() if (ratio := e.synthetic_ratio_seen) is not None]
    diagnosed = {seed: e.diagnosis for seed, e in of.items() if e.diagnosis != Diagnosis()}
    return Row(
        setting=setting,
        seeds=seeds,
        measures=measures,
        deviation=deviation,
        seconds=round(seconds, 1),
        synthetic_ratio_seen=round(sum(ratios) / len(ratios), 1) if len(ratios) == len(of) else None,
        diagnosis=mean_diagnosis(list(diagnosed.values())),
        diagnosed_seeds=tuple(diagnosed),
    )


def _find_axes(baseline: str, trained: _Trained) -> dict[str, dict[str, str]]:
    """Return the setting of each value by key, of those that have the baseline's variant and one override.

    A key that was moved to one value only is no axis: alone it would be a family of its own, as if nothing else had been asked.
    """
    variant = next(iter(trained.by_setting[baseline].values())).trial.variant
    axes: dict[str, dict[str, str]] = {}
    for setting, of in trained.by_setting.items():
        trial = next(iter(of.values())).trial
        if trial.variant == variant and len(trial.overrides) == 1:
            key, _, value = trial.overrides[0].partition("=")
            axes.setdefault(key, {})[value] = setting
    return {key: values for key, values in axes.items() if len(values) > 1}


def _sweep_axis(key: str, setting: dict[str, str], baseline: str, trained: _Trained) -> Axis:
    """Compare the values of an axis, given the setting that has each of them."""
    own = _own_value(key, next(iter(trained.by_setting[baseline].values())))
    setting = setting | {own: baseline}
    values = _in_order(list(setting))
    differences: list[Difference] = []
    choices = []
    points: dict[str, tuple[Cell, ...]] = {}
    for name in trained.places:
        cells = {v: trained.mean_cell(setting[v], tuple(trained.by_setting[setting[v]]), name) for v in values}
        points[name] = tuple(cells.values())
        found = trained.compare([setting[value] for value in values if value != own], baseline, name)
        differences += found
        choices.append(_choose({value: setting[value] for value in values}, own, name, found))
    return Axis(key=key, values=tuple(values), own=own, points=points, differences=tuple(differences), choices=tuple(choices))


def _choose(setting: dict[str, str], own: str, slice_name: str, found: Sequence[Difference]) -> Choice:
    """Choose among the values of an axis, given the setting that has each; a tie leaves the preset as it is.

    By differences over common seeds, so that the mean of several seeds is not put beside one lucky run.
    """
    by_setting = {difference.setting: difference for difference in found}
    gains = {value: by_setting[of].difference.value for value, of in setting.items() if of in by_setting}
    best = max(gains, key=lambda value: gains[value], default=own)
    if gains.get(best, 0.0) <= 0.0:
        best = own
    return Choice(slice=slice_name, value=best, against_own=by_setting.get(setting[best]))


def _own_value(key: str, evidence: Evidence) -> str:
    """Return the preset's value of a key, as a person writes it."""
    section, _, field = key.partition(".")
    value = getattr(getattr(evidence.trial.configure(evidence.preset, evidence.settings), section), field)
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _in_order(values: list[str]) -> list[str]:
    """Sort values that are all numbers; leave words as they are."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return values
