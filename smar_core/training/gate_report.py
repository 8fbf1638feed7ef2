"""The gate's own figures, how well P agrees with its label, and its tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from smar_core.artifact import Artifact
from smar_core.schemas import GATE_ITEMS, GATE_QUERIES
from smar_core.training.gate_labels import ClickedPairs, Labelled


def gate_figures(found: Labelled, probability_G: NDArray[np.float64], threshold: float, num_bins: int) -> dict[str, Any]:
    """Return the report of one split: AUC (None with one class), accuracy, calibration error, shares and bins.

    AUC, accuracy and the means of a bin weigh a query or item by ``Labelled.weight``; counts and shares do not.

    Args:
        found: Labels of queries or items.
        probability_G: P of each.
        threshold: From it on S_m answers.
        num_bins: Bins of equal width over 0..1.
    """
    num_found, weight_G = len(found.row_G), found.weight
    total = float(weight_G.sum())
    place_G = np.minimum((probability_G * num_bins).astype(int), num_bins - 1)
    bins: list[dict[str, Any]] = []
    calibration_error = 0.0
    for number in range(num_bins):
        inside = place_G == number
        inside_weight = float(weight_G[inside].sum())
        mean_probability = mean_label = None
        if inside_weight:
            mean_probability = float(np.average(probability_G[inside], weights=weight_G[inside]))
            mean_label = float(np.average(found.target[inside], weights=weight_G[inside]))
            calibration_error += inside_weight / total * abs(mean_probability - mean_label)
        edges = {"low": number / num_bins, "high": (number + 1) / num_bins}
        bins.append(edges | {"num_queries": int(inside.sum()), "mean_probability": mean_probability, "mean_label": mean_label})
    is_multimodal_G = probability_G >= threshold
    auc = roc_auc_score(found.is_positive, probability_G, sample_weight=weight_G) if found.has_both_classes else None
    return {
        "num_queries": num_found,
        "auc": None if auc is None else float(auc),
        "accuracy": float(np.average(is_multimodal_G == found.is_positive, weights=weight_G)) if total else None,
        "calibration_error": calibration_error if total else None,
        "share_multimodal_queries": float(is_multimodal_G.mean()) if num_found else None,
        "share_multimodal_traffic": float(np.average(is_multimodal_G, weights=found.clicks_G)) if num_found else None,
        "bins": bins,
    }


def item_table(items: Artifact, train: Labelled, probability_N: NDArray[np.float64]) -> pa.Table:
    """Return P of every item, in the catalogue's order."""
    num_clicks_N, label_N = np.zeros(len(probability_N), dtype=np.int32), np.full(len(probability_N), np.nan)
    num_clicks_N[train.row_G], label_N[train.row_G] = train.clicks_G, train.label_G
    item_ids = items.read_table("items", ["item_id"])["item_id"].combine_chunks()
    columns = [item_ids, pa.array(num_clicks_N), pa.array(label_N, from_pandas=True), pa.array(probability_N)]
    return pa.Table.from_arrays(columns, schema=GATE_ITEMS)


def query_table(pairs: ClickedPairs, labels: Mapping[str, Labelled], probability_Q: NDArray[np.float64]) -> pa.Table:
    """Return the labels and P of every query of each split."""
    tables = [
        pa.Table.from_arrays(
            [
                pa.array([split] * len(found.row_G), pa.string()),
                pa.array([pairs.query_ids[row] for row in found.row_G], pa.string()),
                pa.array(found.clicks_G, pa.int32()),
                pa.array(found.label_G, pa.float64()),
                pa.array(probability_Q[found.row_G], pa.float64()),
            ],
            schema=GATE_QUERIES,
        )
        for split, found in labels.items()
    ]
    return pa.concat_tables([GATE_QUERIES.empty_table(), *tables]).combine_chunks()
