"""Paired comparison of two systems over the same queries: how much better, how sure, and whether chance would do as well.

* The difference of the means, and the same in percent of the baseline's mean, each with its paired bootstrap interval. Both are
  given because neither can be read from the other: 2 points are much on a P@50 of .04 and little on an R@50 of .75.
* A p-value by the paired randomisation test: were the systems equal, each query's two values could as well be swapped, which
  turns the sign of its difference. It assumes no distribution; the price is that no p-value is below 1 / (NUM_FLIPS + 1).
* Holm's correction where several comparisons are looked at together: it holds the chance of a single false claim, like
  Bonferroni's, but never loses more.

Queries are the unit of all three, so they speak about other queries, not about other training runs. The spread of several
seeds is reported apart (``SeedComparison``), and an interval that speaks about both is another one, beside the first
(``interval_over_seeds``). The test of 1,700 queries and 40 columns takes 0.1 s.
Left out: the exact test over all 2^Q sign patterns of a handful of queries, and models with random effects of seed and query.

Shapes: Q queries, M columns, S or T seeds, N resamples, F flips.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smar_core.evaluation.bootstrap import Interval, Values, percentile_interval, resample_means

NUM_FLIPS = 10_000
"""Random sign patterns of a test: a p-value of .05 is then known to about .002."""

MAX_SIGNS_IN_MEMORY = 2**20
"""Signs of a block of patterns: 8 MiB, which a core's cache still holds."""

ROUNDING = 1e-12
"""Two means closer than this are equal: they differ by rounding alone."""


@dataclass(frozen=True)
class Comparison:
    """A system against a baseline on the same queries.

    Attributes:
        difference: Mean of the system less that of the baseline.
        relative: The same in percent of the baseline's mean; None where that mean, or that of a resample, is 0.
        p_value: Two-sided, of the paired randomisation test; not corrected for other comparisons.
    """

    difference: Interval
    relative: Interval | None
    p_value: float


@dataclass(frozen=True)
class SeedComparison:
    """A system against a baseline, each trained with several seeds.

    Attributes:
        comparison: Of each query's mean over the seeds; its intervals are over queries alone.
        deviation: Standard deviation of the system's mean between its seeds; None for a single seed.
        baseline_deviation: The same of the baseline.
    """

    comparison: Comparison
    deviation: float | None
    baseline_deviation: float | None


def paired_comparison(value_Q: Values, baseline_Q: Values, *, num_samples: int, confidence: float, seed: int) -> Comparison:
    """Compare a system with a baseline.

    Args:
        value_Q: The system's values by query; Q > 0.
        baseline_Q: The baseline's values of the same queries, in the same order.
        num_samples: Bootstrap resamples.
        confidence: Of the intervals, as 0.95.
        seed: Of the resamples and the flips; equal seeds give equal results.
    """
    value_Q, baseline_Q = np.asarray(value_Q, np.float64), np.asarray(baseline_Q, np.float64)
    assert value_Q.shape == baseline_Q.shape and value_Q.ndim == 1
    sample_N, baseline_sample_N = resample_means(np.stack([value_Q, baseline_Q], axis=1), num_samples, seed).T
    mean, baseline_mean = value_Q.mean().item(), baseline_Q.mean().item()
    difference_Q = value_Q - baseline_Q
    return Comparison(
        difference=percentile_interval(mean - baseline_mean, sample_N - baseline_sample_N, confidence),
        relative=relative_gain(mean, baseline_mean, sample_N, baseline_sample_N, confidence),
        p_value=share_as_extreme(difference_Q.mean().item(), flip_means(difference_Q[:, None], seed)[:, 0]),
    )


def paired_comparison_of_seeds(
    value_SQ: Values, baseline_TQ: Values, *, num_samples: int, confidence: float, seed: int
) -> SeedComparison:
    """Compare systems trained with several seeds, not necessarily equally many: each query's value is its mean over the seeds.

    Args:
        value_SQ: The system's values by seed and query.
        baseline_TQ: The baseline's values by seed, for the same queries in the same order.
        num_samples, confidence, seed: As in ``paired_comparison``.
    """
    return SeedComparison(
        paired_comparison(
            value_SQ.mean(axis=0), baseline_TQ.mean(axis=0), num_samples=num_samples, confidence=confidence, seed=seed
        ),
        _deviation_between_seeds(value_SQ),
        _deviation_between_seeds(baseline_TQ),
    )


