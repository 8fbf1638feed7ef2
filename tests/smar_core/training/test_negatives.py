"""False negatives, worked out by hand on four items."""

import numpy as np
import pyarrow as pa

from smar_core.training.negatives import FalseNegatives
from smar_core.training.pairs import SyntheticPairs, TrainingData, TruePairs
from smar_core.training.sampler import Batch

ITEMS = ["red cotton shirt acme", "blue cotton shirt acme", "red mug", "red shirt zeta"]
NO_TOKENS = np.empty((0, 1), dtype=np.int32)


def _data(synthetic: list[str], synthetic_item: list[int]) -> TrainingData:
    true = TruePairs(["mug", "red shirt", "shirt"], np.array([0, 1, 1, 2]), np.array([2, 0, 3, 1]))
    first = np.searchsorted(synthetic_item, np.arange(len(ITEMS) + 1))
    rows = np.array(synthetic_item, dtype=np.int64)
    pairs = SyntheticPairs(pa.array(synthetic, pa.string()), rows, np.arange(len(rows)), first)
    return TrainingData(true, pairs, ITEMS, NO_TOKENS, NO_TOKENS, NO_TOKENS)


def _excluded(data: TrainingData, true_query: list[int], synthetic: list[int], positive: list[int]) -> list[list[int]]:
    batch = Batch(np.array(true_query, dtype=np.int64), np.array(synthetic, dtype=np.int64), np.arange(4), np.array(positive))
    return [np.flatnonzero(row).tolist() for row in FalseNegatives(data).excluded(batch)]


def test_items_clicked_in_training_are_excluded() -> None:
    assert _excluded(_data([], []), [1, 0], [], [0, 2]) == [[0, 3], [2]]


def test_items_that_contain_a_synthetic_query_are_excluded() -> None:
    """Word order and words between do not matter: "shirt acme" is in items 0 and 1, "cotton" too."""
    data = _data(["shirt acme", "cotton"], [0, 1])
    assert _excluded(data, [], [0, 1], [0, 1]) == [[0, 1], [0, 1]]


def test_synthetic_query_that_is_a_true_one_shares_its_clicks() -> None:
    """ "red shirt" is contained in items 0 and 3; "mug", drawn from item 2, was clicked there too."""
    data = _data(["red shirt", "shirt"], [0, 3])
    assert _excluded(data, [], [0, 1], [0, 3]) == [[0, 3], [0, 1, 3]]


def test_equal_queries_share_their_items() -> None:
    """Two pairs with the same synthetic query and unknown words: each excludes the other's item."""
    data = _data(["strange", "strange"], [1, 2])
    assert _excluded(data, [], [0, 1], [1, 2]) == [[1, 2], [1, 2]]
