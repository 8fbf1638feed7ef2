"""Exclusive matches on a handful of entries, and ranks against a look-up by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smar_core.evaluation.exclusive import NOT_RANKED, choose_pairs, count_exclusive, ranks_of
from smar_core.evaluation.measures import Qrels
from smar_core.retrieval.exact import NO_ITEM

# Entries:                   q0    q0          q1   q2         q2  q2
MULTIMODAL_RANK = np.array([3, NOT_RANKED, 50, 60, 2, 1])
TEXT_RANK = np.array([51, 7, NOT_RANKED, NOT_RANKED, 2, 90])
QRELS = Qrels.build(3, [0, 0, 1, 2, 2, 2], [4, 8, 1, 0, 5, 9], np.ones(6))


def test_every_pair_is_counted_once() -> None:
    slices = {"overall": np.ones(3, dtype=bool), "fashion": np.array([True, False, False])}
    counts = count_exclusive(MULTIMODAL_RANK, TEXT_RANK, QRELS.query_E, slices)
    assert counts["overall"] == {"num_pairs": 6, "num_multimodal_only": 3, "num_text_only": 1, "num_both": 1, "num_neither": 1}
    assert counts["fashion"] == {"num_pairs": 2, "num_multimodal_only": 1, "num_text_only": 1, "num_both": 0, "num_neither": 0}


def test_the_highest_exclusive_pair_of_each_query_is_shown() -> None:
    assert choose_pairs(MULTIMODAL_RANK, TEXT_RANK, QRELS, 8) == [5, 0, 2]
    assert choose_pairs(MULTIMODAL_RANK, TEXT_RANK, QRELS, 2) == [5, 0]
    assert choose_pairs(TEXT_RANK, MULTIMODAL_RANK, QRELS, 8) == [1]


def test_of_equal_ranks_the_first_query_comes_first_and_one_pair_of_a_query_is_enough() -> None:
    qrels = Qrels.build(2, [0, 0, 1], [1, 2, 3], np.ones(3))
    ranks, nowhere = np.array([9, 4, 4]), np.full(3, NOT_RANKED)
    assert choose_pairs(ranks, nowhere, qrels, 8) == [1, 2]


@given(data=st.data(), num_queries=st.integers(1, 4), depth=st.integers(1, 6))
def test_ranks_agree_with_a_look_up(data: st.DataObject, num_queries: int, depth: int) -> None:
    """Runs may be short (empty places at the end), and relevant items may stand nowhere."""
    rows = st.integers(0, 9)
    run = [data.draw(st.lists(rows, unique=True, max_size=depth)) for _ in range(num_queries)]
    run_QK = np.array([found + [NO_ITEM] * (depth - len(found)) for found in run], dtype=np.int32)
    relevant = data.draw(st.lists(st.tuples(st.integers(0, num_queries - 1), rows), unique=True, max_size=12))
    qrels = Qrels.build(num_queries, [q for q, _ in relevant], [row for _, row in relevant], np.ones(len(relevant)))
    expected = [
        run[query].index(row) + 1 if row in run[query] else NOT_RANKED
        for query, row in zip(qrels.query_E.tolist(), qrels.row_E.tolist(), strict=True)
    ]
    assert ranks_of(run_QK, qrels).tolist() == expected
