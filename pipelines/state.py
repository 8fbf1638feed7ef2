"""The folder ``.smar``: what runs in a working folder share (caches, checkpoints, artifacts) and what each leaves (a log).

It may be deleted whenever nothing runs; the price is that the next run starts from nothing. ``OUT`` never points into it.
"""

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from components.side import ALIVE, hold_lock
from smar_core.errors import UserError


@dataclass(frozen=True)
class RunFolder:
    """Folder of one pipeline run.

    Attributes:
        run_id: Its id: when it started, and four random bytes.
        path: The folder.
    """

    run_id: str
    path: Path

    @property
    def side(self) -> Path:
        """Folder of the stages' side files."""
        return self.path / "side"

    @property
    def log(self) -> Path:
        """Everything that Kubeflow and the stages printed."""
        return self.path / "log.txt"

    @property
    def job(self) -> Path:
        """What the worker process is to do."""
        return self.path / "job.json"

    @property
    def pipeline(self) -> Path:
        """The compiled pipeline that runs."""
        return self.path / "pipeline.yaml"

    def keep_alive(self) -> IO[str]:
        """Return the handle whose closing, or this process's end, makes the worker and its stage end."""
        handle = hold_lock(self.side / ALIVE)
        assert handle is not None, "a new run's lock is free"
        return handle


@dataclass(frozen=True)
class StateFolder:
    """The folder ``.smar``.

    Attributes:
        path: Absolute.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path) -> "StateFolder":
        """Return the state folder of a working folder, made if it is not there."""
        path = folder.resolve() / ".smar"
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file", "move it: runs keep their caches in a folder of that name")
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be made ({error.strerror})", "start in a folder that you may write") from None
        return cls(path)

    @property
    def store(self) -> Path:
        """Folder of artifacts by digest and of work folders."""
        return self.path / "store"

    @property
    def pipeline_root(self) -> Path:
        """Folder that Kubeflow writes to."""
        return self.path / "kfp"

    @property
    def cache(self) -> Path:
        """Folder of Kubeflow's cache entries."""
        return self.path / "cache"

    def lock(self) -> IO[str]:
        """Return the handle that keeps other runs out: two of them would write the same checkpoints.

        Raises:
            UserError: Another run is at work here.
        """
        handle = hold_lock(self.path / "lock")
        if handle is None:
            raise UserError(f"another run is at work in {self.path.parent}", "wait for it, or start this one in another folder")
        return handle

    def new_run(self) -> RunFolder:
        """Make the folder of a new run."""
        run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
        run = RunFolder(run_id, self.path / "runs" / run_id)
        run.side.mkdir(parents=True)
        return run
