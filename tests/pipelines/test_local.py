"""A pipeline run on this machine whose processes are killed: what the user is told, and how its run in MLflow ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from kfp import dsl
from kfp.compiler import Compiler
from mlflow import MlflowClient

from components.image import IMAGE
from components.surroundings import Surroundings
from pipelines import local_worker
from pipelines.local import PipelineFailedError, run_job, worker_environment
from pipelines.state import RunFolder, StateFolder
from smar_core.errors import EXIT_INTERRUPTED, UserError


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def kill_runner() -> None:
    """Kill the worker, which leads the session, as the kernel does for want of memory."""
    import os
    import signal

    os.kill(os.getsid(0), signal.SIGKILL)


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def wait() -> None:
    """Begin, and do nothing more for a minute."""
    import time

    from components.task import open_task

    with open_task("wait"):
        time.sleep(60)


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def digest_wrongly() -> None:
    """Fail as the task that takes digests does where a file cannot be read."""
    from components.input_digests import NAME
    from components.task import open_task
    from smar_core.errors import UserError

    with open_task(NAME):
        raise UserError("the bucket is gone", "name another")


class Run:
    """A run of a pipeline of one task.

    Args:
        folder: Working folder.
        task: The component.
    """

    def __init__(self, folder: Path, task: Callable[[], Any]) -> None:
        state = StateFolder.of(folder)
        self.folder: RunFolder = state.new_run()
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.around = Surroundings(self.folder.side, state.store, self.uri, "smar", self.folder.run_id)

        @dsl.pipeline(name="smar-test")
        def pipeline() -> None:
            task()

        Compiler().compile(pipeline, str(self.folder.pipeline))
        self.job = local_worker.Job(
            pipeline=self.folder.pipeline,
            arguments={},
            pipeline_root=state.pipeline_root,
            cache_root=state.cache,
            use_cache=False,
            runner="subprocess",
            run_name="test",
        )

    def run(self) -> None:
        """Run it as the command line does."""
        run_job(self.job, self.folder, self.around, (), 1, lambda states: None)

    def start_worker(self) -> "tuple[subprocess.Popen[bytes], IO[str]]":
        """Start its worker process alone, and return it with the handle by which whoever started it is known to live."""
        self.folder.job.write_text(self.job.model_dump_json())
        alive = self.folder.keep_alive()
        command = [sys.executable, "-m", local_worker.__name__, str(self.folder.job)]
        with self.folder.log.open("wb") as log:
            environment = os.environ | dict(worker_environment(self.around, 1))
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log), alive

    def status(self) -> str:
        """Return the status of its run in MLflow."""
        client = MlflowClient(tracking_uri=self.uri)
        experiment = client.get_experiment_by_name("smar")
        (found,) = client.search_runs([experiment.experiment_id])
        return str(found.info.status)


def test_a_worker_that_is_killed_leaves_no_run_that_runs_for_ever(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command line said that the run had failed, and MLflow went on showing it as running."""
    run = Run(tmp_path, kill_runner)
    with pytest.raises(PipelineFailedError, match=f"ended with code -{signal.SIGKILL.value}"):
        run.run()
    assert run.status() == "KILLED"
    assert not capfd.readouterr().err, "only the command line speaks there"


def test_a_worker_whose_starter_is_gone_ends_its_run_first(tmp_path: Path) -> None:
    """Who kills the command line leaves nobody to end the run but the worker, which went without a word."""
    run = Run(tmp_path, wait)
    worker, alive = run.start_worker()
    end = time.monotonic() + 60
    while not (run.folder.side / "wait.started.json").is_file():
        assert worker.poll() is None and time.monotonic() < end, run.folder.log.read_text()
        time.sleep(0.05)
    alive.close()
    assert worker.wait(30) == EXIT_INTERRUPTED
    assert run.status() == "KILLED"


def test_a_digest_that_cannot_be_taken_is_told_in_the_tasks_own_words(tmp_path: Path) -> None:
    """No display shows that task, and its error was looked for among the shown ones alone."""
    with pytest.raises(UserError, match="the bucket is gone"):
        Run(tmp_path, digest_wrongly).run()
