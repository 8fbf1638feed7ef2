"""The prediction header P: does the picture help this query, or to find this item? (PAPER.md 5, 11, 12)

Query side: P(q) reads a frozen copy of the *pre-trained* query tower, kept in the gate's own folder: fine-tuning moves Q(q) but
not P(q), so the figures measured when the gate was trained are those of the exported bundle. The price is a second, small
query encoding, and an index for each representation.

Item side: P(s) reads the item's pre-trained S_t and S_m when the gate is trained, and is kept for every item of the catalogue. An
item is represented by S_m or S_t, in one index; a query is encoded once. Left out: P(q, s), which found no more (docs/adr/0010).
Shapes: B rows, F features of a row, Q queries, N items, D embed_dim.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from smar_core.artifact import write_json
from smar_core.config import ItemTower
from smar_core.errors import UserError
from smar_core.model.encoding import encode_queries
from smar_core.model.tokens import TextTokenizer
from smar_core.model.towers import QueryTower
from smar_core.schemas import GATE_ITEMS

LEARNED = "learned"
"""The mode in which P is learned; in the others one representation answers every query."""

Representation = Literal["text", "multimodal", "image", "gated"]
"""What an index holds: the embeddings of one item tower, or under an item-side gate S_m of some items and S_t of the others."""

_ITEMS_FILE = "gate_items.parquet"


class PredictionHeader(nn.Module):
    """Two layers from the embedding of a query, or both embeddings of an item side by side, to the logit of P."""

    def __init__(self, num_features: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, hidden_size)
        self.out = nn.Linear(hidden_size, 1)

    def forward(self, feature_BF: Tensor) -> Tensor:
        """Return logits [B]."""
        logits_B: Tensor = self.out(torch.relu(self.hidden(feature_BF))).squeeze(-1)
        return logits_B

    @torch.inference_mode()
    def logits(self, feature_BF: np.ndarray) -> np.ndarray:
        """Return logits [B], float64, on the CPU."""
        return self.to("cpu").eval()(torch.from_numpy(feature_BF)).double().numpy()


@dataclass(frozen=True, eq=False)
class Gate:
    """P, with all that it needs to be computed from the text of a query, or P of every item.

    Attributes:
        mode: ``learned``, ``always_text``, ``always_multimodal`` or ``always_image``.
        threshold: From this P on, a query is searched in the multimodal index, or an item is represented by S_m.
        visual_categories: Prefixes of the category path that supervised it under ``category``.
        scale, shift: Calibration of the logit, from the validation days.
        header, query_tower, tokenizer: What P reads with; the item side has read already.
        side: ``query`` or ``item``: whom P looks at.
        supervision: ``category`` or ``utility``: what P was taught.
        items: P of every item, schema ``GATE_ITEMS``, under a learned gate of the item side; else None.
    """

    mode: str
    threshold: float
    visual_categories: tuple[str, ...]
    scale: float
    shift: float
    header: PredictionHeader
    query_tower: QueryTower
    tokenizer: TextTokenizer
    side: str = "query"
    supervision: str = "category"
    items: pa.Table | None = None

    @property
    def is_on_items(self) -> bool:
        """Whether P looks at items: one index, and every query is answered by it."""
        return self.mode == LEARNED and self.side == "item"

    def probabilities(self, queries: Sequence[str], *, batch_size: int, device: torch.device) -> np.ndarray:
        """Return P(q) [Q], float64 in 0..1, of normalised queries; where P does not look at them the share of items under S_m."""
        if self.mode != LEARNED:
            return np.full(len(queries), float(self.modalities == ("multimodal",)))
        if self.items is not None:
            return np.full(len(queries), float((self.items["probability"].to_numpy() >= self.threshold).mean()))
        embeddings = encode_queries(self.query_tower, self.tokenizer, queries, batch_size=batch_size, device=device)
        return calibrate(self.header.logits(embeddings), self.scale, self.shift)

    def item_probabilities(self, item_ids: Sequence[str]) -> np.ndarray:
        """Return P(s) [N], float64 in 0..1, of a gate on items.

        Raises:
            UserError: An item was not in the catalogue that the gate was trained with.
        """
        assert self.items is not None
        places = pc.index_in(pa.array(item_ids, pa.string()), value_set=self.items["item_id"].combine_chunks())
        if places.null_count:
            unknown = item_ids[pc.is_null(places).to_pylist().index(True)]
            raise UserError(
                f"gate.side=item knows P of the items that it was trained with alone, and item {unknown!r} is none of them",
                "train anew with this catalogue, or with gate.side=query, under which a model takes in new items",
            )
        return self.items["probability"].to_numpy()[places.to_numpy()]

    @property
    def modalities(self) -> tuple[Representation, ...]:
        """Representations that may answer; an exported bundle has an index for each."""
        if self.is_on_items:
            return ("gated",)
        return self.towers

    @property
    def towers(self) -> tuple[ItemTower, ...]:
        """Item towers that the answers come from."""
        if self.mode == LEARNED:
            return ("text", "multimodal")
        return (cast(ItemTower, self.mode.removeprefix("always_")),)

    def represent(self, item_ids: Sequence[str], by_tower: Mapping[ItemTower, np.ndarray]) -> dict[Representation, np.ndarray]:
        """Return the embeddings [N, D] of each of ``modalities``.

        Args:
            item_ids: N ids.
            by_tower: Embeddings of ``towers`` in their order.
        """
        if not self.is_on_items:
            return {tower: by_tower[tower] for tower in self.towers}
        is_multimodal_N = self.item_probabilities(item_ids) >= self.threshold
        return {"gated": np.where(is_multimodal_N[:, None], by_tower["multimodal"], by_tower["text"])}

    def route(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the place in ``modalities`` of the representation that answers each query [Q], int64."""
        if len(self.modalities) == 1:
            return np.zeros(len(probabilities), dtype=np.int64)
        return (probabilities >= self.threshold).astype(np.int64)

    def save(self, folder: Path) -> None:
        """Write the gate's files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.query_tower.save_pretrained(folder)
        self.tokenizer.save(folder / "tokenizer.json")
        save_file({name: value.contiguous() for name, value in self.header.state_dict().items()}, folder / "gate.safetensors")
        if self.items is not None:
            pq.write_table(self.items, folder / _ITEMS_FILE)
        write_json(
            folder / "gate.json",
            {
                "mode": self.mode,
                "side": self.side,
                "supervision": self.supervision,
                "threshold": self.threshold,
                "visual_categories": list(self.visual_categories),
                "scale": self.scale,
                "shift": self.shift,
                "header_hidden_size": self.header.hidden.out_features,
            },
        )

    @classmethod
    def load(cls, folder: Path) -> "Gate":
        """Read what ``save`` wrote."""
        values = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "gate.safetensors")
        header = PredictionHeader(weights["hidden.weight"].shape[1], values.pop("header_hidden_size"))
        header.load_state_dict(weights)
        values["visual_categories"] = tuple(values["visual_categories"])
        items_path = folder / _ITEMS_FILE
        return cls(
            header=header,
            query_tower=QueryTower.from_pretrained(folder),
            tokenizer=TextTokenizer.load(folder / "tokenizer.json"),
            items=pq.read_table(items_path, schema=GATE_ITEMS) if items_path.is_file() else None,
            **values,
        )


def calibrate(logits: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """Return probabilities of calibrated logits (Platt scaling).

    >>> calibrate(np.array([0.0, 1.0]), 1.0, 0.0).round(3).tolist()
    [0.5, 0.731]
    """
    return 1.0 / (1.0 + np.exp(-(scale * np.asarray(logits, dtype=np.float64) + shift)))
