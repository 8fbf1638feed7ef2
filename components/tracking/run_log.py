"""What is written to one MLflow run: parameters, metrics, data sets, small files, curves; in as few requests as MLflow takes."""

import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from components.tracking.names import metric_name
from smar_core.artifact import Artifact

if TYPE_CHECKING:
    from mlflow import MlflowClient

SMALL_FILES = (
    "statistics.json",
    "reasons.json",
    "drift.json",
    "training.json",
    "gate_report.json",
    "bundle.json",
    "scores.json",
    "decision.json",
    "page.html",
)
"""Files of artifacts that are worth a copy in MLflow."""

_METRICS_A_BATCH, _PARAMS_A_BATCH = 1000, 100


def log_values(client: "MlflowClient", run_id: str, parameters: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    """Log parameters, and those metrics that are finite."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    params = [Param(name, value) for name, value in parameters.items()]
    for first in range(0, len(params), _PARAMS_A_BATCH):
        client.log_batch(run_id, params=params[first : first + _PARAMS_A_BATCH])
    client.log_batch(run_id, metrics=[Metric(metric_name(n), v, now, 0) for n, v in metrics.items() if math.isfinite(v)])


def log_datasets(client: "MlflowClient", run_id: str, datasets: Iterable[tuple[str, str, str, str]]) -> None:
    """Log data sets, each (name, digest, URI, "input" or "output")."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entries = [
        DatasetInput(Dataset(name, digest[:32], "local", json.dumps({"uri": uri})), [InputTag("mlflow.data.context", context)])
        for name, digest, uri, context in datasets
    ]
    if entries:
        client.log_inputs(run_id, datasets=entries)


def log_outputs(client: "MlflowClient", run_id: str, outputs: Mapping[str, Artifact]) -> None:
    """Log the artifacts that a stage made: their digests, small files, and a model's curve."""
    log_datasets(client, run_id, ((name, a.digest, str(a.path), "output") for name, a in outputs.items()))
    for name, artifact in outputs.items():
        for file in SMALL_FILES:
            if (artifact.path / file).is_file():
                client.log_artifact(run_id, str(artifact.path / file), artifact_path=name)
        if artifact.kind == "model":
            _log_curve(client, run_id, artifact)


def _log_curve(client: "MlflowClient", run_id: str, model: Artifact) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [
        Metric(metric_name(row["name"]), row["value"], now, row["step"])
        for row in model.read_table("curve").to_pylist()
        if math.isfinite(row["value"])
    ]
    for first in range(0, len(points), _METRICS_A_BATCH):
        client.log_batch(run_id, metrics=points[first : first + _METRICS_A_BATCH])
