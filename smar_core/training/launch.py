"""Starting the processes of a training: here by ``torchrun``, elsewhere by whatever ``Launcher`` the stage was given.

``torchrun`` runs ``smar_core.training.worker`` on the job file in every process, on this machine as in each pod of a Kubeflow
TrainJob, so that both are one code path from the process on. How pods come to be is known to the launcher alone, which lives
where Kubernetes may be known (``components.trainjob``).

Processes of this machine end with the stage, however it ends: their standard input is a pipe that nobody writes to, and it
closes.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from smar_core.artifact import Artifact
from smar_core.config import RuntimeConfig, Section
from smar_core.errors import EXIT_INTERRUPTED, UserError
from smar_core.progress import Progress
from smar_core.stage import StageContext
from smar_core.training.job import Job

WORKER = "smar_core.training.worker"
"""The module that every process of a job runs, with the job file as its argument."""

UNTIL_STDIN_ENDS = "--until-stdin-ends"

_POLL_SECONDS = 0.2


class Launcher(Protocol):
    """Somebody who can start the processes of a job."""

    def run(self, job: Job, runtime: RuntimeConfig, progress: Progress) -> None:
        """Run a job in ``runtime.num_processes`` processes, and return when all of them have ended well.

        Args:
            job: The job, not yet written; its output and its figures are there in the end.
            runtime: How many processes, on how many machines.
            progress: Told what the first process says.

        Raises:
            UserError, DivergedError, ArtifactError: One of the processes raised it.
            RuntimeError: One of them failed in another way.
        """


class Torchrun:
    """Starts the processes on this machine."""

    def run(self, job: Job, runtime: RuntimeConfig, progress: Progress) -> None:
        """Run a job, as ``Launcher`` says; none of its processes outlives the call."""
        job.write()
        arguments = torchrun_arguments(job, runtime.num_processes, "--standalone", f"--log-dir={job.folder / 'log'}")
        with subprocess.Popen([sys.executable, *arguments, UNTIL_STDIN_ENDS], stdin=subprocess.PIPE) as process:
            try:
                while process.poll() is None:
                    time.sleep(_POLL_SECONDS)
                    job.pass_on(progress)
            finally:
                process.terminate()
        if process.returncode:
            raise job.first_error() or RuntimeError(
                f"the training processes ended with exit code {process.returncode} and left no error: see the log above"
            )


def torchrun_arguments(job: Job, num_processes: int, *options: str) -> list[str]:
    """Return the arguments with which Python runs a job on one machine.

    Args:
        job: The job, whose file each process reads.
        num_processes: Processes of this machine.
        options: Of ``torchrun``; where the machines find each other is not among them when the surroundings say it.
    """
    return ["-m", "torch.distributed.run", f"--nproc-per-node={num_processes}", *options, "-m", WORKER, str(job.file)]


def run_in_processes(
    stage: str,
    inputs: Mapping[str, Artifact],
    output: Path,
    sections: Mapping[str, Section],
    context: StageContext,
    runtime: RuntimeConfig,
    trainjobs: Launcher | None,
) -> dict[str, float]:
    """Run a stage function in processes of their own.

    Args:
        stage: ``pretrain`` or ``finetune``.
        inputs, sections: What it is called with, by parameter; ``runtime`` is among the sections.
        output: Folder of the output artifact.
        context: Work folder, parents and progress.
        runtime: Who starts how many.
        trainjobs: Starts them where ``runtime.launcher`` is ``trainjob``; None: nobody can.

    Returns:
        What the function returned in the first process.

    Raises:
        UserError: TrainJobs are asked for, and there is nobody to start them.
        UserError, DivergedError, ArtifactError: One of the processes raised it.
        RuntimeError: One of them failed in another way.
    """
    launcher = Torchrun() if runtime.launcher == "torchrun" else trainjobs
    if launcher is None:
        raise UserError(
            "runtime.launcher is trainjob, and this stage does not run on a cluster",
            "set runtime.launcher to torchrun or local, or run the pipeline on Kubeflow",
        )
    job = Job(
        stage,
        {name: (artifact.kind, str(artifact.path)) for name, artifact in inputs.items()},
        str(output),
        {name: section.model_dump(mode="json") for name, section in sections.items()},
        context.config_digest,
        str(context.work),
        dict(context.parents),
    )
    launcher.run(job, runtime, context.progress)
    return job.figures()


def end_with_starter() -> None:
    """End this process, from a thread, when its standard input does."""
    threading.Thread(target=_read_to_end, name="end-with-starter", daemon=True).start()


def _read_to_end() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(EXIT_INTERRUPTED)
