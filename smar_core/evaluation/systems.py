"""The systems that are compared, and their rankings of the catalogue.

``model`` is what is shipped: each query is answered by S_m or S_t as P(q) says. The others take it apart: the two indexes alone,
the pictures alone, the text index as pre-training left it (what fine-tuning and the picture brought over plain text), and
the click log without a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from smar_core.artifact import Artifact
from smar_core.evaluation.baselines import click_memory
from smar_core.evaluation.testset import ClickTest
from smar_core.model.encoding import encode_queries, item_texts
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.progress import Progress
from smar_core.retrieval.bundle import INDEXED, Bundle, Modality
from smar_core.retrieval.exact import Floats, Ranking, Rows, exact_search

SYSTEMS = ("model", "text_only", "text_only_pretrained", "multimodal", "image", "click_memory")

COMPARED = (("model", "text_only"), ("model", "text_only_pretrained"), ("model", "multimodal"), ("model", "click_memory"))
"""Pairs of systems (a, b) whose difference a - b is reported."""

_MODALITY: Mapping[str, Modality] = {"text_only": "text", "multimodal": "multimodal", "image": "image"}


@dataclass(frozen=True, eq=False)
class EncodedTest:
    """Everything the systems rank with.

    Attributes:
        query_QD: Test queries by the exported query tower.
        pretrained_query_QD: Test queries by the pre-trained query tower.
        pretrained_text_ND: The catalogue's S_t as pre-training left it, in the bundle's order.
        probabilities: P(q) [Q].
        is_multimodal: [Q] bool, the gate's decision.
    """

    query_QD: Floats
    pretrained_query_QD: Floats
    pretrained_text_ND: Floats
    probabilities: NDArray[np.float64]
    is_multimodal: NDArray[np.bool_]


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
    text_ND = _encode_texts(model, tokenizer, item_texts(items), batch_size=batch_size, device=device, progress=progress)
    item_ids = items.read_table("items", ["item_id"])["item_id"].to_pylist()
    order = sorted(range(len(item_ids)), key=item_ids.__getitem__)
    probabilities = bundle.probabilities(queries)
    return EncodedTest(
        query_QD=bundle.encode(queries),
        pretrained_query_QD=encode_queries(model.query_tower, tokenizer, queries, batch_size=batch_size, device=device),
        pretrained_text_ND=text_ND[order],
        probabilities=probabilities,
        is_multimodal=bundle.gate.is_multimodal(probabilities),
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
    rankings = {
        system: bundle.rank(encoded.query_QD, modality, top_k, excluded=excluded) for system, modality in _MODALITY.items()
    }
    rankings["model"] = route(rankings["multimodal"], rankings["text_only"], encoded.is_multimodal)
    rankings["text_only_pretrained"] = exact_search(
        encoded.pretrained_query_QD, encoded.pretrained_text_ND, top_k, excluded=excluded
    )
    rows, clicks = test.trained_rows, test.trained_clicks
    if excluded is not None:
        kept = [~np.isin(row, out) for row, out in zip(rows, excluded, strict=True)]
        rows = [row[keep] for row, keep in zip(rows, kept, strict=True)]
        clicks = [click[keep] for click, keep in zip(clicks, kept, strict=True)]
    rankings["click_memory"] = click_memory(rows, clicks, top_k)
    return {system: rankings[system] for system in SYSTEMS}


def rank_ann(bundle: Bundle, encoded: EncodedTest, top_k: int) -> dict[str, Ranking]:
    """Rank with the approximate indexes: ``text``, ``multimodal`` and the routed ``model``."""
    rankings: dict[str, Ranking] = {modality: bundle.rank(encoded.query_QD, modality, top_k, exact=False) for modality in INDEXED}
    return {"model": route(rankings["multimodal"], rankings["text"], encoded.is_multimodal), **rankings}


def route(multimodal: Ranking, text: Ranking, is_multimodal: NDArray[np.bool_]) -> Ranking:
    """Return each query's ranking from the index that the gate chose."""
    chosen = is_multimodal[:, None]
    return Ranking(np.where(chosen, multimodal.rows_QK, text.rows_QK), np.where(chosen, multimodal.scores_QK, text.scores_QK))


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
    """Return S_t [N, D] alone: the model is shown items without pictures, so that its image tower, most of the work, rests."""
    model = model.to(device).eval()
    text_ND = np.empty((len(texts), model.config.embed_dim), dtype=np.float32)
    for start in range(0, len(texts), batch_size):
        ids_NL, mask_NL = tokenizer.encode(texts[start : start + batch_size], model.config.max_item_tokens)
        no_image_N = torch.zeros(len(ids_NL), dtype=torch.bool, device=device)
        no_pixels_NHWC = torch.zeros((len(ids_NL), 0, 0, 3), dtype=torch.uint8, device=device)
        found = model.encode_items(ids_NL.to(device), mask_NL.to(device), no_pixels_NHWC, no_image_N)
        text_ND[start : start + len(ids_NL)] = found.text_ND.cpu().numpy()
        progress.update("encode item texts", start + len(ids_NL), len(texts))
    return text_ND
