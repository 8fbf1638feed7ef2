"""The compiled pipelines: as committed, complete, and within the limits of a cluster."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from components.record import STAGE_OUTPUTS
from pipelines.cli import invoke
from pipelines.compile import PIPELINES, RESOURCES, compile_pipeline, compiled, disable_caching, fit_local_runner, version_of
from pipelines.experiment_run import LONGEST_PARAMETERS
from pipelines.jobs import INPUT_FILES
from pipelines.placement import IMAGE_PARAMETER
from pipelines.training_run import pipeline_arguments
from smar_core.config import PRESETS, STAGE_SECTIONS, load_config
from smar_core.data.sources import Sources
from tests.pipelines.compiled_tasks import all_tasks, main_tasks, pipeline_parameter


def load_documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def load(name: str) -> dict[str, Any]:
    return load_documents(compiled(name))[0]


def executors_of(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    executors: dict[str, dict[str, Any]] = spec["deploymentSpec"]["executors"]
    return executors


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return load("training")


@pytest.fixture(scope="module", params=PIPELINES)
def documents(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return load_documents(compiled(request.param))


@pytest.fixture
def any_spec(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


def test_committed_pipelines_and_resources_are_the_compiled_ones(tmp_path: Path) -> None:
    assert invoke(["compile", "--out", str(tmp_path)]) == 0
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.yaml"))
    committed = sorted(path.relative_to(compiled("training").parent) for path in compiled("training").parent.rglob("*.yaml"))
    assert written == committed
    assert len(written) == 2 * len(PIPELINES)
    for path in written:
        assert (tmp_path / path).read_text() == (compiled("training").parent / path).read_text(), "run: smar compile"


def test_pipeline_and_platform_are_what_their_protobufs_know(documents: list[dict[str, Any]]) -> None:
    """Unknown fields are rejected."""
    pipeline, platform = documents
    parsed = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    deployment = json_format.MessageToDict(parsed.deployment_spec)
    json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    placed = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert placed.keys() == deployment["executors"].keys()
    for executor in placed.values():
        json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


@pytest.mark.parametrize("name", PIPELINES)
def test_resources_hold_the_two_documents_under_a_name_of_their_content(name: str) -> None:
    pipeline, version = load_documents(compiled(name, compiled(name).parent / RESOURCES))
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert {pipeline["apiVersion"], version["apiVersion"]} == {"pipelines.kubeflow.org/v2beta1"}
    assert pipeline["metadata"] == {"name": f"smar-{name}"} and version["spec"]["pipelineName"] == f"smar-{name}"
    assert version["metadata"] == {"name": version_of(name, compiled(name))}
    assert version["spec"]["displayName"] == version["metadata"]["name"], "smar submit looks for it by this name"
    assert [version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]] == load_documents(compiled(name))


def test_nothing_of_this_machine_and_no_secret_is_in_the_committed_files() -> None:
    """Secrets are named, and only ever by the name of the object that holds them."""
    for path in compiled("training").parent.rglob("*.yaml"):
        text = path.read_text()
        assert str(Path(__file__).resolve().parents[2]) not in text
        assert str(Path.home()) + "/" not in text
        names = {line.split()[-1] for line in text.splitlines() if "secretName:" in line}
        assert names == {"smar-mlflow", "smar-object-store"}
        assert not any(word in text.lower() for word in ("bearer ", "akia", "begin private key"))


def test_seven_stages_are_cached_and_the_tasks_around_them_are_not(spec: dict[str, Any]) -> None:
    tasks = main_tasks(spec)
    cached = {name.replace("-", "_") for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(STAGE_OUTPUTS)
    assert set(tasks) - {name.replace("_", "-") for name in cached} == {"digest-inputs", "record-run"}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_is_told_the_digests_that_the_run_itself_takes(name: str) -> None:
    """A run from Kubeflow's page knew no digests, so that its cache gave last week's data, and no run was found by them."""
    tasks = main_tasks(load(name))
    taker = tasks.pop("digest-inputs")
    assert not taker["cachingOptions"] and "dependentTasks" not in taker
    digests = {name for name in taker["inputs"]["parameters"] if name.endswith("_digest")}
    assert digests == {f"{file}_digest" for file in INPUT_FILES}
    sources = [
        source
        for task in tasks.values()
        for parameter, source in task.get("inputs", {}).get("parameters", {}).items()
        if parameter.removeprefix("pipelinechannel--").removeprefix("digest-inputs-") in digests
    ]
    assert {source["taskOutputParameter"]["producerTask"] for source in sources} == {"digest-inputs"}
    assert {source["taskOutputParameter"]["outputParameterKey"] for source in sources} == digests


def test_a_task_follows_all_others_however_they_end(any_spec: dict[str, Any]) -> None:
    """Nothing of a loop may leave through the handler's inputs: Kubeflow's backend cannot give it a value there."""
    held, last = sorted(any_spec["root"]["dag"]["tasks"].values(), key=lambda task: "triggerPolicy" in task)
    assert not [name for name in held["inputs"]["parameters"] if "loop-item" in name]
    assert last["componentRef"]["name"] == "comp-end-run"
    assert last["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert last["dependentTasks"] == [held["componentRef"]["name"].removeprefix("comp-")]
    assert not last["cachingOptions"].get("enableCache")


def test_commands_install_nothing_and_run_in_the_image_of_the_parameter(any_spec: dict[str, Any]) -> None:
    for executor in executors_of(any_spec).values():
        container = executor["container"]
        assert container["image"] == "{{$.inputs.parameters['pipelinechannel--image']}}"
        assert not any("pip install" in part for part in container["command"])
        assert max(len(part.encode()) for part in (*container["command"], *container["args"])) < 128 * 1024


def test_the_image_is_a_parameter_that_has_to_be_given(any_spec: dict[str, Any]) -> None:
    assert any_spec["root"]["inputDefinitions"]["parameters"][IMAGE_PARAMETER] == {
        "parameterType": "STRING",
        "description": "Container image, by digest, that every task runs in.",
    }


@pytest.mark.parametrize("name", PIPELINES)
def test_a_local_run_has_its_image_in_the_file_and_tries_no_task_again(name: str, tmp_path: Path) -> None:
    """A training that diverged waited a minute, then two, and diverged again, before the experiment said so."""
    path = tmp_path / "local.yaml"
    compile_pipeline(name, path, cluster=None)
    fit_local_runner(path, "registry.example/smar:1")
    committed, (local,) = load(name), load_documents(path)
    assert {executor["container"]["image"] for executor in executors_of(local).values()} == {"registry.example/smar:1"}
    for label, executor in executors_of(local).items():
        for part in ("command", "args"):
            assert executor["container"][part] == executors_of(committed)[label]["container"][part]
    left_out = {"exec-digest-inputs"} if name in ("ablation", "sweep") else set()
    assert set(executors_of(committed)) - set(executors_of(local)) == left_out, "their loops could not be given its outputs"
    assert any("retryPolicy" in task for task in all_tasks(committed))
    assert not any("retryPolicy" in task for task in all_tasks(local))
    assert len(list(all_tasks(local))) == len(list(all_tasks(committed))) - len(left_out)


def test_caching_can_be_taken_from_every_task_in_loops_too(tmp_path: Path) -> None:
    path = tmp_path / "uncached.yaml"
    shutil.copyfile(compiled("ablation"), path)
    disable_caching(path)
    pipeline, platform = load_documents(path)
    assert [task["cachingOptions"] for task in all_tasks(pipeline)] == [{}] * len(list(all_tasks(load("ablation"))))
    assert platform == load_documents(compiled("ablation"))[1]


@pytest.mark.parametrize("name", ["ablation", "sweep"])
def test_trials_run_one_after_the_other_with_every_stage_cached(name: str) -> None:
    """Two trainings at a time would need twice the memory."""
    spec = load(name)
    (loop,) = [task for task in main_tasks(spec).values() if "parameterIterator" in task]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 1
    tasks = spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]
    cached = {task.replace("-", "_") for task, of in tasks.items() if of["cachingOptions"].get("enableCache")}
    assert cached == set(STAGE_OUTPUTS) - {"prepare_data"}
    assert {task for task in tasks if task.replace("-", "_") not in cached} == {"configure-2", "record-trial"}


def test_each_stage_is_handed_its_own_sections_only(spec: dict[str, Any]) -> None:
    for stage, sections in STAGE_SECTIONS.items():
        given = main_tasks(spec)[stage.replace("_", "-")]["inputs"]["parameters"]
        named = {pipeline_parameter(value) for value in given.values()} & set(type(load_config()).model_fields)
        assert named == set(sections)


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_stay_below_the_limit_of_a_cluster(preset: str) -> None:
    """The backend's default limit is 10,000 characters for all parameters."""
    config = load_config(preset)
    arguments = pipeline_arguments(Sources("/data/items", "/data/clicks"), None, {"items": "0" * 64, "clicks": "0" * 64}, config)
    assert len(json.dumps(arguments)) < LONGEST_PARAMETERS
