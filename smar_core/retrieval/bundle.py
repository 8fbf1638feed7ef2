"""A bundle: the folder that answers queries and needs nothing else.

It holds the query tower, the gate, the tokenizer, every item's embeddings and metadata, and an approximate index for each
representation that may answer. Under a learned gate these are S_t (text) and S_m (multimodal): which of them answers depends on
the query, through P(q) (PAPER.md 12), hence two indexes: twice the memory of one, for a gate that may look at the query. Under
an item-side gate there is one, ``gated``, of S_m of some items and S_t of the others; a query is encoded once and never routed.
Evaluation searches through this class too: what is measured is what is shipped. Left out: items added after the export,
filters, a server.

Shapes: Q queries, N items, D embed_dim, K top_k. Rows are the catalogue sorted by item id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from smar_core.artifact import open_artifact
from smar_core.config import ItemTower
from smar_core.errors import ArtifactError, UserError
from smar_core.model.encoding import encode_queries
from smar_core.model.gate import Gate, Representation
from smar_core.model.modeling import QueryTower
from smar_core.model.tokens import TextTokenizer
from smar_core.retrieval.exact import NO_ITEM, Floats, Ranking, Rows, exact_search
from smar_core.retrieval.index import ItemIndex
from smar_core.retrieval.truncation import truncate
from smar_core.text import normalise_query

Mode = Literal["routed", "text", "multimodal", "image"]

CPU = torch.device("cpu")


def id_order(item_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows of a catalogue [N] in the order of a bundle: that of the item ids, by code point.

    >>> id_order(["b", "a10", "a2"]).tolist()
    [1, 2, 0]
    """
    return np.asarray(pc.sort_indices(pa.array(item_ids, pa.string()))).astype(np.int64)


@dataclass(frozen=True)
class Hit:
    """One item of an answer.

    Attributes:
        rank: From 1.
        score: Cosine of query and item, -1..1.
    """

    item_id: str
    rank: int
    score: float
    title: str
    brand: str
    category: str


