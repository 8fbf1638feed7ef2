"""The systems that are compared, and their rankings of the catalogue.

``model`` is what is shipped: each query is answered by S_m or S_t as P(q) says, or by one index that holds S_m of some items and
S_t of the others. The others take it apart: the two indexes alone, the pictures alone, the text index as pre-training left it
(what fine-tuning and the picture brought over plain text), and the click log without a model. A model of fewer towers has
fewer of them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from smar_core.artifact import Artifact
from smar_core.config import ItemTower
from smar_core.evaluation.baselines import click_memory
from smar_core.evaluation.testset import ClickTest
from smar_core.model.encoding import encode_queries, item_texts
from smar_core.model.gate import Gate, Representation
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.progress import Progress
from smar_core.retrieval.bundle import Bundle, id_order
from smar_core.retrieval.exact import Floats, Ranking, Rows, exact_search
from smar_core.retrieval.truncation import truncate

SYSTEMS = ("model", "text_only", "text_only_pretrained", "multimodal", "image", "click_memory")

COMPARED = (("model", "text_only"), ("model", "text_only_pretrained"), ("model", "multimodal"), ("model", "click_memory"))
"""Pairs of systems (a, b) whose difference a - b is reported."""

MODALITY: Mapping[str, ItemTower] = {"text_only": "text", "multimodal": "multimodal", "image": "image"}
"""Embeddings that a system compares every query with."""


@dataclass(frozen=True, eq=False)
class EncodedTest:
    """Everything the systems rank with.

    Attributes:
        query_QD: Test queries by the exported query tower.
        pretrained_query_QD: Test queries by the pre-trained query tower, cut to the length that is exported.
        pretrained_text_ND: The catalogue's S_t as pre-training left it, in the bundle's order; None without a text tower.
        probabilities: P(q) [Q].
        gate: The exported one.
        route: [Q] place in ``modalities`` of what answers each query.
    """

    query_QD: Floats
    pretrained_query_QD: Floats
    pretrained_text_ND: Floats | None
    probabilities: NDArray[np.float64]
    gate: Gate
    route: NDArray[np.int64]

    @property
    def modalities(self) -> tuple[Representation, ...]:
        """As ``Gate.modalities``."""
        return self.gate.modalities


def encode_test(
    bundle: Bundle,
    pretrained: Artifact,
    items: Artifact,
    queries: Sequence[str],
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> EncodedTest:
    """Encode test queries with the bundle and with the pre-trained model, and the catalogue's text with the latter."""
    model = SmarModel.from_pretrained(pretrained.path)
    tokenizer = TextTokenizer.load(pretrained.path / "tokenizer.json")
    text_ND, num_dims = None, bundle.settings["embed_dim"]
    if "text" in model.item_towers:
        text_ND = _encode_texts(model, tokenizer, item_texts(items), batch_size=batch_size, device=device, progress=progress)
        text_ND = truncate(text_ND[id_order(items.read_table("items", ["item_id"])["item_id"].to_pylist())], num_dims)
    pretrained_QD = encode_queries(model.query_tower, tokenizer, queries, batch_size=batch_size, device=device)
    probabilities = bundle.probabilities(queries)
    return EncodedTest(
        query_QD=bundle.encode(queries),
        pretrained_query_QD=truncate(pretrained_QD, num_dims),
        pretrained_text_ND=text_ND,
        probabilities=probabilities,
        gate=bundle.gate,
        route=bundle.gate.route(probabilities),
    )


def rank_systems(
    bundle: Bundle,
    encoded: EncodedTest,
    test: ClickTest,
    top_k: int,
    excluded: Sequence[Rows] | None = None,
) -> dict[str, Ranking]:
    """Rank the catalogue for every test query with every system, exactly.

    Args:
        bundle: The exported model.
        encoded: What ``encode_test`` returned.
        test: The test queries.
        top_k: Places of a ranking.
        excluded: For each query the rows that may not be ranked.
    """
    by_modality: dict[Representation, Ranking] = {
        modality: bundle.rank(encoded.query_QD, modality, top_k, excluded=excluded)
        for modality in dict.fromkeys((*bundle.modalities, *encoded.modalities))
    }
    rankings = {system: by_modality[modality] for system, modality in MODALITY.items() if modality in by_modality}
    rankings["model"] = route([by_modality[modality] for modality in encoded.modalities], encoded.route)
    if encoded.pretrained_text_ND is not None:
        rankings["text_only_pretrained"] = exact_search(
            encoded.pretrained_query_QD, encoded.pretrained_text_ND, top_k, excluded=excluded
        )
    rows, clicks = test.trained_rows, test.trained_clicks
    if excluded is not None:
        kept = [~np.isin(row, out) for row, out in zip(rows, excluded, strict=True)]
        rows = [row[keep] for row, keep in zip(rows, kept, strict=True)]
        clicks = [click[keep] for click, keep in zip(clicks, kept, strict=True)]
    rankings["click_memory"] = click_memory(rows, clicks, top_k)
    return {system: rankings[system] for system in SYSTEMS if system in rankings}


def compared(systems: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of ``COMPARED`` whose systems are there."""
    return tuple((a, b) for a, b in COMPARED if a in systems and b in systems)


def rank_ann(bundle: Bundle, encoded: EncodedTest, top_k: int) -> dict[str, Ranking]:
    """Rank with each approximate index, under the name of its embeddings, and with the routed ``model``."""
    rankings = [bundle.rank(encoded.query_QD, modality, top_k, exact=False) for modality in bundle.indexed]
    return {"model": route(rankings, encoded.route), **dict(zip(bundle.indexed, rankings, strict=True))}


def route(rankings: Sequence[Ranking], route_Q: NDArray[np.int64]) -> Ranking:
    """Return each query's ranking from the index that the gate chose: ``rankings[route_Q[query]]``."""
    query_Q = np.arange(len(route_Q))
    rows_RQK, scores_RQK = (np.stack([getattr(r, name) for r in rankings]) for name in ("rows_QK", "scores_QK"))
    return Ranking(rows_RQK[route_Q, query_Q], scores_RQK[route_Q, query_Q])


@torch.inference_mode()
def _encode_texts(
    model: SmarModel,
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> Floats:
    """Return S_t [N, D] alone: the image tower, most of the work, rests."""
    model = model.to(device).eval()
    text_ND = np.empty((len(texts), model.config.embed_dim), dtype=np.float32)
    for start in range(0, len(texts), batch_size):
        ids_NL, mask_NL = tokenizer.encode(texts[start : start + batch_size], model.config.max_item_tokens)
        text_ND[start : start + len(ids_NL)] = model.encode_text(ids_NL.to(device), mask_NL.to(device)).cpu().numpy()
        progress.update("encode item texts", start + len(ids_NL), len(texts))
    return text_ND
