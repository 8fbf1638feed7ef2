"""The prediction header P(q): does the picture help this query? (PAPER.md 5, 11, 12)

P reads a frozen copy of the *pre-trained* query tower, kept in the gate's own folder: fine-tuning moves Q(q) but not P(q), so
the figures measured when the gate was trained are those of the exported bundle. The price is a second, small query encoding.
Shapes: B queries, D embed_dim.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from smar_core.artifact import write_json
from smar_core.config import ItemTower
from smar_core.model.encoding import encode_queries
from smar_core.model.tokens import TextTokenizer
from smar_core.model.towers import QueryTower

LEARNED = "learned"
"""The mode in which P(q) depends on the query; in the others one representation answers every query."""


class PredictionHeader(nn.Module):
    """Two layers from a query embedding to the logit of P(q)."""

    def __init__(self, embed_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(embed_dim, hidden_size)
        self.out = nn.Linear(hidden_size, 1)

    def forward(self, query_BD: Tensor) -> Tensor:
        """Return logits [B]."""
        logits_B: Tensor = self.out(torch.relu(self.hidden(query_BD))).squeeze(-1)
        return logits_B


@dataclass(frozen=True)
class Gate:
    """P(q), with all that it needs to be computed from the text of a query.

    Attributes:
        mode: ``learned``, ``always_text``, ``always_multimodal`` or ``always_image``.
        threshold: A query with P(q) of at least this is searched in the multimodal index.
        visual_categories: Prefixes of the category path that supervised it.
        scale, shift: Calibration of the logit, from the validation days.
        header, query_tower, tokenizer: What P reads with.
    """

    mode: str
    threshold: float
    visual_categories: tuple[str, ...]
    scale: float
    shift: float
    header: PredictionHeader
    query_tower: QueryTower
    tokenizer: TextTokenizer

    @torch.inference_mode()
    def probabilities(self, queries: Sequence[str], *, batch_size: int, device: torch.device) -> np.ndarray:
        """Return P(q) [Q], float64 in 0..1, of normalised queries; without a learned gate whether S_m answers them."""
        if self.mode != LEARNED:
            return np.full(len(queries), float(self.modalities == ("multimodal",)))
        embeddings = encode_queries(self.query_tower, self.tokenizer, queries, batch_size=batch_size, device=device)
        logits = self.header.to("cpu").eval()(torch.from_numpy(embeddings)).double().numpy()
        return calibrate(logits, self.scale, self.shift)

    @property
    def modalities(self) -> tuple[ItemTower, ...]:
        """Representations that may answer; an exported bundle has an index for each."""
        if self.mode == LEARNED:
            return ("text", "multimodal")
        return (cast(ItemTower, self.mode.removeprefix("always_")),)

    def route(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the place in ``modalities`` of the representation that answers each query [Q], int64."""
        if self.mode != LEARNED:
            return np.zeros(len(probabilities), dtype=np.int64)
        return (probabilities >= self.threshold).astype(np.int64)

    def save(self, folder: Path) -> None:
        """Write the gate's files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.query_tower.save_pretrained(folder)
        self.tokenizer.save(folder / "tokenizer.json")
        save_file({name: value.contiguous() for name, value in self.header.state_dict().items()}, folder / "gate.safetensors")
        write_json(
            folder / "gate.json",
            {
                "mode": self.mode,
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
        tower = QueryTower.from_pretrained(folder)
        header = PredictionHeader(tower.config.embed_dim, values.pop("header_hidden_size"))
        header.load_state_dict(load_file(folder / "gate.safetensors"))
        values["visual_categories"] = tuple(values["visual_categories"])
        return cls(header=header, query_tower=tower, tokenizer=TextTokenizer.load(folder / "tokenizer.json"), **values)


def calibrate(logits: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """Return probabilities of calibrated logits (Platt scaling).

    >>> calibrate(np.array([0.0, 1.0]), 1.0, 0.0).round(3).tolist()
    [0.5, 0.731]
    """
    return 1.0 / (1.0 + np.exp(-(scale * np.asarray(logits, dtype=np.float64) + shift)))
