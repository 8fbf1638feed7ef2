import numpy as np

from smar_core.evaluation.baselines import click_memory
from smar_core.evaluation.measures import Qrels
from smar_core.evaluation.slices import category_slices, length_slices, picture_slices, query_slices, traffic_slices
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


def test_category_of_most_relevant_items() -> None:
    """Query 0 has two shirts and a pot; query 1 one of each, a tie that the name decides; query 2 an item of no category."""
    qrels = Qrels.build(3, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 3], [1] * 6)
    categories = ["Apparel > Shirts", "Apparel > Dresses", "Home", ""]
    found = category_slices(qrels, categories, min_queries=1)
    assert {name: mask.tolist() for name, mask in found.items()} == {"category:Apparel": [True, True, False]}
    assert category_slices(qrels, categories, min_queries=3) == {}
    assert category_slices(Qrels.build(1, [0], [3], [1]), categories, min_queries=1) == {}


def test_thirds_of_the_training_clicks() -> None:
    """Training clicks 5 4 2 2 1 1: of 15, head carries the first 5, torso the next 4 to 10, tail the rest.

    What decides is the share of strictly more frequent queries: 0 for the query of 5 clicks, 5 of 15 (a third, so torso) for 4,
    9 of 15 for both queries of 2, 13 of 15 for those of 1. The unseen query is tail.
    """
    found = traffic_slices(np.array([2, 5, 0, 4, 1, 2]), np.array([1, 4, 2, 1, 5, 2]))
    assert found["head"].tolist() == [False, True, False, False, False, False]
    assert found["torso"].tolist() == [True, False, False, True, False, True]
    assert found["tail"].tolist() == [False, False, True, False, True, False]
    unseen = traffic_slices(np.array([0]), np.array([], dtype=int))
    assert [mask.item() for mask in unseen.values()] == [False, False, True]


def test_every_query_has_one_length_and_one_third() -> None:
    queries = ["a", "a b", "a b c", "a b c d", "a b c d e"]
    assert np.sum(list(length_slices(queries).values()), axis=0).tolist() == [1] * 5
    clicks = np.random.default_rng(0).integers(0, 9, 50)
    assert np.sum(list(traffic_slices(clicks, np.repeat(clicks, 2)).values()), axis=0).tolist() == [1] * 50


def test_pictures_of_the_relevant_items() -> None:
    """Items: none, blank, stock, near-duplicate, distinct, distinct."""
    classes = np.array([0, 1, 2, 3, 4, 4], dtype=np.int8)
    relevant = [[4, 5, 0], [1], [4, 3], [2, 2, 5]]
    entries = [(query, item) for query, items in enumerate(relevant) for item in items]
    found = picture_slices(Qrels.build(4, *zip(*entries, strict=True), [1] * len(entries)), classes)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "with_image": [False, True, True, True],
        "without_image": [True, False, False, False],
        "picture_blank": [False, True, False, False],
        "picture_stock": [False, False, False, False],  # item 2 is relevant once, as one of two
        "picture_near_duplicate": [False, False, False, False],
        "picture_distinct": [True, False, False, False],
    }


def test_drop_trained_is_by_query() -> None:
    """Item 1 was clicked in training for query 0, so it stays relevant for query 1."""
    qrels = Qrels.build(2, [0, 0, 1], [1, 2, 1], [1, 1, 1])
    left = drop_trained(qrels, [rows(1, 7), rows()])
    assert list(zip(left.query_E.tolist(), left.row_E.tolist(), strict=True)) == [(0, 2), (1, 1)]


def test_click_memory_ranks_by_clicks_then_item() -> None:
    ranking = click_memory([rows(5, 3, 4), rows()], [rows(2, 2, 7), rows()], top_k=2)
    assert ranking.rows_QK.tolist() == [[4, 3], [-1, -1]]
    assert ranking.scores_QK[0].tolist() == [7.0, 2.0]
