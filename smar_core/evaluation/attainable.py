"""What a ranking by the graded judgments would reach on the same clicks: the measure of how much there is left to gain.

People click on what they wished for and, now and then, on something else; and where more items meet every wish than there are
places, no ranking knows which of them will be clicked. Recall of 1 is therefore out of reach. The judgments say how far: a
ranker that knew every grade, and nothing else, would put the items in order of grade, those of equal grade in any order. The mean
of R@K over all such orders is exact, without drawing any. A model can be above it where clicks have a reason that grades do not
tell, such as an item's popularity.

Shapes: Q queries, E clicked and J judged (query, item) entries.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from smar_core.config import EvaluateConfig
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.measures import Qrels, Values
from smar_core.evaluation.slices import Mask
from smar_core.evaluation.testset import JudgedTest

CUTOFF = 50
ATTAINABLE_SLICES = ("overall", "fashion", "not_fashion", "seen_query", "unseen_query")


def summarise_attainable(
    clicked: Qrels, model_Q: Values, graded: JudgedTest, slices: Mapping[str, Mask], config: EvaluateConfig
) -> dict[str, Any]:
    """Lay the model's R@50 beside what a ranking by grade reaches, on the clicks of the judged queries.

    Args:
        clicked: Relevant items of every test query.
        model_Q: The model's R@50 of every test query.
        graded: Judgments of some of them.
        slices: Mask over the test queries by name.
        config: Resamples, confidence and seed.

    Returns:
        ``cutoff``, and ``slices`` by name: ``num_queries``, ``attainable`` with its interval, ``model``, and ``share``, what the
        model has of the attainable mean, with its interval; None where that mean of a resample is 0.
    """
    both_QM = np.column_stack(
        [attainable_recall(clicked.select(graded.places), graded.qrels, CUTOFF), model_Q[graded.places]],
    )
    found: dict[str, Any] = {}
    for name in ATTAINABLE_SLICES:
        of_slice_QM = both_QM[slices[name][graded.places]]
        if not len(of_slice_QM) or not of_slice_QM[:, 0].any():
            continue
        attainable, model = of_slice_QM.mean(axis=0)
        sample_SM = resample_means(of_slice_QM, config.num_bootstrap_samples, config.seed)
        share = None
        if sample_SM[:, 0].all():
            share = percentile_interval(model / attainable, sample_SM[:, 1] / sample_SM[:, 0], config.confidence).as_json()
        found[name] = {
            "num_queries": len(of_slice_QM),
            "attainable": percentile_interval(attainable, sample_SM[:, 0], config.confidence).as_json(),
            "model": percentile_interval(model, sample_SM[:, 1], config.confidence).as_json(),
            "share": share,
        }
    return {"cutoff": CUTOFF, "slices": found}


def attainable_recall(clicked: Qrels, judged: Qrels, cutoff: int) -> Values:
    """Return the expected R@K of a ranking by grade [Q], equal grades in random order and items without a grade never shown.

    Args:
        clicked: Relevant items of each query; every query has one.
        judged: Graded items of the same queries.
        cutoff: K.

    >>> clicked = Qrels.build(1, [0, 0], [5, 7], [1, 1])
    >>> judged = Qrels.build(1, [0, 0, 0], [5, 6, 8], [3, 3, 2])
    >>> attainable_recall(clicked, judged, 1).tolist()  # item 5 is first half of the time, item 7 is never shown
    [0.25]
    """
    places_left_J = cutoff - _num_better(judged)
    num_equal_J = _num_equal(judged)
    is_shown_J = np.clip(places_left_J / num_equal_J, 0.0, 1.0)
    width = 1 + int(max(clicked.row_E.max(initial=0), judged.row_E.max(initial=0)))
    clicked_keys, judged_keys = (qrels.query_E * width + qrels.row_E for qrels in (clicked, judged))
    found = np.searchsorted(judged_keys, clicked_keys)
    known = found < len(judged_keys)
    known[known] = judged_keys[found[known]] == clicked_keys[known]
    is_shown_E = np.zeros(len(clicked_keys))
    is_shown_E[known] = is_shown_J[found[known]]
    return np.bincount(clicked.query_E, is_shown_E, clicked.num_queries) / clicked.num_relevant


def _num_better(judged: Qrels) -> Values:
    """Return how many items of the same query have a higher grade [J]."""
    order = np.lexsort((-judged.grade_E, judged.query_E))
    query, grade = judged.query_E[order], judged.grade_E[order]
    starts = np.searchsorted(query, query)  # of the query
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (query[1:] != query[:-1]) | (grade[1:] != grade[:-1])
    group_starts = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    num_better = np.empty(len(order))
    num_better[order] = group_starts - starts
    return num_better


def _num_equal(judged: Qrels) -> Values:
    """Return how many items of the same query have the same grade, the item itself among them [J]."""
    _, group, size = np.unique(np.stack([judged.query_E, judged.grade_E]), axis=1, return_inverse=True, return_counts=True)
    return size[group.reshape(-1)].astype(np.float64)
