"""Candidates for hard negatives: items that rank high for a query and still score clearly below its positive.

An item that scores about as high as the positive is more likely an unclicked match than a negative, so it is skipped (the
"perc-of-positive" rule of NV-Retriever, Moreira et al. 2024). The search is exact, by faiss over the catalogue's embeddings in
place: no second copy of them is built, and an index that changes with every mining would cost more to build than it saves.
Left out: catalogues whose embeddings do not fit into memory.

Shapes: B queries, N items, D embed_dim, C candidates.
"""

import faiss
import numpy as np

from smar_core.retrieval.exact import NO_ITEM, Floats, Rows


def hardest_items(query_BD: Floats, item_ND: Floats, positive_B: Rows, *, depth: int, margin: float) -> Rows:
    """Return the best-ranked items of each query that score clearly below its positive.

    Args:
        query_BD, item_ND: L2-normalised embeddings.
        positive_B: Row of each query's positive.
        depth: C, ranks that are looked at; may exceed the catalogue.
        margin: Relative, 0..1: an item above (1 - margin) of the positive's score is skipped. Of a positive with a score below
            0 the margin lies below it too.

    Returns:
        Rows [B, C], int32, from the first rank on; ``NO_ITEM`` in the places of those that are skipped.

    >>> items = np.array([[1, 0], [0.96, 0.28], [0.8, 0.6], [0, 1]], dtype=np.float32)
    >>> hardest_items(items[:1], items, np.array([0]), depth=3, margin=0.1)
    array([[-1, -1,  2]], dtype=int32)
    """
    candidate_BC = np.full((len(query_BD), depth), NO_ITEM, dtype=np.int32)
    num_ranks = min(depth, len(item_ND))
    score_BC, row_BC = faiss.knn(
        np.ascontiguousarray(query_BD), np.ascontiguousarray(item_ND), num_ranks, metric=faiss.METRIC_INNER_PRODUCT
    )
    positive_score_B = np.einsum("bd,bd->b", query_BD, item_ND[positive_B])
    highest_B = positive_score_B - margin * np.abs(positive_score_B)
    candidate_BC[:, :num_ranks] = np.where(score_BC <= highest_B[:, None], row_BC, NO_ITEM)
    return candidate_BC
