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
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.progress import Progress
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
    item_DN = torch.from_numpy(np.ascontiguousarray(item_ND.T))
    for start in range(0, len(query_QD), _BATCH):
        scores = torch.from_numpy(query_QD[start : start + _BATCH]) @ item_DN
        if hidden_N is not None:
            scores = scores.masked_fill(hidden_N, -torch.inf)
        best = scores.topk(min(cutoff, scores.shape[1]), dim=1)
        top = torch.where(best.values > -torch.inf, best.indices, -1).numpy()
        for row, ranked in enumerate(top, start):
            found[row] = np.isin(clicked[row], ranked).mean()
    return found


class Validator:
    """Computes the validation figures of a model.

    Args:
        items, clicks: Prepared data.
        max_queries: Size of the sample.
        is_multimodal: Decision of the gate for a list of queries; None before there is a gate.
        progress: Told how far the catalogue is encoded.
    """

    def __init__(self, items: Artifact, queries: ValidationQueries, is_multimodal: np.ndarray | None, progress: Progress) -> None:
        self._items, self._queries, self._is_multimodal, self._progress = items, queries, is_multimodal, progress

    def figures(self, model: SmarModel, tokenizer: TextTokenizer, device: torch.device) -> dict[str, float]:
        """Return ``validation_R@50_text``, ``_image``, ``_multimodal`` and, with a gate, ``_routed``; {} without queries."""
        if not self._queries.queries:
            return {}
        query_QD = encode_queries(model.query_tower, tokenizer, self._queries.queries, batch_size=_BATCH, device=device)
        found = encode_catalogue(model, tokenizer, self._items, batch_size=_BATCH, device=device, progress=self._progress)
        by_tower = {
            name: recall(query_QD, item_ND, self._queries.clicked, is_ranked_N=is_ranked_N)
            for name, item_ND, is_ranked_N in (
                ("text", found.text, None),
                ("image", found.image, found.has_image),
                ("multimodal", found.multimodal, None),
            )
        }
        if self._is_multimodal is not None:
            by_tower["routed"] = np.where(self._is_multimodal, by_tower["multimodal"], by_tower["text"])
        return {f"validation_R@{CUTOFF}_{name}": float(values.mean()) for name, values in by_tower.items()}
