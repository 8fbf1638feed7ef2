import numpy as np

from smar_core.evaluation.baselines import click_memory
from smar_core.evaluation.measures import Qrels
from smar_core.evaluation.slices import query_slices
from smar_core.evaluation.testset import drop_trained


def rows(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def test_fashion_needs_more_than_half() -> None:
    qrels = Qrels.build(3, [0, 0, 0, 1, 1, 2], [0, 1, 2, 0, 2, 3], [1] * 6)
    is_visual = np.array([True, True, False, False])
    slices = query_slices(qrels, is_visual, np.array([True, False, True]))
    assert slices["fashion"].tolist() == [True, False, False]
    assert slices["not_fashion"].tolist() == [False, True, True]
    assert slices["seen_query"].tolist() == [True, False, True]
    assert slices["unseen_query"].tolist() == [False, True, False]
    assert slices["overall"].all()


def test_clicks_weigh_nothing_in_fashion() -> None:
    """It is a share of relevant items, not of clicks: one visual item clicked nine times against two others."""
    qrels = Qrels.build(1, [0, 0, 0], [0, 1, 2], [9, 1, 1])
    assert not query_slices(qrels, np.array([True, False, False]), np.array([True]))["fashion"].item()


def test_drop_trained_is_by_query() -> None:
    """Item 1 was clicked in training for query 0, so it stays relevant for query 1."""
    qrels = Qrels.build(2, [0, 0, 1], [1, 2, 1], [1, 1, 1])
    left = drop_trained(qrels, [rows(1, 7), rows()])
    assert list(zip(left.query_E.tolist(), left.row_E.tolist(), strict=True)) == [(0, 2), (1, 1)]


def test_click_memory_ranks_by_clicks_then_item() -> None:
    ranking = click_memory([rows(5, 3, 4), rows()], [rows(2, 2, 7), rows()], top_k=2)
    assert ranking.rows_QK.tolist() == [[4, 3], [-1, -1]]
    assert ranking.scores_QK[0].tolist() == [7.0, 2.0]
