"""From values by query to means with intervals, and to paired differences between systems."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smar_core.config import EvaluateConfig
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.measures import Values, add_f1

SystemValues = Mapping[str, Mapping[str, Values]]
"""Values [Q] by system and measure."""

Scores = dict[str, dict[str, dict[str, Any]]]
"""Means by system (or pair of systems), slice and measure; ``num_queries`` stands among the measures."""


def summarise(
    values: SystemValues,
    slices: Mapping[str, NDArray[np.bool_]],
    pairs: Sequence[tuple[str, str]],
    config: EvaluateConfig,
) -> tuple[Scores, Scores]:
    """Average every measure of every system over every slice, with bootstrap intervals.

    All systems of a slice see the same resamples, so the interval of a difference is that of the paired test.

    Args:
        values: Values by system and measure; every system has the same queries and measures.
        slices: Mask over the queries by name; a slice without a query is left out of the result.
        pairs: Systems (a, b) whose difference a - b is wanted.
        config: Resamples, confidence and seed.

    Returns:
        Scores by system, and differences by ``"a - b"``.
    """
    scores: Scores = {system: {} for system in values}
    differences: Scores = {f"{a} - {b}": {} for a, b in pairs}
    for name, mask in slices.items():
        num_queries = int(mask.sum())
        if not num_queries:
            continue
        means, samples = _means_and_samples({s: {m: v[mask] for m, v in of.items()} for s, of in values.items()}, config)
        for system in values:
            intervals = {
                measure: percentile_interval(mean.item(), samples[system][measure], config.confidence).as_json()
                for measure, mean in means[system].items()
            }
            scores[system][name] = {"num_queries": num_queries} | intervals
        for a, b in pairs:
            intervals = {
                measure: percentile_interval(
                    (mean - means[b][measure]).item(), samples[a][measure] - samples[b][measure], config.confidence
                ).as_json()
                for measure, mean in means[a].items()
                if not measure.endswith("_max")
            }
            differences[f"{a} - {b}"][name] = {"num_queries": num_queries} | intervals
    return scores, differences


def _means_and_samples(
    values: SystemValues, config: EvaluateConfig
) -> tuple[dict[str, dict[str, Values]], dict[str, dict[str, Values]]]:
    """Return the mean [1] and the bootstrap means [S] of each system's measures, F1@K among them."""
    columns = [(system, measure) for system, of in values.items() for measure in of]
    value_QM = np.stack([values[system][measure] for system, measure in columns], axis=1)
    sample_SM = resample_means(value_QM, config.num_bootstrap_samples, config.seed)
    means: dict[str, dict[str, Values]] = {system: {} for system in values}
    samples: dict[str, dict[str, Values]] = {system: {} for system in values}
    for place, (system, measure) in enumerate(columns):
        means[system][measure] = value_QM[:, place].mean(keepdims=True)
        samples[system][measure] = sample_SM[:, place]
    return (
        {system: add_f1(of, config.cutoffs) for system, of in means.items()},
        {system: add_f1(of, config.cutoffs) for system, of in samples.items()},
    )
