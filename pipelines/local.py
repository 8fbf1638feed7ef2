"""Running a compiled pipeline on this machine.

The command line (this module) starts a worker process, in which Kubeflow's local runner executes the compiled YAML, follows
the stages through their side files, and turns what they left into an exception. The worker has a session of its own, so that
Ctrl-C reaches the command line alone, which then ends the worker with everything below it. The worker ends the run in MLflow, and
where it was killed the command line does.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from components.ending import end_killed
from components.input_digests import NAME as DIGEST_INPUTS
from components.record import NAME as RECORD_RUN
from components.side import RECORD, StageState, first_error, read_state
from components.surroundings import INJECTED_RUN_ID, NO_TELEMETRY, Surroundings
from pipelines import local_worker
from pipelines.state import RunFolder
from smar_core.artifact import write_json
from smar_core.errors import UserError

Follower = Callable[[Mapping[str, StageState]], None]
"""Called several times a second with the state of every stage."""

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 5.0


class PipelineFailedError(RuntimeError):
    """A stage failed, and not by a mistake of the user.

    Args:
        problem: What happened: a clause.
        log: Where everything that was printed stands: a file, or a page of Kubeflow.
    """

    def __init__(self, problem: str, log: Path | str) -> None:
        super().__init__(f"{problem}; see {log}.")


@dataclass(frozen=True)
class Outcome:
    """What a pipeline run came to.

    Attributes:
        states: Last state of each stage.
        record: What ``record_run`` left: artifacts and MLflow ids; empty for a stage that ran alone.
    """

    states: Mapping[str, StageState]
    record: Mapping[str, Any]


def run_job(
    job: local_worker.Job, run: RunFolder, around: Surroundings, stages: Sequence[str], num_threads: int, follow: Follower
) -> Outcome:
    """Run a job in a worker process and wait for its end.

    Args:
        job: What to run.
        run: Folder of the run.
        around: What the stages are told through their environment.
        stages: Stages to follow.
        num_threads: Threads of the numerical libraries, set before any of them is loaded.
        follow: Told of the stages' progress.

    Raises:
        UserError: A stage found a mistake that the user can mend.
        PipelineFailedError: Anything else went wrong.
        KeyboardInterrupt: The run was interrupted; nothing of it runs any more.
    """
    write_json(run.job, job.model_dump(mode="json"))
    environment = os.environ | dict(worker_environment(around, num_threads))
    environment.pop(INJECTED_RUN_ID, None)  # a run of the caller's is none that Kubeflow made for a task
    with run.keep_alive(), _terminate_as_interrupt(), run.log.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", local_worker.__name__, str(run.job)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(_POLL_SECONDS)
                states = {stage: read_state(run.side, stage) for stage in stages}
                follow(states)
                if worker.returncode is not None:
                    break
        finally:
            if _end(worker) < 0:
                end_killed(around)
    if worker.returncode != 0:
        raise _explain(run, (DIGEST_INPUTS, *stages, RECORD_RUN), worker.returncode)
    return Outcome(states, read_record(run))


def worker_environment(around: Surroundings, num_threads: int) -> Mapping[str, str]:
    """Return the variables that the worker and its stages are given beside those of this process."""
    return dict(around.as_environment()) | {
        "OMP_NUM_THREADS": str(num_threads),
        # Waiting threads sleep: spinning made training 6 times slower beside one other busy process.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_NUM_THREADS": str(num_threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **NO_TELEMETRY,
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a folder "components" where the user works is not ours
    }


def read_record(run: RunFolder) -> Mapping[str, Any]:
    """Return what ``record_run`` left; empty when it was not part of the pipeline."""
    path = run.side / RECORD
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record


def _explain(run: RunFolder, names: Sequence[str], code: int) -> Exception:
    """Return the exception that says why a worker ended badly."""
    states = {name: read_state(run.side, name) for name in names}
    cut_short = [name for name, s in states.items() if s.is_started and s.seconds is None and s.error is None]
    if cut_short:
        return PipelineFailedError(f"{cut_short[0]} was ended from outside (for want of memory?)", run.log)
    error = first_error(run.side, (*names, local_worker.NAME))
    if error is not None and error.kind == "user":
        return UserError(error.problem, error.remedy)
    if error is not None:
        return PipelineFailedError(f"{error.stage} failed ({error.problem})", run.log)
    return PipelineFailedError(f"Kubeflow's local runner ended with code {code}", run.log)


def _end(worker: "subprocess.Popen[bytes]") -> int:
    """End the worker and everything of its session, and return its exit code: below 0 where a signal ended it."""
    if worker.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(_PATIENCE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    return worker.wait()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C within the block (signals reach the main thread only)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
