"""What Kubeflow says of the tasks of a run: their states, and which of them failed.

The API lists a task beside its driver, which decides whether it runs, the pod of its container, and the groups that it is in. A
person knows the task alone.
"""

import re
from collections.abc import Iterator
from typing import Any

from pipelines.placement import EXIT_HANDLER, PROMOTION

ENDS = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})
"""States in which a run stays."""

_GROUP = re.compile(rf"root|executor.*|{EXIT_HANDLER}|{PROMOTION}|(exit-handler|for-loop|iteration|condition)(-.*)?")
_DRIVER = "-driver"
_HOOK = ".onExit"
"""What Argo adds to the name of a task that runs when another is over."""

_MESSAGE_LENGTH = 300


def task_states(run: Any) -> dict[str, str]:
    """Return the state of every task of a run, by name.

    Args:
        run: What the API says of it.
    """
    return {_task_name(task): task.state for task in _tasks(run) if task.state and not task.display_name.endswith(_DRIVER)}


def describe_failure(run: Any) -> str:
    """Return which tasks of a run failed and why, as far as Kubeflow says so: a clause.

    Args:
        run: What the API says of a run that did not end well.
    """
    if run.state == "CANCELED":
        return "the run was cancelled"
    failed = [task for task in _tasks(run) if task.state == "FAILED"]
    reasons = [of.error.message for of in (*failed, run) if of.error is not None and of.error.message]
    names = ", ".join(dict.fromkeys(_task_name(task) for task in failed))
    return f"{names or 'the run'} failed" + (f" ({shorten(reasons[0])})" if reasons else "")


def shorten(text: Any) -> str:
    """Return a message in one line of bearable length.

    >>> shorten("exit code\\n 137")
    'exit code 137'
    """
    return " ".join(str(text).split())[:_MESSAGE_LENGTH]


def _tasks(run: Any) -> Iterator[Any]:
    """Yield tasks and drivers, without groups and containers."""
    details = (run.run_details.task_details if run.run_details is not None else None) or []
    return (task for task in details if task.display_name and not _GROUP.fullmatch(_task_name(task)))


def _task_name(task: Any) -> str:
    return str(task.display_name.removesuffix(_DRIVER).removesuffix(_HOOK))
