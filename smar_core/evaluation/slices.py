"""Kinds of queries that are averaged apart, because a mean over all of them hides what a picture is good for.

* ``fashion``: more than half of the query's relevant items lie in the visual categories; ``not_fashion``: the others.
* ``seen_query``, ``unseen_query``: whether the query has a click in training.
* ``unseen_pair``: what is left of a query when every item it was clicked with in training is taken out of the run *and* of
  the relevant items: can the model find what the log does not already say?
* ``unseen_item``: the same with every item that has any click in training: the cold part of the catalogue.

The first four are masks over queries, made here; the last two are their own qrels and runs (``evaluate``).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smar_core.categories import is_under
from smar_core.evaluation.measures import Qrels

Mask = NDArray[np.bool_]


def visual_items(categories: Sequence[str], visual_categories: Sequence[str]) -> Mask:
    """Return whether each item lies in a visual category [N].

    >>> visual_items(["Apparel > Topwear", "Home"], ["Apparel"]).tolist()
    [True, False]
    """
    known = {category: is_under(category, visual_categories) for category in set(categories)}
    return np.array([known[category] for category in categories], dtype=bool)


def query_slices(qrels: Qrels, is_visual_N: Mask, is_seen_Q: Mask) -> dict[str, Mask]:
    """Return the mask over queries of each slice, ``overall`` first.

    Args:
        qrels: Relevant items of the queries.
        is_visual_N: Whether an item lies in a visual category.
        is_seen_Q: Whether a query has a training click.
    """
    num_visual = np.bincount(qrels.query_E, weights=is_visual_N[qrels.row_E], minlength=qrels.num_queries)
    is_fashion = num_visual > qrels.num_relevant / 2
    return {
        "overall": np.ones(qrels.num_queries, dtype=bool),
        "fashion": is_fashion,
        "not_fashion": ~is_fashion,
        "seen_query": is_seen_Q,
        "unseen_query": ~is_seen_Q,
    }
