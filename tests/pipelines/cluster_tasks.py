"""The last tasks of a pipeline run as pods run them: nobody listens, and MLflow's run is found by the pipeline run's id."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
from kfp import dsl
from mlflow import MlflowClient
from mlflow.entities import Run

from components.end_run import end_run
from components.surroundings import EXPERIMENT, PIPELINE_RUN_ID, SIDE_DIR, STORE_DIR, TRACKING_URI


@contextmanager
def as_on_a_cluster(uri: str, pipeline_run_id: str) -> Iterator[Callable[[], Run]]:
    """Give tasks the environment of a pod, and in the end run ``end_run``; what is yielded then returns the run in MLflow."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (SIDE_DIR, STORE_DIR):
            patch.delenv(name, raising=False)
        for name, value in ((TRACKING_URI, uri), (EXPERIMENT, "cluster"), (PIPELINE_RUN_ID, pipeline_run_id)):
            patch.setenv(name, value)
        try:
            yield lambda: _parent(uri, pipeline_run_id)
            end_run.python_func(run_name="in Kubeflow")
        finally:  # what registers a model leaves it behind, also in the environment
            mlflow.set_tracking_uri(None)
            mlflow.set_registry_uri(None)


def artifacts_of(run: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, dsl.Artifact]:
    """Return those artifacts of a finished run that a task is given."""
    return {
        name: dsl.Artifact(name=name, uri=artifact["path"], metadata={"digest": artifact["digest"]})
        for name, artifact in run["artifacts"].items()
        if name in function.__annotations__
    }


def sections_of(run: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, str]:
    """Return the config sections and digests that a task is given, from the run's parameters."""
    told = {name: run["arguments"].get(name.removesuffix("_section")) for name in function.__annotations__}
    return {name: value for name, value in told.items() if value is not None and name.endswith(("_section", "_digest"))}


def _parent(uri: str, pipeline_run_id: str) -> Run:
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("cluster")
    runs = client.search_runs([experiment.experiment_id], f"tags.`kfp.pipeline_run_id` = '{pipeline_run_id}'")
    (found,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    return found


def sqlite_uri(folder: Path) -> str:
    """Return the address of a store of its own."""
    return f"sqlite:///{folder}/mlflow.db"
