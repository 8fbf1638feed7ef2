"""The compiled pipeline: as committed, complete, and within the limits of a cluster."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.record import STAGE_OUTPUTS
from pipelines.cli import invoke
from pipelines.compile import PIPELINES, compiled, pin_image
from pipelines.placement import IMAGE_PARAMETER
from pipelines.training_run import pipeline_arguments
from smar_core.config import PRESETS, STAGE_SECTIONS, load_config
from smar_core.data.sources import Sources


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(compiled(name).read_text())
    return loaded


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return load("training")


@pytest.fixture(scope="module", params=PIPELINES)
def any_spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def test_committed_pipelines_are_the_compiled_ones(tmp_path: Path) -> None:
    assert invoke(["compile", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(compiled(name).name for name in PIPELINES)
    for name in PIPELINES:
        assert compiled(name, tmp_path).read_text() == compiled(name).read_text(), "run: smar compile"


def test_is_a_valid_pipeline_spec(any_spec: dict[str, Any]) -> None:
    parsed = json_format.ParseDict(any_spec, pipeline_spec_pb2.PipelineSpec())
    deployment = json_format.MessageToDict(parsed.deployment_spec)
    json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig())


def test_seven_stages_are_cached_and_the_last_task_is_not(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    cached = {name.replace("-", "_") for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(STAGE_OUTPUTS)
    assert set(tasks) - {name.replace("_", "-") for name in cached} == {"record-run"}


def test_commands_install_nothing_and_run_in_the_image_of_the_parameter(any_spec: dict[str, Any]) -> None:
    for executor in any_spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert container["image"] == "{{$.inputs.parameters['pipelinechannel--image']}}"
        assert not any("pip install" in part for part in container["command"])
        assert max(len(part.encode()) for part in (*container["command"], *container["args"])) < 128 * 1024


def test_the_image_is_a_parameter_that_has_to_be_given(any_spec: dict[str, Any]) -> None:
    assert any_spec["root"]["inputDefinitions"]["parameters"][IMAGE_PARAMETER] == {
        "parameterType": "STRING",
        "description": "Container image, by digest, that every task runs in.",
    }


def test_pinned_images_stand_in_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "pinned.yaml"
    shutil.copyfile(compiled("ablation"), path)
    pin_image(path, "registry.example/smar:1")
    executors = yaml.safe_load(path.read_text())["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {"registry.example/smar:1"}


@pytest.mark.parametrize("name", ["ablation", "sweep"])
def test_trials_run_one_after_the_other_with_every_stage_cached(name: str) -> None:
    """Two trainings at a time would need twice the memory."""
    spec = load(name)
    (loop,) = [task for task in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in task]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 1
    tasks = spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]
    cached = {task.replace("-", "_") for task, of in tasks.items() if of["cachingOptions"].get("enableCache")}
    assert cached == set(STAGE_OUTPUTS) - {"prepare_data"}
    assert {task for task in tasks if task.replace("-", "_") not in cached} == {"configure-2", "record-trial"}


def test_each_stage_is_handed_its_own_sections_only(spec: dict[str, Any]) -> None:
    for stage, sections in STAGE_SECTIONS.items():
        given = spec["root"]["dag"]["tasks"][stage.replace("_", "-")]["inputs"]["parameters"]
        named = {value.get("componentInputParameter") for value in given.values()} & set(type(load_config()).model_fields)
        assert named == set(sections)


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_stay_below_the_limit_of_a_cluster(preset: str) -> None:
    """The backend's default limit is 10,000 characters for all parameters."""
    config = load_config(preset)
    arguments = pipeline_arguments(Sources("/data/items", "/data/clicks"), None, {"items": "0" * 64, "clicks": "0" * 64}, config)
    assert sum(map(len, arguments.values())) < 10_000
