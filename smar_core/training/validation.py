"""R@50 on the validation days while training goes on: chooses the best checkpoint, touches no test day.

Exact search over the whole catalogue; queries are a fixed sample of the validation days (by hash of their id).
Shapes: Q queries, N items, D embed_dim.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import torch

from smar_core.artifact import Artifact
from smar_core.model.encoding import encode_catalogue, encode_queries
from smar_core.model.gate import Gate
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.progress import Progress
from smar_core.retrieval.exact import MAX_SCORES_IN_MEMORY
from smar_core.training.pairs import rows_by_item_id

CUTOFF = 50
_BATCH = 256


@dataclass(frozen=True)
class ValidationQueries:
    """Validation queries and their clicked items.

    Attributes:
        queries: Text of each.
        clicked: Catalogue rows of each query's clicked items.
    """

    queries: list[str]
    clicked: list[np.ndarray]


def read_validation_queries(items: Artifact, clicks: Artifact, max_queries: int) -> ValidationQueries:
    """Read at most ``max_queries`` queries of the validation days, the first by query id (a hash, so a random sample)."""
    item_row = rows_by_item_id(items)
    table = clicks.read_table("pairs", ["split", "query_id", "query", "item_id"])
    table = table.filter(pc.equal(table["split"], "validation"))
    clicked: dict[tuple[str, str], list[int]] = {}
    for query_id, query, item_id in zip(*(table[name].to_pylist() for name in ("query_id", "query", "item_id")), strict=True):
        clicked.setdefault((query_id, query), []).append(item_row[item_id])
    chosen = sorted(clicked)[:max_queries]
    return ValidationQueries([query for _, query in chosen], [np.array(clicked[key]) for key in chosen])


def recall(
    query_QD: np.ndarray,
    item_ND: np.ndarray,
    clicked: Sequence[np.ndarray],
    cutoff: int = CUTOFF,
    is_ranked_N: np.ndarray | None = None,
) -> np.ndarray:
    """Return R@cutoff of each query [Q] by exact search: hits / clicked items.

    Args:
        query_QD, item_ND: L2-normalised embeddings.
        clicked: Rows of each query's clicked items.
        cutoff: Places that count.
        is_ranked_N: Items that may be found; None: all.
    """
    hidden_N = None if is_ranked_N is None else torch.from_numpy(~is_ranked_N)
    found = np.empty(len(query_QD))
    item_DN = torch.from_numpy(item_ND).T
    block = max(1, min(_BATCH, MAX_SCORES_IN_MEMORY // max(1, len(item_ND))))
    for start in range(0, len(query_QD), block):
        scores = torch.from_numpy(query_QD[start : start + block]) @ item_DN
        if hidden_N is not None:
            scores = scores.masked_fill(hidden_N, -torch.inf)
        best = scores.topk(min(cutoff, scores.shape[1]), dim=1)
        top = torch.where(best.values > -torch.inf, best.indices, -1).numpy()
        for row, ranked in enumerate(top, start):
            found[row] = np.isin(clicked[row], ranked).mean()
    return found


@dataclass(frozen=True)
class Routing:
    """Which representation answers each validation query.

    Attributes:
        gate: What represents the items.
        route: [Q] place in ``gate.modalities``.
    """

    gate: Gate
    route: np.ndarray


class Validator:
    """Computes the validation figures of a model.

    Args:
        items: The catalogue.
        queries: The sample.
        routing: Decision of the gate; None before there is one.
        progress: Told how far the catalogue is encoded.
    """

    def __init__(self, items: Artifact, queries: ValidationQueries, routing: Routing | None, progress: Progress) -> None:
        self._items, self._queries, self._routing, self._progress = items, queries, routing, progress

    def figures(self, model: SmarModel, tokenizer: TextTokenizer, device: torch.device) -> dict[str, float]:
        """Return ``validation_R@50_TOWER`` of each item tower and, with a gate, ``_routed``; {} without queries."""
        if not self._queries.queries:
            return {}
        query_QD = encode_queries(model.query_tower, tokenizer, self._queries.queries, batch_size=_BATCH, device=device)
        found = encode_catalogue(model, tokenizer, self._items, batch_size=_BATCH, device=device, progress=self._progress)
        with_image = None if model.config.has_image_fallback else found.has_image
        found_by = {
            tower: recall(query_QD, item_ND, self._queries.clicked, is_ranked_N=with_image if tower == "image" else None)
            for tower, item_ND in found.by_tower.items()
        }
        figures = {f"validation_R@{CUTOFF}_{tower}": float(values.mean()) for tower, values in found_by.items()}
        if self._routing is not None:
            represented = self._routing.gate.represent(found.item_ids, found.by_tower)
            if "gated" in represented:
                recall_RQ = recall(query_QD, represented["gated"], self._queries.clicked)[None]
            else:
                recall_RQ = np.stack([found_by[tower] for tower in self._routing.gate.towers])
            routed_Q = recall_RQ[self._routing.route, np.arange(len(self._routing.route))]
            figures[f"validation_R@{CUTOFF}_routed"] = float(routed_Q.mean())
        return figures
