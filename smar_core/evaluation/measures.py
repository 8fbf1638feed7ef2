"""R@K, P@K, F1@K, nDCG@K and RR@K of whole runs at once, on catalogue rows instead of ids.

The measures are those of trec_eval (tests compare them with pytrec_eval and ir_measures): R@K = hits / relevant items,
P@K = hits / K, nDCG@K with the grade itself as gain, discounted by log2(rank + 1), RR@K = 1 / rank of the first hit.
F1@K is the paper's: the harmonic mean of the *averaged* P@K and R@K (PAPER.md 15), so it has no value for a single query.
Unlike trec_eval, which orders ties by document id downwards, the order of the run stands; ties were settled when it was made.
A query that a run does not answer scores 0. Left out: measures of users' time.

Shapes: Q queries, K places of a run, E judged (query, item) entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smar_core.retrieval.exact import NO_ITEM, Rows

Values = NDArray[np.float64]

RR_CUTOFF = 10


@dataclass(frozen=True, eq=False)
class Qrels:
    """Relevant items of Q queries, each entry once, sorted by query and row. Items without an entry have grade 0.

    Attributes:
        num_queries: Q.
        query_E: int64, places of the queries.
        row_E: int64, catalogue rows.
        grade_E: float64, above 0.
    """

    num_queries: int
    query_E: NDArray[np.int64]
    row_E: NDArray[np.int64]
    grade_E: Values

    @classmethod
    def build(cls, num_queries: int, queries: ArrayLike, rows: ArrayLike, grades: ArrayLike) -> "Qrels":
        """Sort entries; of several with the same query and item the highest grade counts, and grade 0 is no entry."""
        query, row, grade = np.asarray(queries, np.int64), np.asarray(rows, np.int64), np.asarray(grades, np.float64)
        order = np.lexsort((-grade, row, query))
        order = order[grade[order] > 0]
        query, row, grade = query[order], row[order], grade[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (query[1:] != query[:-1]) | (row[1:] != row[:-1])
        return cls(num_queries, query[is_first], row[is_first], grade[is_first])

    @property
    def num_relevant(self) -> NDArray[np.int64]:
        """Relevant items of each query [Q]."""
        return np.bincount(self.query_E, minlength=self.num_queries).astype(np.int64)

    def select(self, queries: NDArray[np.integer]) -> "Qrels":
        """Return the entries of some queries, which become 0, 1, ... in the order given; ``queries`` is ascending."""
        place = np.full(self.num_queries, -1)
        place[queries] = np.arange(len(queries))
        kept = place[self.query_E] >= 0
        return Qrels(len(queries), place[self.query_E[kept]], self.row_E[kept], self.grade_E[kept])

    def drop(self, is_dropped_E: NDArray[np.bool_]) -> "Qrels":
        """Return the qrels without some entries."""
        kept = ~is_dropped_E
        return Qrels(self.num_queries, self.query_E[kept], self.row_E[kept], self.grade_E[kept])

    def grades_of(self, run_QK: Rows) -> Values:
        """Return the grade of every place of a run [Q, K]; 0 for unjudged items and empty places."""
        num_rows = 1 + int(max(self.row_E.max(initial=0), run_QK.max(initial=0)))
        entry_keys = self.query_E * num_rows + self.row_E
        run_keys = np.arange(self.num_queries)[:, None] * num_rows + run_QK
        found = np.minimum(np.searchsorted(entry_keys, run_keys), max(len(entry_keys) - 1, 0))
        if not len(entry_keys):
            return np.zeros(run_QK.shape)
        return np.where((entry_keys[found] == run_keys) & (run_QK != NO_ITEM), self.grade_E[found], 0.0)

    def ideal(self, depth: int) -> Values:
        """Return each query's grades, best first [Q, depth], padded with 0."""
        order = np.lexsort((-self.grade_E, self.query_E))
        starts = np.concatenate([[0], np.cumsum(self.num_relevant)[:-1]])
        ranks = np.arange(len(order)) - starts[self.query_E[order]] if len(order) else order
        ideal = np.zeros((self.num_queries, depth))
        is_shown = ranks < depth
        ideal[self.query_E[order][is_shown], ranks[is_shown]] = self.grade_E[order][is_shown]
        return ideal


def measure_run(run_QK: Rows, qrels: Qrels, cutoffs: Sequence[int]) -> dict[str, Values]:
    """Measure a run query by query.

    Args:
        run_QK: Catalogue rows by rank, ``NO_ITEM`` in empty places; K at least the largest cutoff.
        qrels: Every query has a relevant item.
        cutoffs: Places that count.

    Returns:
        Values [Q] of R@K, P@K, nDCG@K and ``P@K_max``, the highest P@K that any run can reach, for each cutoff, and of RR@10.
    """
    assert run_QK.shape[0] == qrels.num_queries and run_QK.shape[1] >= max(cutoffs)
    num_relevant = qrels.num_relevant.astype(np.float64)
    assert (num_relevant > 0).all()
    grade_QK, ideal_QK = qrels.grades_of(run_QK), qrels.ideal(max(cutoffs))
    values: dict[str, Values] = {}
    for cutoff in cutoffs:
        hits = (grade_QK[:, :cutoff] > 0).sum(axis=1)
        values[f"R@{cutoff}"] = hits / num_relevant
        values[f"P@{cutoff}"] = hits / cutoff
        values[f"nDCG@{cutoff}"] = _discounted(grade_QK[:, :cutoff]) / _discounted(ideal_QK[:, :cutoff])
        values[f"P@{cutoff}_max"] = np.minimum(num_relevant, cutoff) / cutoff
    values[f"RR@{RR_CUTOFF}"] = _reciprocal_rank(grade_QK[:, :RR_CUTOFF] > 0)
    return values


def f1(precision: Values, recall: Values) -> Values:
    """Return the harmonic mean of averaged precision and recall, 0 where both are 0.

    >>> f1(np.array([0.033, 0.0]), np.array([0.69, 0.0])).round(3).tolist()
    [0.063, 0.0]
    """
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def add_f1(means: Mapping[str, Values], cutoffs: Sequence[int]) -> dict[str, Values]:
    """Return averaged measures with F1@K added for each cutoff."""
    return dict(means) | {f"F1@{k}": f1(means[f"P@{k}"], means[f"R@{k}"]) for k in cutoffs}


def _discounted(grade_QK: Values) -> Values:
    return grade_QK @ (1.0 / np.log2(np.arange(grade_QK.shape[1]) + 2.0))


def _reciprocal_rank(is_hit_QK: NDArray[np.bool_]) -> Values:
    return np.where(is_hit_QK.any(axis=1), 1.0 / (is_hit_QK.argmax(axis=1) + 1.0), 0.0)
