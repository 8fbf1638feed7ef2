"""From values by query to means with intervals, and to paired differences between systems, tested for chance.

Two means are made: of queries, each counting once (the paper's), and of traffic, each query counting as often as it was clicked
for, which is nearer to what shoppers meet. The first says more about rare queries, the second little about any but the frequent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smar_core.config import EvaluateConfig
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.measures import Values, add_f1
from smar_core.evaluation.significance import flip_means, holm, relative_gain, share_as_extreme

SystemValues = Mapping[str, Mapping[str, Values]]
"""Values [Q] by system and measure."""

Scores = dict[str, dict[str, dict[str, Any]]]
"""Means by system (or pair of systems), slice and measure; ``num_queries`` stands among the measures."""

SUMMARY_MEASURES = ("R@50", "P@50", "F1@50", "nDCG@10", "RR@10", "P@10")
"""What runs are compared by."""

Pair = tuple[str, str]
"""Systems (a, b) whose difference a - b is wanted."""


def summarise(
    values: SystemValues,
    slices: Mapping[str, NDArray[np.bool_]],
    pairs: Sequence[Pair],
    config: EvaluateConfig,
    weight_Q: Values | None = None,
) -> tuple[Scores, Scores]:
    """Average every measure of every system over every slice, with bootstrap intervals.

    All systems of a slice see the same resamples, so the interval of a difference is paired.

    Args:
        values: Values by system and measure; every system has the same queries and measures.
        slices: Mask over the queries by name; a slice without a query is left out of the result.
        pairs: Systems that are compared. Of each slice and measure they are one family: Holm's correction is over them.
        config: Resamples, confidence and seed.
        weight_Q: How much each query counts; None for all alike.

    Returns:
        Scores by system, and differences by ``"a - b"``: value, low, high, the same in percent of b's mean
        (``relative_percent``, None where ``relative_gain`` is), and p-values (``p``, ``p_holm``).
    """
    scores: Scores = {system: {} for system in values}
    differences: Scores = {f"{a} - {b}": {} for a, b in pairs}
    for name, mask in slices.items():
        num_queries = int(mask.sum())
        if not num_queries:
            continue
        weight = None if weight_Q is None else weight_Q[mask]
        sampled = _Sampled.of({system: {m: v[mask] for m, v in of.items()} for system, of in values.items()}, config, weight)
        for system in values:
            scores[system][name] = {"num_queries": num_queries} | sampled.scores(system)
        for (a, b), of_pair in sampled.compare(pairs).items():
            differences[f"{a} - {b}"][name] = {"num_queries": num_queries} | of_pair
    return scores, differences


@dataclass(frozen=True, eq=False)
class _Sampled:
    """One slice: values by query, their means [1] and the means of the resamples [S], by system and measure (F1@K in the means).

    Attributes:
        values: Of the slice's queries.
        weight_Q: How much each query counts; None for all alike.
        means, samples: By system and measure.
        config: Resamples, confidence, cutoffs and seed.
    """

    values: SystemValues
    weight_Q: Values | None
    means: SystemValues
    samples: SystemValues
    config: EvaluateConfig

    @classmethod
    def of(cls, values: SystemValues, config: EvaluateConfig, weight_Q: Values | None) -> "_Sampled":
        columns = [(system, measure) for system, of in values.items() for measure in of]
        value_QM = np.stack([values[system][measure] for system, measure in columns], axis=1)
        mean_M = np.average(value_QM, axis=0, weights=weight_Q)
        sample_SM = resample_means(value_QM, config.num_bootstrap_samples, config.seed, weight_Q)
        means: dict[str, dict[str, Values]] = {system: {} for system in values}
        samples: dict[str, dict[str, Values]] = {system: {} for system in values}
        for place, (system, measure) in enumerate(columns):
            means[system][measure] = mean_M[place : place + 1]
            samples[system][measure] = sample_SM[:, place]
        return cls(
            values,
            weight_Q,
            {system: add_f1(of, config.cutoffs) for system, of in means.items()},
            {system: add_f1(of, config.cutoffs) for system, of in samples.items()},
            config,
        )

    def scores(self, system: str) -> dict[str, Any]:
        """Return a system's measures with their intervals."""
        return {
            measure: percentile_interval(mean.item(), self.samples[system][measure], self.config.confidence).as_json()
            for measure, mean in self.means[system].items()
        }

    def compare(self, pairs: Sequence[Pair]) -> dict[Pair, dict[str, Any]]:
        """Return the differences of pairs of systems, with their p-values."""
        p_values = self._p_values(pairs)
        found: dict[Pair, dict[str, Any]] = {pair: {} for pair in pairs}
        for measure in p_values[0] if pairs else ():
            corrected = holm([of_pair[measure] for of_pair in p_values])
            for place, pair in enumerate(pairs):
                p = {"p": p_values[place][measure], "p_holm": corrected[place]}
                found[pair][measure] = self._difference(pair, measure) | p
        return found

    def _difference(self, pair: Pair, measure: str) -> dict[str, Any]:
        mean, baseline_mean = (self.means[system][measure].item() for system in pair)
        sample_S, baseline_sample_S = (self.samples[system][measure] for system in pair)
        confidence = self.config.confidence
        absolute = percentile_interval(mean - baseline_mean, sample_S - baseline_sample_S, confidence).as_json()
        relative = relative_gain(mean, baseline_mean, sample_S, baseline_sample_S, confidence)
        return absolute | {"relative_percent": None if relative is None else relative.as_json()}

    def _p_values(self, pairs: Sequence[Pair]) -> list[dict[str, float]]:
        """Return a p-value by measure for each pair.

        F1@K has no value for a single query, so its difference is worked out from P@K and R@K of the swapped systems: swapping
        query by query moves one system's mean up from the middle of both by half of what it moves the other's down.
        """
        if not pairs:
            return []
        measures = [measure for measure in self.values[pairs[0][0]] if not measure.endswith("_max")]
        difference_QM = np.stack([self.values[a][measure] - self.values[b][measure] for a, b in pairs for measure in measures], 1)
        if self.weight_Q is not None:
            difference_QM *= (self.weight_Q / self.weight_Q.mean())[:, None]
        half_FM = flip_means(difference_QM, self.config.seed) / 2
        found = []
        for place, (a, b) in enumerate(pairs):
            half = {measure: half_FM[:, place * len(measures) + column] for column, measure in enumerate(measures)}
            middle = {measure: (self.means[a][measure] + self.means[b][measure]) / 2 for measure in measures}
            swapped_a = add_f1({measure: middle[measure] + half[measure] for measure in measures}, self.config.cutoffs)
            swapped_b = add_f1({measure: middle[measure] - half[measure] for measure in measures}, self.config.cutoffs)
            found.append(
                {
                    measure: share_as_extreme(
                        (self.means[a][measure] - self.means[b][measure]).item(), swapped_a[measure] - swapped_b[measure]
                    )
                    for measure in swapped_a
                }
            )
        return found


def summary_figures(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the few figures that runs are compared by.

    >>> summary_figures({"model": {"fashion": {"num_queries": 2, "R@50": {"value": 0.5, "low": 0.0, "high": 1.0}}}})
    {'R@50_fashion': 0.5}
    """
    figures: dict[str, float] = {}
    for source, prefix in ((scores, ""), (scores.get("judged", {}), "judged_")):
        for system, name in (("model", prefix), ("text_only", f"{prefix}text_only_")):
            for slice_name, end in (("overall", ""), ("fashion", "_fashion"), ("not_fashion", "_not_fashion")):
                measures = source.get(system, {}).get(slice_name, {})
                for measure in SUMMARY_MEASURES:
                    if measure in measures:
                        figures[f"{name}{measure}{end}"] = measures[measure]["value"]
    return figures
