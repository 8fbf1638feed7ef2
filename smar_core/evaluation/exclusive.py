"""Exclusive matches: clicked products that one index finds among its first 50 and the other does not.

Two rankings of equal recall may still find different products. What the multimodal index alone finds is what the picture is
good for; what the text index alone finds is its price. The unit is a (query, clicked product) pair, not a query, so the counts
carry no interval: pairs of one query are not independent. The pairs to show are chosen by a rule: found highest by the one
index, at most one a query.

Shapes: Q queries, K places of a run, E (query, clicked product) entries of the qrels.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from smar_core.evaluation.measures import Qrels
from smar_core.evaluation.slices import Mask
from smar_core.retrieval.exact import NO_ITEM, Rows

CUTOFF = 50

NOT_RANKED = np.iinfo(np.int64).max
"""Rank of an item that a run does not hold."""


def ranks_of(run_QK: Rows, qrels: Qrels) -> NDArray[np.int64]:
    """Return the rank, from 1, of each relevant entry in a run [E]; ``NOT_RANKED`` where it is not there.

    >>> ranks_of(np.array([[7, 2, -1]]), Qrels.build(1, [0, 0], [2, 5], [1, 1])).tolist() == [2, NOT_RANKED]
    True
    """
    num_rows = 1 + int(max(qrels.row_E.max(initial=0), run_QK.max(initial=0)))
    query, place = np.nonzero(run_QK != NO_ITEM)
    run_keys = query * num_rows + run_QK[query, place]
    order = np.argsort(run_keys)
    entry_keys = qrels.query_E * num_rows + qrels.row_E
    found = np.searchsorted(run_keys, entry_keys, sorter=order)
    ranks = np.full(len(entry_keys), NOT_RANKED)
    if len(order):
        at = order[np.minimum(found, len(order) - 1)]
        is_found = run_keys[at] == entry_keys
        ranks[is_found] = place[at[is_found]] + 1
    return ranks


def count_exclusive(
    multimodal_rank_E: NDArray[np.int64], text_rank_E: NDArray[np.int64], query_E: NDArray[np.int64], slices: Mapping[str, Mask]
) -> dict[str, dict[str, int]]:
    """Count the pairs of each slice by which index finds them among its first ``CUTOFF``; the four counts add up to num_pairs."""
    by_multimodal, by_text = multimodal_rank_E <= CUTOFF, text_rank_E <= CUTOFF
    kinds = {
        "num_pairs": np.ones(len(query_E), dtype=bool),
        "num_multimodal_only": by_multimodal & ~by_text,
        "num_text_only": by_text & ~by_multimodal,
        "num_both": by_multimodal & by_text,
        "num_neither": ~by_multimodal & ~by_text,
    }
    return {
        name: {kind: int((is_kind & mask_Q[query_E]).sum()) for kind, is_kind in kinds.items()} for name, mask_Q in slices.items()
    }


def choose_pairs(rank_E: NDArray[np.int64], other_rank_E: NDArray[np.int64], qrels: Qrels, num_pairs: int) -> list[int]:
    """Return the entries to show: found by the one index, not by the other, highest first, at most one a query.

    Args:
        rank_E: Ranks of the one index.
        other_rank_E: Ranks of the other.
        qrels: Ties go by its order: query, then catalogue row.
        num_pairs: Most entries to return.
    """
    exclusive = np.flatnonzero((rank_E <= CUTOFF) & (other_rank_E > CUTOFF))
    best_first = exclusive[np.argsort(rank_E[exclusive], kind="stable")]
    _, first_of_query = np.unique(qrels.query_E[best_first], return_index=True)
    return [int(entry) for entry in best_first[np.sort(first_of_query)][:num_pairs]]
