"""A training that several processes share, and what passes between them and the stage: a folder of small files.

The stage writes a job file, and somebody (``launch``) starts ``smar_core.training.worker`` on it, which calls the same stage
function again in every process, now as one of several. The first process leaves its progress and in the end its figures in the
folder; a process that fails leaves its error, and the stage raises the one that was there first: the others only lose their
peer. Files, not a connection: they work alike for processes of this machine and for pods that share a volume, and what happened
last can still be read when everybody is gone.
"""

import json
import os
import shutil
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smar_core.artifact import write_json
from smar_core.errors import ArtifactError, DivergedError, UserError
from smar_core.progress import Progress

_JOB, _FIGURES, _PROGRESS = "job.json", "figures.json", "progress.json"
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
    def file(self) -> Path:
        """The job file."""
        return self.folder / _JOB

    @property
    def progress_file(self) -> Path:
        """Where the first process says how far it is, by ``FileProgress``."""
        return self.folder / _PROGRESS

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Read a job file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self) -> None:
        """Write the job file into an emptied folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        write_json(self.file, asdict(self))

    def leave_figures(self, figures: Mapping[str, float]) -> None:
        """Leave what the stage function returned."""
        write_json(self.folder / _FIGURES, dict(figures))

    def figures(self) -> dict[str, float]:
        """Return what ``leave_figures`` left."""
        found: dict[str, float] = json.loads((self.folder / _FIGURES).read_text(encoding="utf-8"))
        return found

    def leave_error(self, error: BaseException) -> None:
        """Leave how this process failed, in a file of its own: the same process id may be found on two machines."""
        value = {
            "at": time.time_ns(),
            "kind": type(error).__name__,
            "words": [str(arg) for arg in error.args],
            "traceback": "".join(traceback.format_exception(error)),
        }
        write_json(self.folder / f"error-{socket.gethostname()}-{os.getpid()}.json", value)

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

    def pass_on(self, progress: Progress) -> None:
        """Tell the stage's listener what the first process said last, if it said anything."""
        try:
            said = json.loads(self.progress_file.read_text(encoding="utf-8"))
        except OSError:
            return  # not there yet or, on a network's file system, replaced between opening and reading
        progress.update(said["phase"], said["done"], said["total"], **said["figures"])
