"""The compiled pipeline in the image: as without containers."""

import json
from pathlib import Path

import pytest
import yaml

from components.image import image_reference
from components.stage import ARTIFACT_KINDS
from smar_core.artifact import open_artifact
from tests.containers.conftest import DemoRuns, RunStage
from tests.containers.tasks import Task

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

UNTRAINED = ("items", "clicks", "tokenizer", "rejects", "synthetic")
"""Artifacts of the stages before training: no floating point sum depends on the machine there."""

RECALL_MARGIN = 0.002


@pytest.mark.parametrize("name", UNTRAINED)
def test_artifacts_equal_those_of_plain_processes(demo_runs: DemoRuns, name: str) -> None:
    digests = [run["artifacts"][name]["digest"] for run in (demo_runs.in_containers, demo_runs.as_processes)]
    assert digests[0] == digests[1]


def test_the_trained_model_is_as_good_as_that_of_plain_processes(demo_runs: DemoRuns) -> None:
    assert demo_runs.recalls[0] > 0
    assert abs(demo_runs.recalls[0] - demo_runs.recalls[1]) <= RECALL_MARGIN


def test_every_task_ran_in_the_image_of_this_working_tree(demo_runs: DemoRuns) -> None:
    spec = next(yaml.safe_load_all((demo_runs.shop.folder / "out" / "pipeline.yaml").read_text()))
    executors = spec["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {image_reference()}
    assert {stage["status"] for stage in demo_runs.in_containers["stages"].values()} == {"executed"}


@pytest.mark.parametrize("stage", ["prepare_data", "train_gate", "evaluate"])
def test_a_compiled_command_needs_neither_network_nor_rights(
    stage: str, run_stage: RunStage, outputs: Path, demo_runs: DemoRuns
) -> None:
    """No network, a user whom the image does not know, a read-only root: the outputs are those of the pipeline run."""
    ended = run_stage(stage)
    assert ended.code == 0, ended.log
    made = [name for name in Task.read(stage).outputs if name in ARTIFACT_KINDS]
    digests = {name: open_artifact(outputs / name, ARTIFACT_KINDS[name]).digest for name in made}
    assert digests == {name: demo_runs.in_containers["artifacts"][name]["digest"] for name in made}
    assert json.loads((outputs / "executor_output.json").read_text())["artifacts"]
