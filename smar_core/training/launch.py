"""Starting the processes of a training, and what passes between them and the stage: a folder of small files.

The stage writes a job file and runs ``torchrun`` on ``smar_core.training.worker``, which calls the same stage function again in
every process, now as one of several. The first process leaves its progress and in the end its figures in the folder; a process
that fails leaves its error, and the stage raises the one that was there first: the others only lose their peer. A Kubeflow
TrainJob can run the worker on the job file in the same way, given a work folder that all its pods share.

The processes end with the stage, however it ends: their standard input is a pipe that nobody writes to, and it closes.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smar_core.artifact import Artifact, write_json
from smar_core.config import Section
from smar_core.errors import EXIT_INTERRUPTED, ArtifactError, DivergedError, UserError
from smar_core.progress import Progress
from smar_core.stage import StageContext

WORKER = "smar_core.training.worker"
UNTIL_STDIN_ENDS = "--until-stdin-ends"

_JOB, _FIGURES, _PROGRESS = "job.json", "figures.json", "progress.json"
_POLL_SECONDS = 0.2
_TOLD = {kind.__name__: kind for kind in (UserError, DivergedError, ArtifactError)}
"""Errors that reach the stage as what they are; of any other it gets the words."""


@dataclass(frozen=True)
class Job:
    """A call of a stage function, as plain values.

    Attributes:
        stage: ``pretrain`` or ``finetune``.
        inputs: Kind and folder of each input artifact, by the function's parameter.
        output: Folder of the output artifact.
        sections: Config sections by the function's parameter, ``runtime`` among them.
        config_digest, work, parents: As in ``StageContext``.
    """

    stage: str
    inputs: Mapping[str, tuple[str, str]]
    output: str
    sections: Mapping[str, Mapping[str, Any]]
    config_digest: str
    work: str
    parents: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where the processes leave their files."""
        return Path(self.work) / "job"

    @property
    def progress_file(self) -> Path:
        """Where the first process says how far it is, by ``FileProgress``."""
        return self.folder / _PROGRESS

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Read a job file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self) -> Path:
        """Write the job file into an emptied folder and return its path."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        write_json(self.folder / _JOB, asdict(self))
        return self.folder / _JOB

    def leave_figures(self, figures: Mapping[str, float]) -> None:
        """Leave what the stage function returned."""
        write_json(self.folder / _FIGURES, dict(figures))

    def figures(self) -> dict[str, float]:
        """Return what ``leave_figures`` left."""
        found: dict[str, float] = json.loads((self.folder / _FIGURES).read_text(encoding="utf-8"))
        return found

    def leave_error(self, process: int, error: BaseException) -> None:
        """Leave how a process, named by its id, failed."""
        value = {
            "at": time.time_ns(),
            "kind": type(error).__name__,
            "words": [str(arg) for arg in error.args],
            "traceback": "".join(traceback.format_exception(error)),
        }
        write_json(self.folder / f"error-{process}.json", value)

    def first_error(self) -> BaseException | None:
        """Return the error that was left first, to be raised."""
        left = [json.loads(path.read_text(encoding="utf-8")) for path in self.folder.glob("error-*.json")]
        if not left:
            return None
        first = min(left, key=lambda value: int(value["at"]))
        kind = _TOLD.get(first["kind"])
        error = kind(*first["words"]) if kind else RuntimeError(f"{first['kind']}: {'; '.join(first['words'])}")
        error.add_note(first["traceback"])
        return error


def run_in_processes(
    stage: str,
    inputs: Mapping[str, Artifact],
    output: Path,
    sections: Mapping[str, Section],
    context: StageContext,
    num_processes: int,
) -> dict[str, float]:
    """Run a stage function in several processes of this machine.

    Args:
        stage: ``pretrain`` or ``finetune``.
        inputs, sections: What it is called with, by parameter; ``runtime`` is among the sections.
        output: Folder of the output artifact.
        context: Work folder, parents and progress.
        num_processes: How many.

    Returns:
        What the function returned in the first process.

    Raises:
        UserError, DivergedError, ArtifactError: One of the processes raised it.
        RuntimeError: One of them failed in another way.
    """
    job = Job(
        stage,
        {name: (artifact.kind, str(artifact.path)) for name, artifact in inputs.items()},
        str(output),
        {name: section.model_dump(mode="json") for name, section in sections.items()},
        context.config_digest,
        str(context.work),
        dict(context.parents),
    )
    file = job.write()
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}", f"--log-dir={job.folder / 'log'}"]
    command = [sys.executable, "-m", *torchrun, "-m", WORKER, str(file), UNTIL_STDIN_ENDS]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                _pass_on(job.progress_file, context.progress)
        finally:
            process.terminate()
    if process.returncode:
        raise job.first_error() or RuntimeError(
            f"the training processes ended with exit code {process.returncode} and left no error: see the log above"
        )
    return job.figures()


def end_with_starter() -> None:
    """End this process, from a thread, when its standard input does."""
    threading.Thread(target=_read_to_end, name="end-with-starter", daemon=True).start()


def _read_to_end() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(EXIT_INTERRUPTED)


def _pass_on(path: Path, progress: Progress) -> None:
    """Tell the stage's listener what the first process said last."""
    if path.is_file():
        said = json.loads(path.read_text(encoding="utf-8"))
        progress.update(said["phase"], said["done"], said["total"], **said["figures"])
