"""An item's probability to be in a batch: worked out by hand, and counted in batches that were drawn."""

import numpy as np
import pyarrow as pa
import pytest

from smar_core.training.pairs import SyntheticPairs, TruePairs, no_synthetic_pairs
from smar_core.training.popularity import log_inclusion
from smar_core.training.sampler import PairSampler


def _true(num_pairs_of_item: list[int]) -> TruePairs:
    item = np.repeat(np.arange(len(num_pairs_of_item)), num_pairs_of_item)
    return TruePairs([f"q{k}" for k in range(len(item))], np.arange(len(item)), item)


def _synthetic(num_queries_of_item: list[int]) -> SyntheticPairs:
    item = np.repeat(np.arange(len(num_queries_of_item)), num_queries_of_item)
    queries = pa.array([f"s{k}" for k in range(len(item))])
    return SyntheticPairs(queries, item, np.arange(len(item)), np.searchsorted(item, np.arange(len(num_queries_of_item) + 1)))


def test_true_pairs_by_hand() -> None:
    """Two of ten pairs a batch. One pair: 2/10. Seven pairs: 1 - 0.8^7. None at all: the least of the others."""
    found = log_inclusion(
        _true([1, 7, 2, 0]),
        no_synthetic_pairs(4),
        num_true_a_batch=2,
        num_synthetic_a_batch=0,
        max_top_up_a_batch=0,
        queries_per_item=1,
    )
    assert np.exp(found) == pytest.approx([0.2, 1 - 0.8**7, 1 - 0.8**2, 0.2], rel=1e-6)


def test_groups_by_hand() -> None:
    """Groups of two in batches of 4 of 10: 5/10 a whole group, 4/10 a single pair; five pairs are two groups and a single."""
    found = log_inclusion(
        _true([5, 2, 3]),
        no_synthetic_pairs(3),
        num_true_a_batch=4,
        num_synthetic_a_batch=0,
        max_top_up_a_batch=0,
        queries_per_item=2,
    )
    assert np.exp(found) == pytest.approx([1 - 0.5**2 * 0.6, 0.5, 1 - 0.5 * 0.6], rel=1e-6)


def test_synthetic_pairs_by_hand() -> None:
    """Item 0: a single pair, in a batch with 1/4, and topped up by one synthetic query then. So 2 - 1/4 synthetic queries are
    left for three items in turn, who have two, two and one to give at a time: (7/4) / (5/3) / 3 = 7/20 of them are in a batch.
    """
    true = _true([1, 3, 0, 0])
    pairs = _synthetic([3, 0, 2, 1])
    found = log_inclusion(true, pairs, num_true_a_batch=1, num_synthetic_a_batch=2, max_top_up_a_batch=1, queries_per_item=2)
    absent_true = [3 / 4, (1 - 2 / 4) * (1 - 1 / 4), 1, 1]
    absent_synthetic = [13 / 20, 1, 13 / 20, 13 / 20]
    assert np.exp(found) == pytest.approx(1 - np.multiply(absent_true, absent_synthetic), rel=1e-6)


def test_batches_without_true_pairs_by_hand() -> None:
    """Was (2 - 1) / 6 higher for every group of two: a window of no pairs touches none. One synthetic query a batch, two items in
    turn with two and one to give: 1 / 1.5 / 2 = 1/3 of them are in a batch; the third item, of which nothing is drawn, as they.
    """
    found = log_inclusion(
        _true([4, 0, 2]),
        _synthetic([2, 1, 0]),
        num_true_a_batch=0,
        num_synthetic_a_batch=1,
        max_top_up_a_batch=0,
        queries_per_item=2,
    )
    assert np.exp(found) == pytest.approx([1 / 3, 1 / 3, 1 / 3], rel=1e-6)


@pytest.mark.parametrize("synthetic_share", [0.0, 0.5])
def test_agrees_with_batches_that_were_drawn(synthetic_share: float) -> None:
    """Items in one batch of fifty and items in most: counted in 2000 batches, no probability is off by a tenth of itself."""
    rng = np.random.default_rng(0)
    true = _true([int(n) for n in np.minimum(150, rng.zipf(1.6, size=120) - 1)])
    pairs = _synthetic([int(n) for n in rng.integers(0, 12, size=120)])
    sampler = PairSampler(true, pairs, batch_size=60, queries_per_item=3, synthetic_share=synthetic_share, seed=0)
    num_batches_N = np.zeros(120)
    for _ in range(2000):
        num_batches_N[sampler.draw().item] += 1
    numbers = {name: getattr(sampler, name) for name in ("num_true_a_batch", "num_synthetic_a_batch", "max_top_up_a_batch")}
    found = np.exp(log_inclusion(true, pairs, **numbers, queries_per_item=3))
    drawn = num_batches_N > 0
    share = num_batches_N[drawn] / 2000
    assert share.min() < 0.04 and share.max() > 0.6
    assert np.abs(np.log(found[drawn] / share)).max() < 0.1
