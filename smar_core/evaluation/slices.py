"""Kinds of queries that are averaged apart, because a mean over all of them hides what a picture is good for.

Of the relevant items, where "most" is more than half of them, however often each was clicked:

* ``fashion``: most lie in the visual categories; ``not_fashion``: the other queries.
* ``category:NAME``: more lie in this top-level category than in any other (of equal ones the first by name); only of categories
  with ``min_slice_queries`` queries.
* ``with_image``: every one has a picture; ``without_image``: one or more have none.
* ``picture_blank``, ``picture_stock``, ``picture_near_duplicate``, ``picture_distinct``: most have such a picture
  (``distinctiveness``). A query of mixed pictures is in none of them.

Of the query itself:

* ``seen_query``, ``unseen_query``: whether it has a click in training.
* ``head``, ``torso``, ``tail``: thirds of the *training* clicks, since what is frequent there is what the model could learn. Head
  queries are the most frequent ones that carry the first third; equally frequent ones stay together; the unseen are tail.
* ``words_1``, ``words_2``, ``words_3``, ``words_4_or_more``: its length.

Slices of pairs have their own qrels and runs (``views``):

* ``unseen_pair``: what is left of a query when every item it was clicked with in training is taken out of the run *and* of
  the relevant items: can the model find what the log does not already say?
* ``unseen_item``: the same with every item that has any click in training: the cold part of the catalogue. ``seen_item``: the
  same with every other item. Both again for seen and unseen queries, as ``seen_query_unseen_item`` and so on. Each side is
  searched alone, so the smaller one is easier: compare systems within a slice, not the slices.
* ``synthetic``: held-out synthetic queries (``synthetic_test``).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smar_core.categories import category_parts, is_under
from smar_core.evaluation.distinctiveness import CLASSES
from smar_core.evaluation.measures import Qrels

Mask = NDArray[np.bool_]
Counts = NDArray[np.integer]


def visual_items(categories: Sequence[str], visual_categories: Sequence[str]) -> Mask:
    """Return whether each item lies in a visual category [N].

    >>> visual_items(["Apparel > Topwear", "Home"], ["Apparel"]).tolist()
    [True, False]
    """
    known = {category: is_under(category, visual_categories) for category in set(categories)}
    return np.array([known[category] for category in categories], dtype=bool)


def most_relevant(qrels: Qrels, is_such_N: Mask) -> Mask:
    """Return whether more than half of each query's relevant items are of a kind [Q]."""
    return _count_relevant(qrels, is_such_N) > qrels.num_relevant / 2


def query_slices(qrels: Qrels, is_visual_N: Mask, is_seen_Q: Mask) -> dict[str, Mask]:
    """Return the mask over queries of each slice, ``overall`` first.

    Args:
        qrels: Relevant items of the queries.
        is_visual_N: Whether an item lies in a visual category.
        is_seen_Q: Whether a query has a training click.
    """
    is_fashion = most_relevant(qrels, is_visual_N)
    return {
        "overall": np.ones(qrels.num_queries, dtype=bool),
        "fashion": is_fashion,
        "not_fashion": ~is_fashion,
        "seen_query": is_seen_Q,
        "unseen_query": ~is_seen_Q,
    }


def category_slices(qrels: Qrels, categories: Sequence[str], min_queries: int) -> dict[str, Mask]:
    """Return the slices of top-level categories, by name; an item without a category counts for none.

    Args:
        qrels: Relevant items of the queries.
        categories: Category path of each item.
        min_queries: A category of fewer queries has no slice.
    """
    tops = {category: (*category_parts(category), "")[0] for category in set(categories)}
    top_N = np.array([tops[category] for category in categories], dtype=object)
    names = sorted(set(top_N[qrels.row_E]) - {""})
    if not names:
        return {}
    count_CQ = np.stack([_count_relevant(qrels, top_N == name) for name in names])
    most_Q = np.where(count_CQ.any(axis=0), count_CQ.argmax(axis=0), -1)
    masks = {f"category:{name}": most_Q == place for place, name in enumerate(names)}
    return {name: mask for name, mask in masks.items() if mask.sum() >= min_queries}


def traffic_slices(train_clicks_Q: Counts, every_train_clicks: Counts) -> dict[str, Mask]:
    """Return the slices by a query's share of the training clicks.

    Args:
        train_clicks_Q: Training clicks of each query, 0 for an unseen one.
        every_train_clicks: Training clicks of every training query, tested or not.
    """
    frequent_first = np.sort(every_train_clicks)[::-1]
    before = np.concatenate([[0], np.cumsum(frequent_first)])
    # Clicks of all training queries that were clicked more often than this one: equally frequent queries stay together.
    more_frequent_Q = before[np.searchsorted(-frequent_first, -train_clicks_Q, side="left")]
    third_Q = np.where(train_clicks_Q > 0, 3 * more_frequent_Q // max(int(before[-1]), 1), 2)
    return {name: third_Q == third for third, name in enumerate(("head", "torso", "tail"))}


def length_slices(queries: Sequence[str]) -> dict[str, Mask]:
    """Return the slices by number of words.

    >>> {name: mask.tolist() for name, mask in length_slices(["tie", "a b c d e"]).items() if mask.any()}
    {'words_1': [True, False], 'words_4_or_more': [False, True]}
    """
    length_Q = np.array([len(query.split()) for query in queries])
    return {f"words_{n}": length_Q == n for n in (1, 2, 3)} | {"words_4_or_more": length_Q >= 4}


def picture_slices(qrels: Qrels, picture_class_N: NDArray[np.int8]) -> dict[str, Mask]:
    """Return the slices by picture of the relevant items.

    Args:
        qrels: Relevant items of the queries.
        picture_class_N: Place in ``distinctiveness.CLASSES`` of each item's picture, for relevant items at least.
    """
    has_image_N = picture_class_N != CLASSES.index("none")
    is_pictured = _count_relevant(qrels, has_image_N) == qrels.num_relevant
    return {"with_image": is_pictured, "without_image": ~is_pictured} | {
        f"picture_{name}": most_relevant(qrels, picture_class_N == place) for place, name in enumerate(CLASSES) if name != "none"
    }


def _count_relevant(qrels: Qrels, is_such_N: Mask) -> NDArray[np.int64]:
    return np.bincount(qrels.query_E[is_such_N[qrels.row_E]], minlength=qrels.num_queries)
