"""Stage ``train_gate``: the prediction header P(q), its calibration, its threshold and its report (PAPER.md 5, 11).

The label of a query is the click-weighted share of its training clicks on visual items. The header reads the frozen
pre-trained query tower. Calibration (Platt) and threshold come from the validation days; the test days are only reported.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.categories import category_parts, is_under
from smar_core.config import GateConfig, RuntimeConfig
from smar_core.errors import UserError
from smar_core.model.device import resolve_device
from smar_core.model.encoding import encode_queries
from smar_core.model.gate import Gate, PredictionHeader
from smar_core.schemas import GATE_QUERIES, SPLITS
from smar_core.stage import StageContext
from smar_core.training.model_artifact import open_model

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
    """Train P(q) on the training days, calibrate it on the validation days, and write the gate artifact.

    Args:
        items, clicks: Prepared data.
        pretrained: Model whose query tower P reads, frozen.
        output: Folder of the gate artifact.
        config, runtime: Config sections.
        context: Parents and progress.

    Returns:
        AUC, accuracy, calibration error and traffic shares of the validation days.

    Raises:
        UserError: No item, or no clicked one, is under ``visual_categories``, or all are, in mode ``learned``.
    """
    torch.set_num_threads(runtime.num_threads)
    device = resolve_device(runtime)
    model, tokenizer = open_model(pretrained)
    labels = label_queries(items, clicks, config)
    header = PredictionHeader(model.config.embed_dim, config.hidden_size)
    gate = Gate(config.mode, 0.5, config.visual_categories, 1.0, 0.0, header, model.query_tower, tokenizer)
    if config.mode == "learned":
        train = labels["train"]
        embeddings = encode_queries(model.query_tower, tokenizer, train.queries, batch_size=_BATCH, device=device)
        _train_header(header, embeddings, train.label, config, context)
        gate = calibrated(gate, labels["validation"], device)
    probabilities = {
        split: gate.probabilities(found.queries, batch_size=_BATCH, device=device) for split, found in labels.items()
    }
    report: dict[str, Any] = {"mode": gate.mode, "threshold": gate.threshold, "visual_categories": list(gate.visual_categories)}
    for split in ("validation", "test"):
        report[split] = gate_figures(labels[split], probabilities[split], gate.threshold, config.num_bins)
    with create_artifact(output, "gate", config_digest=context.config_digest, parents=context.parents) as folder:
        gate.save(folder)
        pq.write_table(_query_table(labels, probabilities), folder / "gate_queries.parquet")
        write_json(folder / "gate_report.json", report)
    return {name: value for name, value in report["validation"].items() if isinstance(value, float)} | {
        "threshold": gate.threshold
    }


class LabelledQueries:
    """Queries of one split with the gate's label.

    Attributes:
        query_ids, queries: Id and text of each.
        num_clicks: [Q] clicks.
        label: [Q] click-weighted share of clicks on visual items, 0..1.
    """

    def __init__(self, clicks: dict[tuple[str, str], list[tuple[int, bool]]]) -> None:
        keys = sorted(clicks)
        self.query_ids = [query_id for query_id, _ in keys]
        self.queries = [query for _, query in keys]
        self.num_clicks = np.array([sum(n for n, _ in clicks[key]) for key in keys], dtype=np.int64)
        visual = np.array([sum(n for n, is_visual in clicks[key] if is_visual) for key in keys], dtype=np.float64)
        self.label = visual / np.maximum(self.num_clicks, 1)

    @property
    def is_visual(self) -> np.ndarray:
        """[Q] whether more than half of the clicks are on visual items."""
        return self.label > 0.5


def label_queries(items: Artifact, clicks: Artifact, config: GateConfig) -> dict[str, LabelledQueries]:
    """Label the true queries of each split; raises UserError when the labels leave nothing to learn in mode ``learned``."""
    catalogue = items.read_table("items", ["item_id", "category"]).to_pydict()
    is_visual = {
        item_id: is_under(category, config.visual_categories)
        for item_id, category in zip(catalogue["item_id"], catalogue["category"], strict=True)
    }
    found: dict[str, dict[tuple[str, str], list[tuple[int, bool]]]] = {split: {} for split in SPLITS}
    for row in clicks.read_table("pairs", ["split", "query_id", "query", "item_id", "num_clicks"]).to_pylist():
        key = (row["query_id"], row["query"])
        found[row["split"]].setdefault(key, []).append((row["num_clicks"], is_visual[row["item_id"]]))
    labels = {split: LabelledQueries(rows) for split, rows in found.items()}
    num_visual = int(labels["train"].is_visual.sum())
    if config.mode == "learned" and num_visual in (0, len(labels["train"].queries)):
        names = sorted({(category_parts(category) or ("(none)",))[0] for category in catalogue["category"]})
        share = "no" if num_visual == 0 else "every"
        raise UserError(
            f"{share} training query has most of its clicks under gate.visual_categories={list(config.visual_categories)}; "
            f"the catalogue's top categories are {', '.join(names[:20])}",
            "set gate.visual_categories to some of them, or gate.mode=always_text or always_multimodal",
        )
    return labels


def _train_header(
    header: PredictionHeader, query_QD: np.ndarray, label: np.ndarray, config: GateConfig, context: StageContext
) -> None:
    """Binary cross-entropy against the soft labels; every query is drawn alike, whatever its traffic."""
    torch.manual_seed(config.seed)
    for layer in (header.hidden, header.out):
        layer.reset_parameters()
    embeddings, labels = torch.from_numpy(query_QD), torch.from_numpy(label).float()
    generator = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.AdamW(header.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    for step in range(config.num_steps):
        rows = torch.randint(len(labels), (config.batch_size,), generator=generator)
        loss = F.binary_cross_entropy_with_logits(header(embeddings[rows]), labels[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        context.progress.update("train", step + 1, config.num_steps, loss=float(loss.detach()))


def calibrated(gate: Gate, validation: LabelledQueries, device: torch.device) -> Gate:
    """Return the gate with Platt scale, shift and threshold from the validation days; unchanged if they hold one class."""
    target = validation.is_visual
    if len(set(target.tolist())) < 2:
        return gate
    raw = gate.probabilities(validation.queries, batch_size=_BATCH, device=device)
    logits = np.log(np.clip(raw, 1e-9, 1 - 1e-9) / np.clip(1 - raw, 1e-9, 1 - 1e-9))
    fitted = LogisticRegression(C=1.0).fit(logits[:, None], target)
    gate = replace(gate, scale=float(fitted.coef_[0, 0]), shift=float(fitted.intercept_[0]))
    return replace(
        gate, threshold=best_threshold(gate.probabilities(validation.queries, batch_size=_BATCH, device=device), target)
    )


def best_threshold(probabilities: np.ndarray, target: np.ndarray) -> float:
    """Return the threshold of highest accuracy among the middles between answers; of equal ones the nearest to 0.5.

    >>> best_threshold(np.array([0.1, 0.3, 0.8]), np.array([False, False, True]))
    0.5
    """
    values = np.unique(probabilities)
    candidates = np.r_[0.5, (values[1:] + values[:-1]) / 2]
    accuracy = np.array([((probabilities >= candidate) == target).mean() for candidate in candidates])
    best = candidates[accuracy == accuracy.max()]
    return float(best[np.abs(best - 0.5).argmin()])


def gate_figures(found: LabelledQueries, probabilities: np.ndarray, threshold: float, num_bins: int) -> dict[str, Any]:
    """Return the report of one split: AUC (None with one class), accuracy, calibration error, shares and bins."""
    target, num_queries = found.is_visual, len(found.queries)
    place = np.minimum((probabilities * num_bins).astype(int), num_bins - 1)
    bins: list[dict[str, Any]] = []
    calibration_error = 0.0
    for number in range(num_bins):
        inside = place == number
        filled = bool(inside.any())
        mean_probability = float(probabilities[inside].mean()) if filled else None
        mean_label = float(found.label[inside].mean()) if filled else None
        if mean_probability is not None and mean_label is not None:
            calibration_error += float(inside.mean()) * abs(mean_probability - mean_label)
        edges = {"low": number / num_bins, "high": (number + 1) / num_bins}
        bins.append(edges | {"num_queries": int(inside.sum()), "mean_probability": mean_probability, "mean_label": mean_label})
    routed = probabilities >= threshold
    return {
        "num_queries": num_queries,
        "auc": float(roc_auc_score(target, probabilities)) if len(set(target.tolist())) == 2 else None,
        "accuracy": float((routed == target).mean()) if num_queries else None,
        "calibration_error": calibration_error if num_queries else None,
        "share_multimodal_queries": float(routed.mean()) if num_queries else None,
        "share_multimodal_traffic": float(np.average(routed, weights=found.num_clicks)) if num_queries else None,
        "bins": bins,
    }


def _query_table(labels: dict[str, LabelledQueries], probabilities: dict[str, np.ndarray]) -> pa.Table:
    tables = [
        pa.Table.from_arrays(
            [
                pa.array([split] * len(found.queries), pa.string()),
                pa.array(found.query_ids, pa.string()),
                pa.array(found.num_clicks, pa.int32()),
                pa.array(found.label, pa.float64()),
                pa.array(probabilities[split], pa.float64()),
            ],
            schema=GATE_QUERIES,
        )
        for split, found in labels.items()
    ]
    return pa.concat_tables(tables).combine_chunks()
