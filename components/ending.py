"""What ``end_run`` does when the other tasks of a pipeline run are over.

The last task of a pipeline run that goes well ends the run in MLflow. So a run that has not ended by now has failed: a task was
killed for memory, say, and could not tell. On this machine the command line, which saw how each stage ended, does it instead;
so does Kubeflow's MLflow plugin with the runs that it made.
"""

import logging

from components.surroundings import Surroundings
from smar_core.errors import UserError

_LOG = logging.getLogger(__name__)

_PROBLEM = "a task failed: see the pipeline run in Kubeflow"


def end(run_name: str) -> None:
    """End the pipeline run's run in MLflow if it still runs. A store that does not answer is no reason for a run to fail.

    Args:
        run_name: Name of the pipeline run, for a run that has no name of its own yet.
    """
    from mlflow.exceptions import MlflowException

    from components.tracking import Tracker

    try:
        around = Surroundings.read()
        if around.tracking_uri is None or around.injected_run_id is not None or around.side is not None:
            return
        tracker = Tracker.open(around)
        tracker.name(run_name)
        if tracker.is_running():
            tracker.abandon("FAILED", _PROBLEM)
    except (UserError, MlflowException, OSError) as error:
        _LOG.warning("MLflow did not take how the run ended (%s)", " ".join(str(error).split())[:200])
