"""Click memory: the ranking that a shop has without any model.

It shows what the click log alone answers: for a query seen in training the items clicked then, most clicks first; for
any other query nothing. A model that cannot beat it on seen queries adds nothing there.
"""

from collections.abc import Sequence

import numpy as np

from smar_core.retrieval.exact import Ranking, Rows


def click_memory(clicked: Sequence[Rows], num_clicks: Sequence[Rows], top_k: int) -> Ranking:
    """Rank each query's items by their training clicks; ties by item id.

    Args:
        clicked: For each query the catalogue rows with a training click.
        num_clicks: For each query the clicks on them.
        top_k: Places of the ranking.

    Returns:
        The ranking, scored by clicks.
    """
    ranking = Ranking.empty(len(clicked), top_k)
    for query, (rows, clicks) in enumerate(zip(clicked, num_clicks, strict=True)):
        order = np.lexsort((rows, -clicks))[:top_k]
        ranking.rows_QK[query, : len(order)] = rows[order]
        ranking.scores_QK[query, : len(order)] = clicks[order]
    return ranking
