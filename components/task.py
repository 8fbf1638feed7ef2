"""A task that is not a stage: it makes nothing that is cached, or only reads and records what the stages have made."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from components.side import SideFiles, die_with_starter
from components.surroundings import Surroundings


@dataclass
class Task:
    """A task at work.

    Attributes:
        around: Where it runs.
        side: Its side files.
        outputs: To be filled with what whoever started the run is told.
    """

    around: Surroundings
    side: SideFiles
    outputs: dict[str, str] = field(default_factory=dict)


def surroundings_of_task() -> Surroundings:
    """Return where this process runs, and let it die with whoever started the pipeline."""
    around = Surroundings.read()
    if around.side is not None:
        die_with_starter(around.side)
    return around


@contextmanager
def open_task(name: str, around: Surroundings | None = None) -> Iterator[Task]:
    """Say that a task has started and how it ended.

    Args:
        name: Of the task.
        around: Where it runs; None for a process of its own, which reads it from its environment.
    """
    around = surroundings_of_task() if around is None else around
    task = Task(around, SideFiles(around.side, name))
    task.side.started()
    started = time.time()
    try:
        yield task
        task.side.finished(time.time() - started, {}, task.outputs)
    except BaseException as error:
        task.side.failed(error)
        raise
