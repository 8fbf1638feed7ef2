"""The process in which Kubeflow's local runner works: ``python -m pipelines.local_worker JOB``.

A process of its own, because the runner prints a flood, has no way to be stopped, and keeps its settings in globals. It ends
with the exit code of the pipeline; what went wrong stands in the side files.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import BaseModel

from components.side import SideFiles, any_error, die_with_starter
from components.surroundings import SECRETS, Surroundings
from components.tracking import Tracker
from smar_core.errors import EXIT_INTERRUPTED

NAME = "pipeline"
"""Name under which the worker leaves an error of its own."""

_STORES = ("AWS_", "AZURE_", "GOOGLE_APPLICATION_CREDENTIALS")
"""How the variables begin with which Arrow's file systems find an object store and say who they are; some name a file."""


class Job(BaseModel):
    """What the worker is to do.

    Attributes:
        pipeline: The compiled pipeline.
        arguments: Its parameters.
        pipeline_root: Folder that Kubeflow writes to.
        cache_root: Folder of its cache entries.
        use_cache: Whether stages may be taken from the cache.
        runner: How a task runs.
        mounts: Folders that a container may write.
        read_only_mounts: Folders and files that a container may read.
        environment: Variables that a container is given.
        run_name: Name of the run in MLflow.
        parameters: What MLflow shows of the run in its table.
        files: URI and digest of each input file, by name.
    """

    pipeline: Path
    arguments: dict[str, Any]
    pipeline_root: Path
    cache_root: Path
    use_cache: bool
    runner: str
    mounts: list[Path] = []
    read_only_mounts: list[Path] = []
    environment: dict[str, str] = {}
    run_name: str
    parameters: dict[str, str] = {}
    files: dict[str, tuple[str, str]] = {}


def main(job_file: Path) -> int:
    """Run the job and return the exit code."""
    around = Surroundings.read()
    assert around.side is not None and around.tracking_uri is not None
    tracker: Tracker | None = None

    def stop(signal_number: int, frame: FrameType | None) -> None:
        """End the run, and this process here and now: an exception would wait for all trials that Kubeflow has lined up."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if tracker is not None:
            tracker.abandon("KILLED", "it was told to stop")
        os._exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGTERM, stop)
    die_with_starter(around.side)
    side = SideFiles(around.side, NAME)
    try:
        job = Job.model_validate_json(job_file.read_text(encoding="utf-8"))
        tracker = Tracker.begin(around)
        tracker.describe(job.run_name, job.parameters, job.files)
        _run(job)
        tracker.end()
    except Exception as error:  # whatever it is, the command line is told of it through a side file
        told = any_error(around.side)
        if told is None:
            side.failed(error)
        if tracker is not None:
            tracker.abandon("FAILED", told.problem if told is not None else str(error))
        raise
    return 0


def _run(job: Job) -> None:
    from kfp import components, local

    from pipelines import verified_cache

    verified_cache.install(use_cache=job.use_cache)
    local.init(
        runner=_runner(job),
        pipeline_root=str(job.pipeline_root),
        enable_caching=True,
        cache_root=str(job.cache_root),
    )
    components.load_component_from_file(str(job.pipeline))(**job.arguments)


def _runner(job: Job) -> object:
    from kfp import local

    if job.runner == "subprocess":
        return local.SubprocessRunner(use_venv=False)
    from docker.types import Mount

    secrets = _secrets()
    named_files = {Path(value) for value in secrets.values() if Path(value).is_absolute() and Path(value).is_file()}
    writable = [Mount(str(path), str(path), type="bind") for path in job.mounts]
    readable = [
        Mount(str(path), str(path), type="bind", read_only=True) for path in sorted({*job.read_only_mounts, *named_files})
    ]
    return local.DockerRunner(
        network_mode="host",
        mounts=writable + readable,
        user=f"{os.getuid()}:{os.getgid()}",  # else the folders that are mounted fill with files of root
        read_only=True,  # as on a cluster: a stage that writes beside its outputs and /tmp is found out here
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        environment={"HOME": "/tmp", "USER": "smar", **job.environment, **secrets},
    )


def _secrets() -> dict[str, str]:
    """Return this process's credentials of MLflow and of object stores, which a container has to be given.

    The job's file never holds them.
    """
    return {name: value for name, value in os.environ.items() if name in SECRETS or name.startswith(_STORES)}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
