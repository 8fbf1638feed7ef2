"""The view by which MLflow's page shows runs side by side, and the measures in it."""

from collections.abc import Mapping
from typing import Any

from components.tracking.names import metric_name

COMPARED = ("R@50", "P@50", "R@10", "P@10", "nDCG@10")
COMPARED_SYSTEMS = ("model", "text_only", "text_only_pretrained")
_COMPARED_SLICES = ("overall", "fashion", "not_fashion", "unseen_query")
VIEW = "compare"
VIEW_COLUMNS = (
    "metrics.`R_at_50`",
    "metrics.`P_at_50`",
    "metrics.`R_at_50/fashion`",
    "metrics.`text_only/R_at_50`",
    "params.`overrides`",
)
"""MLflow's table of runs shows no measure unless told to; a shared view of this name, kept in a tag of the experiment, does."""


def comparison_page(uri: str, experiment: str, server: str) -> str:
    """Return the address of the page that shows runs side by side.

    Args:
        uri: The tracking store.
        experiment: Name of the experiment.
        server: Address of the MLflow server that shows the store.
    """
    from mlflow import MlflowClient

    found = MlflowClient(tracking_uri=uri).get_experiment_by_name(experiment)
    if found is None:
        return server
    return f"{server}/#/experiments/{found.experiment_id}/runs?viewStateShareKey={VIEW}&workflowType=machine_learning"


def compared_metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    """Pick the measures by which pipeline runs are compared.

    Args:
        scores: The content of metrics.json.

    Returns:
        ``R_at_50`` of the routed search over all queries, ``R_at_50/fashion`` of a slice, ``text_only/R_at_50`` of another
        system, and so on.
    """
    found = {}
    for system in COMPARED_SYSTEMS:
        for part in _COMPARED_SLICES:
            values = scores.get(system, {}).get(part, {})
            for measure in COMPARED:
                if isinstance(values.get(measure), dict):
                    prefix = "" if system == "model" else f"{system}/"
                    suffix = "" if part == "overall" else f"/{part}"
                    found[f"{prefix}{metric_name(measure)}{suffix}"] = float(values[measure]["value"])
    return found
