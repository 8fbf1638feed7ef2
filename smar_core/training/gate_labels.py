"""What the prediction header learns: one label a clicked pair, averaged by clicks over a query or over an item.

``category``: 1 where the clicked item is visual, else 0 (PAPER.md 11).

``utility``: how much the picture helps to find the clicked item, a step beyond the paper. With r_t and r_m the item's ranks among
the whole catalogue by S_t and by S_m of the pre-trained model, and s(r) = 1 / (1 + (r / 50)^4) a smooth "is among the first 50",

    u = 1/2 + (s(r_m) - s(r_t)) / 2,

so 0.5 where both find it equally well, towards 1 where only S_m finds it. Differences of log ranks, of reciprocal ranks and of
hits within 50 were tried too, and s ordered the validation queries of one model best by what they gain. The training queries
were trained on, so both ranks are better than those of unseen queries; the label reads their difference alone, which hardly
moves: a model of preset ``small`` had an R@50 of S_t and S_m of .830 and .882 on the training days, .708 and .763 on the
validation days. Labels from one half of the validation days would be free of that, but of 850 queries instead of 4,963.

Shapes: P clicked pairs, G labelled groups (queries or items), N items.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from smar_core.artifact import Artifact
from smar_core.categories import is_under
from smar_core.retrieval.exact import MAX_SCORES_IN_MEMORY, Floats
from smar_core.training.pairs import rows_by_item_id

Supervision = Literal["category", "utility"]

UTILITY_RANK = 50
"""Rank at which s is 1/2: the depth of the measure that decides."""

_STEEPNESS = 4


@dataclass(frozen=True, eq=False)
class ClickedPairs:
    """Clicked pairs of every split.

    Attributes:
        query_ids, queries: Id and text of each distinct query, sorted.
        split_P: Name of the split.
        query_P: Row in ``queries``.
        item_P: Row in the catalogue.
        clicks_P: Clicks.
    """

    query_ids: list[str]
    queries: list[str]
    split_P: NDArray[np.str_]
    query_P: NDArray[np.int64]
    item_P: NDArray[np.int64]
    clicks_P: NDArray[np.int64]


def read_clicked_pairs(items: Artifact, clicks: Artifact) -> ClickedPairs:
    """Read the pairs of all splits."""
    item_row = rows_by_item_id(items)
    table = clicks.read_table("pairs", ["split", "query_id", "query", "item_id", "num_clicks"])
    texts = list(zip(table["query_id"].to_pylist(), table["query"].to_pylist(), strict=True))
    distinct = sorted(set(texts))
    row_of = {key: row for row, key in enumerate(distinct)}
    return ClickedPairs(
        query_ids=[query_id for query_id, _ in distinct],
        queries=[query for _, query in distinct],
        split_P=np.array(table["split"].to_pylist(), dtype=np.str_),
        query_P=np.array([row_of[key] for key in texts], dtype=np.int64),
        item_P=np.array([item_row[item_id] for item_id in table["item_id"].to_pylist()], dtype=np.int64),
        clicks_P=table["num_clicks"].to_numpy().astype(np.int64),
    )


@dataclass(frozen=True, eq=False)
class Labelled:
    """Queries or items of one split with the gate's label.

    Attributes:
        row_G: Row of each in ``ClickedPairs.queries``, or in the catalogue; ascending.
        clicks_G: Its clicks in the split.
        label_G: Click-weighted mean of the pairs' labels, 0..1.
        supervision: Which labels they are.
    """

    row_G: NDArray[np.int64]
    clicks_G: NDArray[np.int64]
    label_G: NDArray[np.float64]
    supervision: Supervision

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """[G] whether S_m is the right answer: most clicks are on visual items, or the picture helps."""
        return self.label_G > 0.5

    @property
    def weight(self) -> NDArray[np.float64]:
        """[G] what a wrong decision costs: 1, or under ``utility`` how far both rankings differ, 0 where they are equal."""
        return np.ones(len(self.label_G)) if self.supervision == "category" else np.abs(2 * self.label_G - 1)

    @property
    def target(self) -> NDArray[np.float64]:
        """[G] what calibrated P equal on weighted average: the label, or under ``utility`` whether the picture helps."""
        return self.label_G if self.supervision == "category" else self.is_positive.astype(np.float64)

    @property
    def has_both_classes(self) -> bool:
        """Whether either answer is right for some of those that count."""
        return len(np.unique(self.is_positive[self.weight > 0])) == 2


def group_labels(
    pairs: ClickedPairs, label_P: NDArray[np.float64], split: str, group_P: NDArray[np.int64], supervision: Supervision
) -> Labelled:
    """Average the labels of a split's pairs over each query or item.

    Args:
        pairs: The clicked pairs.
        label_P: Label of each.
        split: Name of the split.
        group_P: ``pairs.query_P`` or ``pairs.item_P``.
        supervision: Which labels they are.
    """
    inside = pairs.split_P == split
    row_G, place = np.unique(group_P[inside], return_inverse=True)
    clicks_G = np.bincount(place, pairs.clicks_P[inside], len(row_G))
    label_G = np.bincount(place, pairs.clicks_P[inside] * label_P[inside], len(row_G)) / np.maximum(clicks_G, 1)
    return Labelled(row_G, clicks_G.astype(np.int64), label_G, supervision)


def category_labels(items: Artifact, pairs: ClickedPairs, visual_categories: tuple[str, ...]) -> NDArray[np.float64]:
    """Return for each pair [P] 1 if the item is under a visual category, else 0."""
    categories = items.read_table("items", ["category"])["category"].to_pylist()
    is_visual_N = np.array([is_under(category, visual_categories) for category in categories], dtype=np.float64)
    return is_visual_N[pairs.item_P]


def utility_labels(text_rank_P: NDArray[np.float64], multimodal_rank_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each pair [P] how much better S_m ranks it than S_t, 0..1, 0.5 for equal ranks.

    >>> utility_labels(np.array([7.0, 50.0, np.inf]), np.array([7.0, np.inf, 50.0])).tolist()
    [0.5, 0.25, 0.75]
    """
    return 0.5 + 0.5 * (_found(multimodal_rank_P) - _found(text_rank_P))


