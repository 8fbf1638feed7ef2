"""A run that is killed and started again ends with what an uninterrupted one makes."""

import json
import os
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.pipelines.shop_runs import Shop, wait_for_side_file

# In the order of the stages, each with a side file that is there once the stage is well under way.
KILLED_IN = (
    ("prepare_data", "prepare_data.progress.json"),
    ("pretrain", "pretrain.progress.json"),
    ("finetune", "finetune.progress.json"),
    ("evaluate", "evaluate.progress.json"),
)
TRAINED_STEPS = 6  # one more than a checkpoint takes: the sooner it is killed, the less likely that it has ended


@pytest.fixture(scope="module")
def killed(tiny_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A working folder whose run is killed once in each of several stages."""
    return Shop(tmp_path_factory.mktemp("killed"), tiny_shop)


@pytest.mark.parametrize(("stage", "side_file"), KILLED_IN)
def test_killed_run_ends_its_stage_and_leaves_no_out(killed: Shop, stage: str, side_file: str) -> None:
    """Kubeflow's local runner leaves the stage's process alive when its own is killed, and MLflow its run running."""
    known = killed.runs()
    process = killed.start(killed.run_arguments("out"))
    assert wait_for_side_file(killed, side_file, known), f"{stage} never began"
    if stage in {"pretrain", "finetune"}:
        _wait_for_steps(killed.runs()[-1] / "side" / side_file)
    process.kill()
    process.communicate(timeout=60)
    assert not (killed.folder / "out").exists()
    _wait_until_nothing_runs(killed.runs()[-1])
    assert not (killed.runs()[-1] / "side" / f"{stage}.done.json").exists()
    client = MlflowClient(tracking_uri=f"sqlite:///{killed.folder}/mlflow.db")
    runs = client.search_runs(
        [client.get_experiment_by_name("smar").experiment_id], f"tags.`kfp.pipeline_run_id` = '{killed.runs()[-1].name}'"
    )
    statuses = {run.info.status for run in runs if "smar.stage" not in run.data.tags}
    assert statuses and statuses <= {"KILLED", "FAILED"}


def test_run_started_again_equals_an_uninterrupted_one(killed: Shop, finished: Shop) -> None:
    run = killed.run("out")
    assert run["stages"]["prepare_data"]["status"] == run["stages"]["pretrain"]["status"] == "cached"
    assert killed.read("out", "lineage.json")["artifacts"] == finished.read("first", "lineage.json")["artifacts"]
    assert (killed.folder / "out" / "metrics.json").read_bytes() == (finished.folder / "first" / "metrics.json").read_bytes()


def test_work_folders_are_gone_after_a_finished_run(killed: Shop) -> None:
    """One would be left if a stage that was started again had not found the work folder of its first start."""
    assert list((killed.folder / ".smar" / "store" / "work").iterdir()) == []


def _wait_for_steps(progress_file: Path) -> None:
    """Wait until enough steps are done for a checkpoint to be there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        progress = json.loads(progress_file.read_text())
        if progress["phase"] == "train" and progress["done"] >= TRAINED_STEPS:
            return
        time.sleep(0.02)
    raise AssertionError(f"{progress_file} never came to step {TRAINED_STEPS}")


def _wait_until_nothing_runs(run: Path) -> None:
    """Wait until no process of a run is left."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not _processes_of(run):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {_processes_of(run)}")


def _processes_of(run: Path) -> list[str]:
    """Return the command lines of processes that were told of a run through their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(f"SMAR_SIDE_DIR={run / 'side'}\0") in environment:
            found.append(process.name)
    return found
