"""The expected recall of a ranking by grade, against rankings that are really drawn."""

import numpy as np
import pytest

from smar_core.config import EvaluateConfig
from smar_core.evaluation.attainable import ATTAINABLE_SLICES, attainable_recall, summarise_attainable
from smar_core.evaluation.measures import Qrels, measure_run
from smar_core.evaluation.testset import JudgedTest
from smar_core.retrieval.exact import NO_ITEM


def test_is_worked_out_by_hand() -> None:
    """Query 0: two of grade 3 fill both places, so the click on a 2 is missed. Query 1: two of three 2s behind one 3."""
    clicked = Qrels.build(2, [0, 0, 1, 1, 1], [1, 3, 4, 5, 9], [1, 1, 1, 1, 1])
    judged = Qrels.build(2, [0, 0, 0, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6, 7], [3, 3, 2, 3, 2, 2, 2])
    assert attainable_recall(clicked, judged, 2).tolist() == pytest.approx([1 / 2, (1 + 1 / 3) / 3])
    assert attainable_recall(clicked, judged, 1).tolist() == pytest.approx([1 / 4, 1 / 3])
    assert attainable_recall(clicked, judged, 9).tolist() == pytest.approx([1.0, 2 / 3])


def test_is_the_mean_over_drawn_orders() -> None:
    generator = np.random.default_rng(0)
    num_queries, num_items, cutoff = 6, 40, 10
    grades = generator.integers(0, 4, (num_queries, num_items))
    query, row = np.nonzero(grades)
    judged = Qrels.build(num_queries, query, row, grades[query, row])
    query, row = np.nonzero(generator.random((num_queries, num_items)) < 0.2)
    clicked = Qrels.build(num_queries, query, row, np.ones(len(row)))
    means = np.zeros(num_queries)
    num_draws = 4000
    for _ in range(num_draws):
        order = np.lexsort((generator.random((num_queries, num_items)), -grades), axis=1)
        shown = np.where(np.take_along_axis(grades, order, 1) > 0, order, NO_ITEM).astype(np.int32)
        means += measure_run(shown, clicked, [cutoff])[f"R@{cutoff}"] / num_draws
    assert attainable_recall(clicked, judged, cutoff) == pytest.approx(means, abs=0.02)


def test_a_query_without_judgments_reaches_nothing() -> None:
    clicked = Qrels.build(2, [0, 1], [3, 4], [1, 1])
    assert attainable_recall(clicked, Qrels.build(2, [0], [3], [3]), 5).tolist() == [1.0, 0.0]


def summarise_share(reachable: int, num_queries: int) -> dict[str, float] | None:
    """Return the share where as many queries as ``reachable`` were clicked for a graded item, each found by the model."""
    queries = np.arange(num_queries)
    clicked = Qrels.build(num_queries, queries, (queries >= reachable).astype(int), np.ones(num_queries))
    judged = Qrels.build(num_queries, queries, np.zeros(num_queries), np.ones(num_queries))
    slices = dict.fromkeys(ATTAINABLE_SLICES, np.ones(num_queries, dtype=bool))
    graded = JudgedTest(queries, judged, {}, "")
    found = summarise_attainable(clicked, np.ones(num_queries), graded, slices, EvaluateConfig(num_bootstrap_samples=100))
    return found["slices"]["overall"]["share"]


def test_a_share_of_what_may_be_nothing_is_none() -> None:
    """A resample without the one query that judgments can foresee gave a share of 1e307."""
    assert summarise_share(1, 8) is None
    assert summarise_share(8, 8) == {"value": 1.0, "low": 1.0, "high": 1.0}