def interval_over_seeds(
    value_SQ: Values, baseline_TQ: Values, *, num_samples: int, confidence: float, seed: int
) -> Interval | None:
    """Return the difference of two systems' means with an interval for other queries and other trainings; None for one training.

    Queries are resampled in pairs, and each system's trainings by themselves: equal seeds of two systems have nothing in common.
    Resampling S trainings takes their spread for smaller than it is, by a factor of sqrt((S - 1) / S) on average, which is taken
    out. With so few trainings as a study can pay for, that spread is badly known all the same.

    Args:
        value_SQ: The system's values by seed and query.
        baseline_TQ: The baseline's, for the same queries in the same order.
        num_samples, confidence, seed: As in ``paired_comparison``.
    """
    num_seeds, num_baseline_seeds = len(value_SQ), len(baseline_TQ)
    if min(num_seeds, num_baseline_seeds) < 2:
        return None
    sample_NM = resample_means(np.concatenate([value_SQ, baseline_TQ]).T, num_samples, seed)
    rng = np.random.default_rng([seed, 2])  # another stream than those of resamples and signs
    difference_N = _draw_trainings(sample_NM[:, :num_seeds], rng) - _draw_trainings(sample_NM[:, num_seeds:], rng)
    return percentile_interval(float(value_SQ.mean() - baseline_TQ.mean()), difference_N, confidence)


def _draw_trainings(sample_NS: Values, rng: np.random.Generator) -> Values:
    """Return each resample's mean [N] over S trainings drawn anew, spread as the trainings themselves are."""
    num_samples, num_seeds = sample_NS.shape
    weight_NS = rng.multinomial(num_seeds, np.full(num_seeds, 1.0 / num_seeds), size=num_samples) / num_seeds
    mean_N = sample_NS.mean(axis=1)
    drawn_N = (weight_NS * sample_NS).sum(axis=1)
    return np.asarray(mean_N + np.sqrt(num_seeds / (num_seeds - 1)) * (drawn_N - mean_N))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of one family of comparisons, corrected for their number, in the order given.

    Source: Holm (1979), in the adjusted form: the k-th smallest of m times m - k + 1, never below a smaller one's, at most 1.

    >>> holm([0.5, 0.125, 0.25])
    [0.5, 0.375, 0.5]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def relative_gain(
    mean: float, baseline_mean: float, sample_N: Values, baseline_sample_N: Values, confidence: float
) -> Interval | None:
    """Return a paired gain in percent of the baseline's mean; None where that mean, or that of a resample, is 0.

    >>> relative_gain(0.75, 0.5, np.array([0.75, 1.0]), np.array([0.5, 0.5]), 0.5).value
    50.0
    """
    if baseline_mean == 0 or not baseline_sample_N.all():
        return None
    gain_N = 100.0 * (sample_N - baseline_sample_N) / baseline_sample_N
    return percentile_interval(100.0 * (mean - baseline_mean) / baseline_mean, gain_N, confidence)


def flip_means(difference_QM: Values, seed: int) -> Values:
    """Return the means of M columns of differences under random signs of the queries [F, M]; all columns share the signs."""
    num_queries = len(difference_QM)
    rng = np.random.default_rng([seed, 1])  # another stream than that of the resamples
    block = max(1, MAX_SIGNS_IN_MEMORY // num_queries)
    sums = [
        2.0 * (rng.integers(0, 2, size=(min(block, NUM_FLIPS - start), num_queries), dtype=np.int8) @ difference_QM)
        for start in range(0, NUM_FLIPS, block)
    ]
    return (np.concatenate(sums) - difference_QM.sum(axis=0)) / num_queries


def share_as_extreme(observed: float, flipped_F: Values) -> float:
    """Return the two-sided p-value of an observed difference among those under random signs, the observed one counted in.

    >>> share_as_extreme(0.2, np.array([0.1, -0.2, 0.0]))
    0.5
    """
    num_extreme = np.count_nonzero(np.abs(flipped_F) >= abs(observed) - ROUNDING)
    return (1 + int(num_extreme)) / (1 + len(flipped_F))


def _deviation_between_seeds(value_SQ: Values) -> float | None:
    return float(value_SQ.mean(axis=1).std(ddof=1)) if len(value_SQ) > 1 else None