def _found(rank_P: NDArray[np.float64]) -> NDArray[np.float64]:
    found_P: NDArray[np.float64] = 1.0 / (1.0 + (rank_P / UTILITY_RANK) ** _STEEPNESS)
    return found_P


def rank_pairs(query_QD: Floats, item_ND: Floats, query_P: NDArray[np.int64], item_P: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rank from 1 of each pair's item among the whole catalogue [P].

    Equal scores share the middle of their places: items of one text have one S_t, and whichever came first would flatter it.
    Scores are held for a block of queries at a time (``MAX_SCORES_IN_MEMORY``).

    Args:
        query_QD, item_ND: L2-normalised embeddings.
        query_P, item_P: Rows of the pairs.
    """
    rank_P = np.zeros(len(query_P))
    by_query = np.argsort(query_P, kind="stable")
    ends = np.searchsorted(query_P[by_query], np.arange(len(query_QD)), side="right")
    starts = np.r_[0, ends[:-1]]
    chunk = max(1, MAX_SCORES_IN_MEMORY // max(1, len(item_ND)))
    for first in range(0, len(query_QD), chunk):
        score_CN = query_QD[first : first + chunk] @ item_ND.T
        for query, score_N in enumerate(score_CN, first):
            pairs = by_query[starts[query] : ends[query]]
            ascending_N = np.sort(score_N)
            below, not_above = (np.searchsorted(ascending_N, score_N[item_P[pairs]], side=side) for side in ("left", "right"))
            rank_P[pairs] = len(score_N) - (below + not_above - 1) / 2
    return rank_P