class Bundle:
    """An opened bundle.

    Args:
        folder: A checked bundle folder; callers use ``Bundle.open``.
        batch_size: Queries encoded at a time.
        device: Where queries are encoded.

    Attributes:
        settings: The content of bundle.json.
        item_ids: N ids, sorted.
        categories: N category paths.
        has_image: [N] bool.
        modalities: Embeddings that the items have.
        indexed: What has an approximate index, as ``Gate.modalities``; the rest is searched exactly, in evaluation only.
    """

    def __init__(self, folder: Path, *, batch_size: int, device: torch.device) -> None:
        artifact = open_artifact(folder, "bundle")
        self._artifact = artifact
        self._batch_size, self._device = batch_size, device
        self.settings: dict[str, Any] = artifact.read_json("bundle.json")
        self._metadata = artifact.read_table("embeddings", ["item_id", "title", "brand", "category", "has_image"])
        self.item_ids: list[str] = self._metadata["item_id"].to_pylist()
        self.categories: list[str] = self._metadata["category"].to_pylist()
        self.has_image: NDArray[np.bool_] = self._metadata["has_image"].to_numpy()
        self._tokenizer = TextTokenizer.load(folder / "tokenizer.json")
        self._query_tower = QueryTower.from_pretrained(folder / "query_tower")
        self.gate = Gate.load(folder / "gate")
        self.modalities: tuple[ItemTower, ...] = tuple(self.settings["item_towers"])
        self.indexed: tuple[Representation, ...] = self.gate.modalities
        self._embeddings: dict[str, Floats] = {}
        self._indexes: dict[str, ItemIndex] = {}

    @classmethod
    def open(cls, folder: Path, *, batch_size: int = 256, device: torch.device = CPU) -> "Bundle":
        """Check a bundle folder, wherever it was copied to, and open it.

        Raises:
            UserError: It is no bundle, of another version, incomplete or altered.
        """
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", "name the bundle folder of a finished run")
        try:
            return cls(folder, batch_size=batch_size, device=device)
        except ArtifactError as error:
            raise UserError(f"{folder} cannot be used as a bundle: {error}", "copy or export the bundle again") from None

    def search(self, queries: Sequence[str], top_k: int, mode: Mode = "routed", exact: bool = False) -> list[list[Hit]]:
        """Find the best items of each query.

        Args:
            queries: As users type them; they are normalised here. A blank one has no hits.
            top_k: Most hits of a query, above 0; may exceed the catalogue.
            mode: ``routed`` asks the gate which index answers; the others name it.
            exact: Compare with every item instead of asking the approximate index.

        Raises:
            UserError: ``top_k`` is below 1, or the bundle has no such index.
        """
        if top_k < 1:
            raise UserError(f"top_k is {top_k}", "ask for at least 1 item")
        normalised = [normalise_query(query) for query in queries]
        asked = [place for place, query in enumerate(normalised) if query]
        texts = [normalised[place] for place in asked]
        query_QD = self.encode(texts)
        route_Q = self._route(texts, mode)
        answers: list[list[Hit]] = [[] for _ in queries]
        for place, modality in enumerate(self.indexed):
            chosen = np.flatnonzero(route_Q == place)
            ranking = self.rank(query_QD[chosen], modality, min(top_k, len(self.item_ids)), exact=exact)
            for query, rows, scores in zip(chosen, ranking.rows_QK, ranking.scores_QK, strict=True):
                answers[asked[query]] = self._hits(rows, scores)
        return answers

    def encode(self, queries: Sequence[str]) -> Floats:
        """Return Q(q) [Q, D] of normalised queries, L2-normalised and as long as the items' embeddings."""
        embeddings: Floats = encode_queries(
            self._query_tower, self._tokenizer, queries, batch_size=self._batch_size, device=self._device
        )
        return truncate(embeddings, self.settings["embed_dim"])

    def probabilities(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """Return P(q) [Q] of normalised queries."""
        return self.gate.probabilities(queries, batch_size=self._batch_size, device=self._device)

    def rank(
        self,
        query_QD: Floats,
        modality: Representation,
        top_k: int,
        *,
        exact: bool = True,
        excluded: Sequence[Rows] | None = None,
    ) -> Ranking:
        """Rank catalogue rows for encoded queries.

        Args:
            query_QD: What ``encode`` returned.
            modality: The embeddings to compare with. Items without a picture have no place in ``image``, unless it is all that
                represents an item.
            top_k: Places of the ranking.
            exact: Compare with every item; needed for what has no index and for ``excluded``.
            excluded: For each query the rows that may not be ranked.
        """
        if exact:
            hidden_N = ~self.has_image if modality == "image" and self.modalities != ("image",) else None
            return exact_search(query_QD, self.embeddings(modality), top_k, excluded=excluded, hidden_N=hidden_N)
        assert modality in self.indexed and excluded is None
        return self._index(modality).search(query_QD, self.embeddings(modality), top_k)

    def embeddings(self, modality: Representation) -> Floats:
        """Return the items' embeddings [N, D], L2-normalised; rows of ``image`` without a picture are zero or a learned one."""
        if modality == "gated" and modality not in self._embeddings:
            by_tower = {tower: self.embeddings(tower) for tower in self.gate.towers}
            self._embeddings[modality] = self.gate.represent(self.item_ids, by_tower)[modality]
        elif modality not in self._embeddings:
            column = self._artifact.read_table("embeddings", [modality])[modality].combine_chunks()
            self._embeddings[modality] = column.flatten().to_numpy().reshape(len(column), -1)
        return self._embeddings[modality]

    def _index(self, modality: Representation) -> ItemIndex:
        if modality not in self._indexes:
            path = self._artifact.path / index_file(modality)
            self._indexes[modality] = ItemIndex.load(path, self.settings["index"])
        return self._indexes[modality]

    def _route(self, queries: Sequence[str], mode: Mode) -> NDArray[np.int64]:
        """Return the place in ``indexed`` of what answers each query."""
        if mode == "routed":
            return self.gate.route(self.probabilities(queries))
        if mode not in self.indexed:
            named = [modality for modality in self.indexed if modality != "gated"]
            raise UserError(f"the bundle has no {mode} index", f"choose {' or '.join(['routed', *named])}")
        return np.full(len(queries), self.indexed.index(mode))

    def _hits(self, rows: Rows, scores: Floats) -> list[Hit]:
        found = rows != NO_ITEM
        records = self._metadata.take(pa.array(rows[found])).to_pylist()
        return [
            Hit(record["item_id"], rank, score, record["title"], record["brand"], record["category"])
            for rank, (record, score) in enumerate(zip(records, scores[found].tolist(), strict=True), 1)
        ]


def index_file(modality: Representation) -> str:
    """Return the name of an index in the bundle.

    >>> index_file("text")
    'index-text.faiss'
    """
    return f"index-{modality}.faiss"
