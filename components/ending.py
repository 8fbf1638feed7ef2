"""Ending a pipeline run's run in MLflow where what should have ended it could not.

The last task of a pipeline run that goes well ends the run in MLflow. So a run that has not ended when all tasks are over has
failed: a task was killed for memory, say, and could not tell. On a cluster ``end_run`` says so, and Kubeflow's MLflow plugin of
the runs that it made. On this machine it is the run's worker process, and where that was killed itself the command line.

A store that does not answer is no reason for anything else to fail.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from components.surroundings import Surroundings
from smar_core.errors import UserError

_LOG = logging.getLogger(__name__)

_FAILED = "a task failed: see the pipeline run in Kubeflow"
_KILLED = "the process that ran it was killed"


def end(run_name: str) -> None:
    """End the run of the pipeline run that this task is of, if it still runs.

    Args:
        run_name: Name of the pipeline run, for a run that has no name of its own yet.
    """
    from components.tracking import Tracker

    with _forgive_store():
        around = Surroundings.read()
        if around.tracking_uri is None or around.injected_run_id is not None or around.side is not None:
            return
        tracker = Tracker.open(around)
        tracker.name(run_name)
        if tracker.is_running():
            tracker.abandon("FAILED", _FAILED)


def end_killed(around: Surroundings) -> None:
    """End the run of a pipeline run whose worker process was killed, if it still runs.

    Args:
        around: What the stages were told through their environment.
    """
    from components.tracking import Tracker

    with _forgive_store():
        tracker = Tracker.open(around)
        if tracker.is_running():
            tracker.abandon("KILLED", _KILLED)


@contextmanager
def _forgive_store() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (UserError, MlflowException, OSError) as error:
        _LOG.warning("MLflow did not take how the run ended (%s)", " ".join(str(error).split())[:200])
