"""A run that is killed and started again ends with what an uninterrupted one makes."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
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
pytestmark = pytest.mark.timeout(1200)  # the first test waits for the kills in all stages
TRAINED_STEPS = 6  # one more than a checkpoint takes: the sooner it is killed, the less likely that it has ended


@dataclass(frozen=True)
class Remains:
    """What a killed run left: its state folder, and whether there was an OUT."""

    run: Path
    has_out: bool


@dataclass(frozen=True)
class Killed:
    """A working folder whose run was killed once in each of several stages, and what each kill left, by stage."""

    shop: Shop
    remains: Mapping[str, Remains]


@pytest.fixture(scope="module")
def killed(tiny_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    shop = Shop(tmp_path_factory.mktemp("killed"), tiny_shop)
    return Killed(shop, {stage: _kill_in(shop, stage, side_file) for stage, side_file in KILLED_IN})


@pytest.fixture(scope="module")
def resumed(killed: Killed) -> Shop:
    """The same folder after the run that was started again with OUT ``out`` has come to its end."""
    killed.shop.run("out")
    return killed.shop


def _kill_in(shop: Shop, stage: str, side_file: str) -> Remains:
    known = shop.runs()
    process = shop.start(shop.run_arguments("out"))
    assert wait_for_side_file(shop, side_file, known), f"{stage} never began"
    run = shop.runs()[-1]
    if stage in {"pretrain", "finetune"}:
        _wait_for_steps(run / "side" / side_file)
    process.kill()
    process.communicate(timeout=60)
    has_out = (shop.folder / "out").exists()
    _wait_until_nothing_runs(run)
    return Remains(run, has_out)


@pytest.mark.parametrize("stage", [stage for stage, _ in KILLED_IN])
def test_killed_run_ends_its_stage_and_leaves_no_out(killed: Killed, stage: str) -> None:
    """Kubeflow's local runner leaves the stage's process alive when its own is killed, and MLflow its run running."""
    run = killed.remains[stage].run
    assert not killed.remains[stage].has_out
    assert (run / "side" / f"{stage}.started.json").exists() and not (run / "side" / f"{stage}.done.json").exists()
    client = MlflowClient(tracking_uri=f"sqlite:///{killed.shop.folder}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("smar").experiment_id], f"tags.`kfp.pipeline_run_id` = '{run.name}'")
    statuses = {run.info.status for run in runs if "smar.stage" not in run.data.tags}
    assert statuses and statuses <= {"KILLED", "FAILED"}


def test_run_started_again_equals_an_uninterrupted_one(resumed: Shop, finished: Shop) -> None:
    stages = resumed.read("out", "run.json")["stages"]
    assert stages["prepare_data"]["status"] == stages["pretrain"]["status"] == "cached"
    assert resumed.read("out", "lineage.json")["artifacts"] == finished.read("first", "lineage.json")["artifacts"]
    assert (resumed.folder / "out" / "metrics.json").read_bytes() == (finished.folder / "first" / "metrics.json").read_bytes()


def test_work_folders_are_gone_after_a_finished_run(resumed: Shop) -> None:
    """One would be left if a stage that was started again had not found the work folder of its first start."""
    assert list((resumed.folder / ".smar" / "store" / "work").iterdir()) == []


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
