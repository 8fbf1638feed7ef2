"""The parent run of a pipeline run: injected by Kubeflow's MLflow plugin, or found by its tag, or made.

No task is passed a run id, which would be part of its cache key. With the plugin a task's own run is in ``MLFLOW_RUN_ID``, and
the pipeline run's is the topmost above it. Without it the run tagged ``kfp.pipeline_run_id`` is the parent, and the stage that
finds none makes it.

Two stages that start at once may both find none. MLflow has no operation that makes a run only where there is none, so each
maker waits for the other: it makes its run, waits longer than it takes from looking to making, looks again, and if another
run comes before its own (by start, then by id, which all of them see alike) deletes its own and takes that one. Clocks that
differ change which run stays, not that one stays. A maker that is held up for more than ``SETTLE_SECONDS`` between looking and
making may still leave a second run; every later look then takes the same one of the two. The wait is paid once a pipeline run.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from components.tracking.comparison import VIEW, VIEW_COLUMNS
from components.tracking.names import PARENT_TAG, PIPELINE_RUN_ID_TAG, where

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SETTLE_SECONDS = 1.0


def ensure_experiment(client: "MlflowClient", uri: str, name: str) -> str:
    """Return an experiment's id; a new one beside a SQLite file keeps its artifacts in ``mlartifacts`` there."""
    from mlflow.exceptions import MlflowException

    found = _find_experiment(client, name)
    if found is not None:
        return found
    location = None
    if uri.startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()
    view = {f"mlflow.sharedViewState.{VIEW}": json.dumps({"selectedColumns": VIEW_COLUMNS})}
    try:
        made: str = client.create_experiment(name, artifact_location=location, tags=view)
    except MlflowException:
        made_meanwhile = _find_experiment(client, name)
        if made_meanwhile is None:
            raise
        return made_meanwhile
    return made


def make_parent(client: "MlflowClient", experiment_id: str, pipeline_run_id: str) -> "Run":
    """Make the run of a pipeline run that nobody else knows yet."""
    return client.create_run(experiment_id, tags={PIPELINE_RUN_ID_TAG: pipeline_run_id}, run_name=pipeline_run_id)


def find_or_make_parent(client: "MlflowClient", experiment_id: str, pipeline_run_id: str) -> "Run":
    """Return the run of a pipeline run, made if it is not there; the same for all that ask at once."""
    found = _find_parent(client, experiment_id, pipeline_run_id)
    if found is not None:
        return found
    made = make_parent(client, experiment_id, pipeline_run_id)
    time.sleep(SETTLE_SECONDS)
    kept = _find_parent(client, experiment_id, pipeline_run_id) or made
    if kept.info.run_id != made.info.run_id:
        client.delete_run(made.info.run_id)
    return kept


def topmost(client: "MlflowClient", run: "Run") -> "Run":
    """Return the run above all that a run is nested in; the run itself if it is in none."""
    while PARENT_TAG in run.data.tags:
        run = client.get_run(run.data.tags[PARENT_TAG])
    return run


def _find_parent(client: "MlflowClient", experiment_id: str, pipeline_run_id: str) -> "Run | None":
    runs = client.search_runs([experiment_id], where({PIPELINE_RUN_ID_TAG: pipeline_run_id}), order_by=["start_time ASC"])
    parents = [run for run in runs if PARENT_TAG not in run.data.tags]
    return min(parents, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def _find_experiment(client: "MlflowClient", name: str) -> str | None:
    experiment = client.get_experiment_by_name(name)
    return None if experiment is None else str(experiment.experiment_id)
