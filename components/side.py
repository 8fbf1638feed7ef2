"""Side files: what a stage tells whoever started the pipeline, past Kubeflow.

Kubeflow's local runner turns a stage's exit code into a bare RuntimeError and its output into a flood, so a stage leaves its
progress, its error and its end in small files of the run's folder, and the command line reads them. On a cluster there is no
such folder and nothing is written. A stage also dies with whoever started it: the starter holds a lock on a file of that
folder, and a stage that finds the lock free has lost its starter. A lock, unlike a process id, is never re-used and is
seen from inside a container; it costs one system call every half second. A process that handles SIGTERM is sent that first, and
has some seconds to tell others, such as MLflow, of its end.

In an experiment, stages of several trials share their names. Local trials run one after the other, so a file says which one is
at work, and its stages' side files go to a folder of its own. A stage's parameters must not say it: they are its cache key, and
trials of equal settings share their stages.
"""

import fcntl
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from smar_core.artifact import write_json
from smar_core.errors import EXIT_INTERRUPTED, ArtifactError, DivergedError, UserError
from smar_core.progress import SILENT, FileProgress, Progress

ALIVE = "alive.lock"
RECORD = "record.json"
TRIALS = "trials"
_CURRENT_TRIAL = "trial.json"
_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class StageError:
    """How a stage failed.

    Attributes:
        stage: Name of the stage.
        kind: "user" for a mistake that its user can mend, "bug" for ours, "interrupted" when it was told to stop.
        problem: What is wrong: a clause.
        remedy: What to do about it; "" for a bug.
        traceback: For the log.
    """

    stage: str
    kind: Literal["user", "bug", "interrupted"]
    problem: str
    remedy: str
    traceback: str

    @classmethod
    def of(cls, stage: str, error: BaseException) -> "StageError":
        """Describe an exception that ended a stage."""
        trace = "".join(traceback.format_exception(error))
        if isinstance(error, UserError):
            return cls(stage, "user", error.problem, error.remedy, trace)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return cls(stage, "interrupted", "it was told to stop", "", trace)
        told = isinstance(error, (ArtifactError, DivergedError))
        problem = str(error) if told else f"{type(error).__name__}: {error}"
        return cls(stage, "bug", " ".join(problem.split())[:500], "", trace)


class SideFiles:
    """The side files of one stage.

    Args:
        folder: Folder of the run's side files; None where nobody listens, and then nothing is written.
        stage: Name of the stage.
    """

    def __init__(self, folder: Path | None, stage: str) -> None:
        self._root, self._stage = folder, stage
        trial = None if folder is None else _read(folder / _CURRENT_TRIAL)
        self._folder = folder if folder is None or trial is None else folder / TRIALS / trial["name"]
        self._title = stage if trial is None else f"{trial['name']}: {stage}"

    def started(self) -> None:
        """Say that the stage runs: a cached stage never does."""
        self._write("started", {"at": time.time()})

    def progress(self) -> Progress:
        """Return the receiver of the stage's progress."""
        return SILENT if self._folder is None else FileProgress(self._folder / f"{self._stage}.progress.json", self._stage)

    def failed(self, error: BaseException) -> None:
        """Leave the error."""
        self._write("error", asdict(StageError.of(self._title, error)))

    def finished(self, seconds: float, figures: dict[str, float], outputs: dict[str, str]) -> None:
        """Say that the stage is done, how long it took, what it found and where each output is."""
        self._write("done", {"seconds": round(seconds, 3), "figures": figures, "outputs": outputs})

    def record(self, value: dict[str, Any]) -> None:
        """Leave what the whole run made, for whoever started it."""
        if self._root is not None:
            write_json(self._root / RECORD, value)

    def _write(self, what: str, value: dict[str, Any]) -> None:
        if self._folder is not None:
            write_json(self._folder / f"{self._stage}.{what}.json", value)


def begin_trial(folder: Path, name: str) -> None:
    """Say that the stages that start from now on are those of a trial."""
    (folder / TRIALS / name).mkdir(parents=True, exist_ok=True)
    write_json(folder / _CURRENT_TRIAL, {"name": name})


def end_trial(folder: Path) -> None:
    """Say that the trial at work has ended."""
    (folder / _CURRENT_TRIAL).unlink(missing_ok=True)


@dataclass(frozen=True)
class StageState:
    """What the side files say about one stage now.

    Attributes:
        is_started: It runs or ran in this pipeline run; a stage that never starts was cached.
        progress: Latest record of ``FileProgress``; None before the first.
        seconds: Time it took; None until it is done.
        figures: What it found; empty until it is done.
        outputs: Path of each artifact it made; empty until it is done.
        error: How it failed; None otherwise.
    """

    is_started: bool
    progress: dict[str, Any] | None
    seconds: float | None
    figures: dict[str, float]
    outputs: dict[str, str]
    error: StageError | None


def read_state(folder: Path, stage: str) -> StageState:
    """Read what a stage said of itself."""
    done, error = _read(folder / f"{stage}.done.json"), _read(folder / f"{stage}.error.json")
    return StageState(
        is_started=(folder / f"{stage}.started.json").is_file(),
        progress=_read(folder / f"{stage}.progress.json"),
        seconds=done["seconds"] if done else None,
        figures=done["figures"] if done else {},
        outputs=done["outputs"] if done else {},
        error=StageError(**error) if error else None,
    )


def first_error(folder: Path, stages: Iterable[str]) -> StageError | None:
    """Return the error of the first of some stages that left one."""
    errors = (read_state(folder, stage).error for stage in stages)
    return next((error for error in errors if error is not None), None)


def any_error(folder: Path) -> StageError | None:
    """Return the error that was left first, by whatever stage of whatever trial."""
    files = sorted(folder.rglob("*.error.json"), key=lambda file: file.stat().st_mtime)
    return StageError(**_read(files[0])) if files else None


def hold_lock(path: Path) -> IO[str] | None:
    """Take the lock of a file and return the handle that keeps it; None when another process has it."""
    handle = path.open("a", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def die_with_starter(folder: Path) -> None:
    """End this process as soon as nobody holds the lock ``folder/alive.lock`` any more.

    A thread looks, because ``PR_SET_PDEATHSIG`` is bound to the thread that started the child and knows parents only, whereas
    here the starter is a grandparent or outside a container.
    """
    threading.Thread(target=_watch, args=(folder / ALIVE,), name="die-with-starter", daemon=True).start()


def _watch(path: Path) -> None:
    while True:
        if not path.is_file() or _is_free(path):
            _end_process()
        time.sleep(_POLL_SECONDS)


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock of a file; it stays so for the next who looks."""
    handle = hold_lock(path)
    if handle is not None:
        handle.close()
    return handle is not None


def _end_process() -> None:
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE_SECONDS)
    os._exit(EXIT_INTERRUPTED)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
