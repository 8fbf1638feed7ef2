"""Stage ``train_gate``: the prediction header P, its calibration, its threshold and its report (PAPER.md 5, 11).

P looks at a query or at an item (``gate.side``) and learns a category or a utility (``gate.supervision``, see ``gate_labels``).
It reads frozen pre-trained embeddings. Calibration and threshold come from the validation days; the test days are only reported.
Utilities need the ranks of all clicked items, hence an encoding of the catalogue, and so does P of an item.

Shapes: P clicked pairs, G labelled queries or items, F features, T thresholds, Q queries, N items, D embed_dim.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.nn import functional as F

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.categories import category_parts
from smar_core.config import GateConfig, RuntimeConfig
from smar_core.errors import UserError
from smar_core.model.device import resolve_device
from smar_core.model.encoding import CatalogueEmbeddings, encode_catalogue, encode_queries
from smar_core.model.gate import Gate, PredictionHeader, calibrate
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.progress import Progress
from smar_core.retrieval.exact import Floats
from smar_core.schemas import SPLITS
from smar_core.stage import StageContext
from smar_core.training.gate_calibration import THRESHOLDS, Values, accuracy_threshold, fit_calibration, recall_threshold
from smar_core.training.gate_labels import (
    UTILITY_RANK,
    ClickedPairs,
    Labelled,
    category_labels,
    group_labels,
    rank_pairs,
    read_clicked_pairs,
    utility_labels,
)
from smar_core.training.gate_report import gate_figures, item_table, query_table
from smar_core.training.model_artifact import open_model
from smar_core.training.validation import recall

_BATCH = 256


def train_gate(
    items: Artifact,
    clicks: Artifact,
    pretrained: Artifact,
    output: Path,
    config: GateConfig,
    runtime: RuntimeConfig,
    context: StageContext,
) -> dict[str, float]:
    """Train P on the training days, calibrate it on the validation days, and write the gate artifact.

    Args:
        items, clicks: Prepared data.
        pretrained: Model whose embeddings P reads, frozen.
        output: Folder of the gate artifact.
        config, runtime: Config sections.
        context: Parents and progress.

    Returns:
        AUC, accuracy, calibration error and traffic shares of the validation days.

    Raises:
        UserError: The labels leave nothing to learn in mode ``learned``: no item, or no clicked one, is under
            ``visual_categories``, or all are; or pictures help every query, or none.
    """
    torch.set_num_threads(runtime.num_threads)
    model, tokenizer = open_model(pretrained)
    known = _embed(items, read_clicked_pairs(items, clicks), model, tokenizer, config, resolve_device(runtime), context.progress)
    label_P = _label_pairs(items, known, config)
    by_side = known.pairs.item_P if config.side == "item" else known.pairs.query_P
    torch.manual_seed(config.seed)  # the header that a constant gate has and does not ask is written, too
    labels = {split: group_labels(known.pairs, label_P, split, by_side, config.supervision) for split in SPLITS}
    gate = Gate(
        config.mode,
        0.5,
        config.visual_categories,
        1.0,
        0.0,
        PredictionHeader(known.feature_GF.shape[1], config.hidden_size),
        model.query_tower,
        tokenizer,
        config.side,
        config.supervision,
    )
    if config.mode == "learned":
        _check_labels(labels["train"], items, config)
        _train_header(gate.header, known.feature_GF[labels["train"].row_G], labels["train"].label_G, config, context)
        gate, probability_G = _calibrate(gate, known, labels["validation"])
    else:
        probability_G = np.full(len(known.feature_GF), float(gate.modalities == ("multimodal",)))
    if gate.is_on_items:
        gate = replace(gate, items=item_table(items, labels["train"], probability_G))
    report = _report(gate, labels, probability_G, config.num_bins)
    with create_artifact(output, "gate", config_digest=context.config_digest, parents=context.parents) as folder:
        gate.save(folder)
        answered = {} if gate.is_on_items else labels
        pq.write_table(query_table(known.pairs, answered, probability_G), folder / "gate_queries.parquet")
        write_json(folder / "gate_report.json", report)
    return {name: value for name, value in report["validation"].items() if isinstance(value, float)} | {
        "threshold": gate.threshold
    }


def _report(gate: Gate, labels: Mapping[str, Labelled], probability_G: Values, num_bins: int) -> dict[str, Any]:
    """Return what the gate is and its figures on the validation and the test days."""
    report: dict[str, Any] = {
        "mode": gate.mode,
        "side": gate.side,
        "supervision": gate.supervision,
        "threshold": gate.threshold,
        "visual_categories": list(gate.visual_categories),
    }
    for split in ("validation", "test"):
        found = labels[split]
        report[split] = gate_figures(found, probability_G[found.row_G], gate.threshold, num_bins)
    return report


@dataclass(frozen=True, eq=False)
class _Known:
    """What the gate may look at.

    Attributes:
        pairs: Clicked pairs of every split.
        query_QD: Pre-trained embeddings of ``pairs.queries``.
        catalogue: Pre-trained embeddings of the items; None where they are not needed.
        feature_GF: What the header reads of every query, or of every item: S_t and S_m side by side.
    """

    pairs: ClickedPairs
    query_QD: Floats
    catalogue: CatalogueEmbeddings | None
    feature_GF: Floats

    def item_embeddings(self) -> tuple[Floats, Floats]:
        """Return S_t and S_m [N, D]."""
        assert self.catalogue is not None
        return self.catalogue.by_tower["text"], self.catalogue.by_tower["multimodal"]


def _embed(
    items: Artifact,
    pairs: ClickedPairs,
    model: SmarModel,
    tokenizer: TextTokenizer,
    config: GateConfig,
    device: torch.device,
    progress: Progress,
) -> _Known:
    """Encode the queries and, where ranks or items are looked at, the catalogue."""
    query_QD = encode_queries(model.query_tower, tokenizer, pairs.queries, batch_size=_BATCH, device=device)
    if config.supervision == "category" and config.side == "query":
        return _Known(pairs, query_QD, None, query_QD)
    catalogue = encode_catalogue(model, tokenizer, items, batch_size=_BATCH, device=device, progress=progress)
    if config.side == "query":
        return _Known(pairs, query_QD, catalogue, query_QD)
    both_NF = np.concatenate([catalogue.by_tower["text"], catalogue.by_tower["multimodal"]], axis=1)
    return _Known(pairs, query_QD, catalogue, both_NF)


def _label_pairs(items: Artifact, known: _Known, config: GateConfig) -> Values:
    """Return the label of every clicked pair [P]."""
    if config.supervision == "category":
        return category_labels(items, known.pairs, config.visual_categories)
    pairs = known.pairs
    text_P, multimodal_P = (
        rank_pairs(known.query_QD, item_ND, pairs.query_P, pairs.item_P) for item_ND in known.item_embeddings()
    )
    return utility_labels(text_P, multimodal_P)


def _check_labels(train: Labelled, items: Artifact, config: GateConfig) -> None:
    """Raise UserError when the labels leave nothing to learn."""
    if config.supervision == "utility":
        if not train.has_both_classes:
            raise UserError(
                "gate.supervision=utility finds no training click that S_t, or none that S_m, ranks better than the other",
                "set gate.mode=always_text or always_multimodal, or train longer",
            )
        return
    num_visual = int(train.is_positive.sum())
    if num_visual in (0, len(train.row_G)):
        categories = items.read_table("items", ["category"])["category"].to_pylist()
        names = sorted({(category_parts(category) or ("(none)",))[0] for category in categories})
        share = "no" if num_visual == 0 else "every"
        what = "query has most of its clicks" if config.side == "query" else "item with clicks is"
        raise UserError(
            f"{share} training {what} under gate.visual_categories={list(config.visual_categories)}; "
            f"the catalogue's top categories are {', '.join(names[:20])}",
            "set gate.visual_categories to some of them, or gate.supervision=utility, which needs no categories",
        )


def _train_header(
    header: PredictionHeader, feature_GF: Floats, label_G: Values, config: GateConfig, context: StageContext
) -> None:
    """Binary cross-entropy against the soft labels; every query or item is drawn alike, whatever its traffic."""
    torch.manual_seed(config.seed)
    for layer in (header.hidden, header.out):
        layer.reset_parameters()
    features, labels = torch.from_numpy(feature_GF), torch.from_numpy(label_G).float()
    generator = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.AdamW(header.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    for step in range(config.num_steps):
        rows = torch.randint(len(labels), (config.batch_size,), generator=generator)
        loss = F.binary_cross_entropy_with_logits(header(features[rows]), labels[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        context.progress.update("train", step + 1, config.num_steps, loss=float(loss.detach()))


def _calibrate(gate: Gate, known: _Known, validation: Labelled) -> tuple[Gate, Values]:
    """Return the gate with scale, shift and threshold from the validation days, and its P of every query or item [G].

    It stays as it is, with the threshold 0.5, when one answer is right for all of those days.
    """
    logit_G = gate.header.logits(known.feature_GF)
    scale, shift = fit_calibration(logit_G[validation.row_G], validation)
    probability_G = calibrate(logit_G, scale, shift)
    threshold = 0.5
    if validation.has_both_classes and gate.supervision == "category":
        threshold = accuracy_threshold(probability_G[validation.row_G], validation.is_positive)
    elif validation.has_both_classes:
        threshold = recall_threshold(_routed_recall(gate, known, probability_G))
    return replace(gate, scale=scale, shift=shift, threshold=threshold), probability_G


def _routed_recall(gate: Gate, known: _Known, probability_G: Values) -> Values:
    """Return R@50 of every validation query under each threshold [T, Q], with the pre-trained model."""
    pairs = known.pairs
    inside = pairs.split_P == "validation"
    row_Q, place_P = np.unique(pairs.query_P[inside], return_inverse=True)
    clicked = np.split(pairs.item_P[inside][np.argsort(place_P, kind="stable")], np.cumsum(np.bincount(place_P))[:-1])
    query_QD = known.query_QD[row_Q]
    text_ND, multimodal_ND = known.item_embeddings()
    if gate.side == "query":
        text_Q, multimodal_Q = (recall(query_QD, item_ND, clicked, UTILITY_RANK) for item_ND in (text_ND, multimodal_ND))
        return np.where(probability_G[row_Q] >= THRESHOLDS[:, None], multimodal_Q, text_Q)
    is_multimodal_TN = probability_G >= THRESHOLDS[:, None]
    gated = (np.where(is_multimodal_N[:, None], multimodal_ND, text_ND) for is_multimodal_N in is_multimodal_TN)
    return np.stack([recall(query_QD, item_ND, clicked, UTILITY_RANK) for item_ND in gated])
