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
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.surroundings import INJECTED_RUN_ID, PIPELINE_RUN_ID, TRACKING_URI, Surroundings
from components.tracking.comparison import VIEW, VIEW_COLUMNS
from components.tracking.names import PARENT_TAG, PIPELINE_RUN_ID_TAG, where
from smar_core.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Place:
    """Where a process writes.

    Attributes:
        client: Client of the tracking store.
        uri: The store.
        experiment_id: Experiment of the runs.
        parent_id: The pipeline run's own run.
        pipeline_run_id: Its id outside MLflow.
        injected_id: The run that Kubeflow's MLflow plugin made for this task; None without the plugin.
    """

    client: "MlflowClient"
    uri: str
    experiment_id: str
    parent_id: str
    pipeline_run_id: str
    injected_id: str | None = None


def find_place(around: Surroundings) -> Place:
    """Return the run that was injected and the one above it, else the pipeline run's, made if it is not there.

    Raises:
        UserError: The tracking store does not answer, or nothing says which pipeline run this is.
    """
    with open_store(around) as (client, uri):
        if around.injected_run_id is not None:
            return _injected_place(client, uri, around.injected_run_id, around.pipeline_run_id)
        if not around.pipeline_run_id:
            raise UserError(
                f"MLflow is named but neither {INJECTED_RUN_ID} nor {PIPELINE_RUN_ID}, by which stages find each other",
                f"submit the pipeline as smar submit compiles it, or unset {TRACKING_URI}",
            )
        experiment_id = ensure_experiment(client, uri, around.experiment)
        parent = find_or_make_parent(client, experiment_id, around.pipeline_run_id)
        return Place(client, uri, experiment_id, parent.info.run_id, around.pipeline_run_id)


def make_place(around: Surroundings) -> Place:
    """Make the run of a pipeline run whose id is new.

    Raises:
        UserError: The tracking store does not answer.
    """
    with open_store(around) as (client, uri):
        experiment_id = ensure_experiment(client, uri, around.experiment)
        parent = make_parent(client, experiment_id, around.pipeline_run_id)
        return Place(client, uri, experiment_id, parent.info.run_id, around.pipeline_run_id)


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


def _injected_place(client: "MlflowClient", uri: str, run_id: str, pipeline_run_id: str) -> Place:
    """Return where a task writes that was given a run of its own: the plugin nests it in loops and the pipeline run."""
    run = parent = client.get_run(run_id)
    while PARENT_TAG in parent.data.tags:
        parent = client.get_run(parent.data.tags[PARENT_TAG])
    known = parent.data.tags.get(PIPELINE_RUN_ID_TAG) or pipeline_run_id or parent.info.run_id
    return Place(client, uri, run.info.experiment_id, parent.info.run_id, known, run_id)


def _find_parent(client: "MlflowClient", experiment_id: str, pipeline_run_id: str) -> "Run | None":
    runs = client.search_runs([experiment_id], where({PIPELINE_RUN_ID_TAG: pipeline_run_id}), order_by=["start_time ASC"])
    parents = [run for run in runs if PARENT_TAG not in run.data.tags]
    return min(parents, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def _find_experiment(client: "MlflowClient", name: str) -> str | None:
    experiment = client.get_experiment_by_name(name)
    return None if experiment is None else str(experiment.experiment_id)


@contextmanager
def open_store(around: Surroundings) -> "Iterator[tuple[MlflowClient, str]]":
    """Return a client of the tracking store and its address, and turn its failure into a sentence."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = around.tracking_uri
    assert uri is not None
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri), uri
    except MlflowException as error:
        raise UserError(
            f"the tracking store {uri} failed ({str(error)[:200]})", "see whether it is up and may be written"
        ) from None
