import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, permutation_test

from smar_core.evaluation.significance import (
    NUM_FLIPS,
    flip_means,
    holm,
    interval_over_seeds,
    paired_comparison,
    paired_comparison_of_seeds,
    share_as_extreme,
)

SETTINGS = {"num_samples": 400, "confidence": 0.95, "seed": 0}


def exact_p_value(difference: np.ndarray) -> float:
    """The naive test over all sign patterns."""
    means = [np.mean(difference * signs) for signs in itertools.product((-1, 1), repeat=len(difference))]
    return float(np.mean([abs(mean) >= abs(difference.mean()) - 1e-12 for mean in means]))


def test_randomisation_test_agrees_with_all_sign_patterns_and_with_scipy() -> None:
    rng = np.random.default_rng(3)
    for size in (3, 6, 10):
        value, baseline = rng.random(size), rng.random(size)
        p_value = paired_comparison(value, baseline, **SETTINGS).p_value
        assert p_value == pytest.approx(exact_p_value(value - baseline), abs=0.015)
        theirs = permutation_test((value - baseline,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert p_value == pytest.approx(theirs.pvalue, abs=0.015)


def test_ties_count_as_extreme() -> None:
    """Thirds do not add up exactly: two of three queries won by 1/3 and one lost is as extreme as every pattern there is."""
    assert paired_comparison(np.array([1 / 3, 1 / 3, 0]), np.array([0, 0, 1 / 3]), **SETTINGS).p_value == 1.0


def test_equal_systems_differ_by_nothing() -> None:
    value = np.random.default_rng(0).random(30)
    found = paired_comparison(value, value, **SETTINGS)
    assert (found.difference.low, found.difference.value, found.difference.high) == (0, 0, 0)
    assert found.relative is not None and (found.relative.low, found.relative.high) == (0, 0)
    assert found.p_value == 1.0


def test_constant_gain_is_certain() -> None:
    """Every query gains 0.1 on 0.4: 25 percent, without any spread, and only one sign pattern in 2^40 is as extreme twice."""
    found = paired_comparison(np.full(40, 0.5), np.full(40, 0.4), **SETTINGS)
    assert found.difference.low == pytest.approx(0.1) and found.difference.high == pytest.approx(0.1)
    assert found.relative is not None and found.relative.value == pytest.approx(25.0)
    assert found.p_value == 1 / (NUM_FLIPS + 1)


def test_a_baseline_of_zero_has_no_relative_gain() -> None:
    assert paired_comparison(np.array([0.5, 0.2]), np.zeros(2), **SETTINGS).relative is None
    assert paired_comparison(np.array([0.5, 0.2]), np.array([0.3, 0.0]), **SETTINGS).relative is None  # some resample is all 0


def test_false_claims_are_as_rare_as_promised() -> None:
    """Of 200 comparisons of equal systems about 5 percent are below .05: at most 20 in all but one of 1,000 such draws."""
    rng = np.random.default_rng(11)
    difference_QM = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], size=(50, 200))
    flipped_FM = flip_means(difference_QM, seed=0)
    p_values = [share_as_extreme(mean, flipped_FM[:, column]) for column, mean in enumerate(difference_QM.mean(axis=0))]
    assert sum(p < 0.05 for p in p_values) <= 20


def test_many_queries_in_several_blocks() -> None:
    """Signs are drawn in blocks of patterns; the p-value of many queries is that of the normal approximation."""
    rng = np.random.default_rng(5)
    value, baseline = rng.random(3000), rng.random(3000) - 0.012
    found = paired_comparison(value, baseline, **SETTINGS)
    difference = value - baseline
    score = difference.mean() / np.sqrt((difference**2).sum()) * len(difference)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(score)), abs=0.02)


def test_seeds_are_averaged_by_query_and_their_spread_is_apart() -> None:
    value = np.array([[0.25, 0.5, 1.0], [0.5, 0.75, 0.75]])
    baseline = np.array([[0.125, 0.25, 0.25]])
    found = paired_comparison_of_seeds(value, baseline, **SETTINGS)
    assert found.comparison == paired_comparison(np.array([0.375, 0.625, 0.875]), baseline[0], **SETTINGS)
    assert found.deviation == pytest.approx(np.std([7 / 12, 8 / 12], ddof=1))
    assert found.baseline_deviation is None


def test_interval_over_seeds_has_the_spread_of_the_trainings_in_it() -> None:
    """Queries all alike: what is left is the standard error of the trainings' means."""
    rng = np.random.default_rng(0)
    value_SQ = np.repeat(rng.normal(0.75, 0.02, size=(8, 1)), 40, axis=1)
    baseline_TQ = np.repeat(rng.normal(0.70, 0.01, size=(5, 1)), 40, axis=1)
    found = interval_over_seeds(value_SQ, baseline_TQ, num_samples=4000, confidence=0.95, seed=0)
    assert found is not None
    assert found.value == pytest.approx(value_SQ.mean() - baseline_TQ.mean())
    error = np.sqrt(value_SQ[:, 0].var(ddof=1) / 8 + baseline_TQ[:, 0].var(ddof=1) / 5)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_interval_over_seeds_of_equal_trainings_is_that_over_queries() -> None:
    rng = np.random.default_rng(1)
    value_Q, baseline_Q = rng.random(300), rng.random(300)
    found = interval_over_seeds(np.stack([value_Q] * 3), np.stack([baseline_Q] * 2), **SETTINGS)
    of_queries = paired_comparison(value_Q, baseline_Q, **SETTINGS).difference
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((of_queries.value, of_queries.low, of_queries.high))


def test_one_training_tells_nothing_of_others() -> None:
    values = np.ones((1, 4))
    assert interval_over_seeds(values, np.zeros((3, 4)), **SETTINGS) is None
    assert interval_over_seeds(np.zeros((3, 4)), values, **SETTINGS) is None


def test_holm_by_hand() -> None:
    """Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and the last may not be below .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_none_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for before, after in zip(p_values, corrected, strict=True):
        assert before <= after <= min(1.0, len(p_values) * before) or after == pytest.approx(before)
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
