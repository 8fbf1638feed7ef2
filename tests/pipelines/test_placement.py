"""What the config section ``cluster`` makes of the tasks of a compiled pipeline, read back from its YAML."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kfp.kubernetes
import pytest
import yaml

from pipelines.cli import invoke
from pipelines.compile import compile_pipeline
from pipelines.placement import KINDS
from pipelines.training_run import pipeline_arguments
from smar_core.config import RUN_SECTIONS, ClusterConfig, load_config
from smar_core.data.sources import Sources
from smar_core.errors import UserError
from smar_core.experiments.trials import shaping_values
from tests.pipelines.compiled_tasks import main_tasks

TRAININGS = ("exec-pretrain", "exec-train-gate", "exec-finetune")


class Compiled:
    """A compiled pipeline: executors and platform of its tasks."""

    def __init__(self, path: Path) -> None:
        self.pipeline, *platform = yaml.safe_load_all(path.read_text())
        self.kubernetes: dict[str, Any] = platform[0]["platforms"]["kubernetes"] if platform else {}

    def resources(self, executor: str) -> dict[str, Any]:
        found: dict[str, Any] = self.pipeline["deploymentSpec"]["executors"][executor]["container"]["resources"]
        return found

    def pod(self, executor: str) -> dict[str, Any]:
        found: dict[str, Any] = self.kubernetes["deploymentSpec"]["executors"][executor]
        return found


Compile = Callable[..., Compiled]


@pytest.fixture
def compile_with(tmp_path: Path) -> Compile:
    def compile_with(*settings: str, name: str = "training") -> Compiled:
        path = tmp_path / f"{name}.yaml"
        compile_pipeline(name, path, load_config("small", [f"cluster.{setting}" for setting in settings]).cluster)
        return Compiled(path)

    return compile_with


def test_each_kind_of_task_gets_its_own_resources(compile_with: Compile) -> None:
    made = compile_with(
        "data_num_cpus=3", "data_memory_gib=11", "training_memory_gib=40", "training_num_cpus=8", "other_num_cpus=0.25"
    )
    assert {
        name: (of["resourceCpuRequest"], of["resourceCpuLimit"], of["resourceMemoryRequest"], of["resourceMemoryLimit"])
        for name, of in (
            (n, made.resources(n)) for n in ("exec-prepare-data", "exec-pretrain", "exec-evaluate", "exec-record-run")
        )
    } == {
        "exec-prepare-data": ("3", "3", "11Gi", "11Gi"),
        "exec-pretrain": ("8", "8", "40Gi", "40Gi"),
        "exec-evaluate": ("2", "2", "8Gi", "8Gi"),
        "exec-record-run": ("0.25", "0.25", "2Gi", "2Gi"),
    }


def test_accelerators_bring_their_nodes_and_tolerations_and_other_tasks_stay_elsewhere(compile_with: Compile) -> None:
    made = compile_with(
        "training_accelerators=2",
        "accelerator=amd.com/gpu",
        "accelerator_node_selectors=[pool=gpu]",
        "accelerator_tolerations=['amd.com/gpu:NoSchedule', 'team=search:NoExecute']",
        "tolerations=[spot]",
        "node_selectors=[zone=b]",
    )
    for executor in TRAININGS:
        accelerator = made.resources(executor)["accelerator"]
        assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("amd.com/gpu", "2")
        assert made.pod(executor)["nodeSelector"]["labels"] == {"zone": "b", "pool": "gpu"}
        assert made.pod(executor)["tolerations"] == [
            {"key": "spot", "operator": "Exists"},
            {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "team", "operator": "Equal", "value": "search", "effect": "NoExecute"},
        ]
    for executor in ("exec-evaluate", "exec-prepare-data", "exec-record-run"):
        assert "accelerator" not in made.resources(executor)
        assert made.pod(executor)["nodeSelector"]["labels"] == {"zone": "b"}
        assert made.pod(executor)["tolerations"] == [{"key": "spot", "operator": "Exists"}]


def test_retries_outlast_the_tries_themselves(compile_with: Compile) -> None:
    """Kubeflow's default, an hour from the first start, would leave a longer training without its second try."""
    made = compile_with("num_retries=3", "retry_wait_seconds=10", "retry_wait_factor=3", "task_timeout_seconds=1000")
    assert main_tasks(made.pipeline)["pretrain"]["retryPolicy"] == {
        "maxRetryCount": 3,
        "backoffDuration": "10s",
        "backoffFactor": 3.0,
        "backoffMaxDuration": f"{4 * 1000 + 10 + 30 + 90}s",
    }
    assert made.pod("exec-pretrain")["activeDeadlineSeconds"] == "1000"
    assert "retryPolicy" not in main_tasks(compile_with("num_retries=0").pipeline)["pretrain"]


@pytest.mark.parametrize(("pods", "has_resources"), [("stage", True), ("trainjob", False)])
def test_a_stage_that_only_waits_for_its_trainjob_has_no_resources(pods: str, has_resources: bool, compile_with: Compile) -> None:
    """Nor accelerators; whoever trains in the stage's own pod keeps them."""
    components = compile_with(f"training_pods={pods}", "training_accelerators=2").pipeline["components"]
    for component in ("comp-pretrain", "comp-finetune"):
        passed = components[component]["taskConfigPassthroughs"]
        assert {one["field"]: one.get("applyToTask", False) for one in passed} == {
            "RESOURCES": has_resources,
            **dict.fromkeys(("ENV", "KUBERNETES_AFFINITY", "KUBERNETES_TOLERATIONS", "KUBERNETES_NODE_SELECTOR"), True),
            "KUBERNETES_VOLUMES": True,
        }
    assert "taskConfigPassthroughs" not in components["comp-train-gate"]


def test_trainings_keep_their_checkpoints_on_the_workspace(compile_with: Compile) -> None:
    """Kubeflow mounts it for a task that one of its parameters tells of it."""
    for settings, workspace in ((["workspace_gib=50"], "{{$.workspace_path}}"), ([], "")):
        tasks = main_tasks(compile_with(*settings).pipeline)
        for task in ("pretrain", "finetune"):
            assert tasks[task]["inputs"]["parameters"]["workspace"] == {"runtimeValue": {"constant": workspace}}


def test_volumes_of_a_task_and_of_a_run(compile_with: Compile) -> None:
    made = compile_with(
        "shared_memory_gib=3",
        "scratch_gib=7",
        "workspace_gib=50",
        "workspace_storage_class=fast",
        "workspace_access_mode=ReadWriteMany",
        "finished_ttl_seconds=60",
    )
    scratch = {"volumeName": "scratch", "mountPath": "/tmp", "sizeLimit": "7Gi"}
    shared = {"volumeName": "shared-memory", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "3Gi"}
    assert made.pod("exec-pretrain")["emptyDirMounts"] == [scratch, shared]
    assert made.pod("exec-record-run")["emptyDirMounts"] == [scratch]
    claim = {"accessModes": ["ReadWriteMany"], "storageClassName": "fast"}
    assert made.kubernetes["pipelineConfig"] == {
        "resourceTtlOnCompletion": 60,
        "workspace": {"size": "50Gi", "kubernetes": {"pvcSpecPatch": claim}},
    }
    assert "workspace" not in compile_with().kubernetes["pipelineConfig"]


def test_refresh_claims_no_volume_that_none_of_its_tasks_uses(compile_with: Compile) -> None:
    """Its stages begin anew where they are killed: nothing trains."""
    assert compile_with("workspace_gib=50", "finished_ttl_seconds=60", name="refresh").kubernetes["pipelineConfig"] == {
        "resourceTtlOnCompletion": 60
    }


def test_every_task_is_told_its_run_and_the_tracking_server_and_needs_none_of_it(compile_with: Compile) -> None:
    made = compile_with("object_store_secret=minio", "object_store_secret_keys=[AWS_ACCESS_KEY_ID=accesskey]", name="ablation")
    for name in made.pipeline["deploymentSpec"]["executors"]:
        pod = made.pod(name)
        assert pod["fieldPathAsEnv"] == [{"name": "KFP_PIPELINE_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
        (told,) = pod["configMapAsEnv"]
        assert told["configMapName"] == "smar" and told["optional"] is True
        assert {entry["envVar"] for entry in told["keyToEnv"]} == {"MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"}
        mlflow, store = pod["secretAsEnv"]
        assert mlflow["secretName"] == "smar-mlflow" and mlflow["optional"] is True and store["optional"] is True
        assert store["secretName"] == "minio"
        assert store["keyToEnv"] == [{"envVar": "AWS_ACCESS_KEY_ID", "secretKey": "accesskey"}]


def test_image_of_the_section_is_the_default_of_the_parameter_and_pulled_as_told(compile_with: Compile) -> None:
    made = compile_with("image=registry.example/smar:1.2.0", "image_pull_policy=Always", "image_pull_secrets=[registry]")
    parameter = made.pipeline["root"]["inputDefinitions"]["parameters"]["image"]
    assert parameter["defaultValue"] == "registry.example/smar:1.2.0"
    assert made.pod("exec-pretrain")["imagePullPolicy"] == "Always"
    assert [secret["secretName"] for secret in made.pod("exec-pretrain")["imagePullSecret"]] == ["registry"]


def test_as_many_trials_run_at_a_time_as_the_section_says(compile_with: Compile) -> None:
    tasks = main_tasks(compile_with("parallel_trials=4", name="sweep").pipeline).values()
    assert [task["iteratorPolicy"]["parallelismLimit"] for task in tasks if "iteratorPolicy" in task] == [4]


def test_stages_are_placed_by_the_names_of_their_components(compile_with: Compile) -> None:
    """A component that is renamed would silently get what the least task gets."""
    executors = [compile_with(name=name).pipeline["deploymentSpec"]["executors"].keys() for name in ("training", "refresh")]
    assert {f"exec-{name}" for name in KINDS} <= set().union(*executors)


def test_compiling_for_a_cluster_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(kfp, "kubernetes")
    monkeypatch.setitem(sys.modules, "kfp.kubernetes", None)
    with pytest.raises(UserError, match=r"pip install '\.\[cluster\]'"):
        compile_pipeline("training", tmp_path / "training.yaml", ClusterConfig())
    compile_pipeline("training", tmp_path / "training.yaml", cluster=None)


def test_pipeline_without_placement_has_one_document(tmp_path: Path) -> None:
    compile_pipeline("training", tmp_path / "training.yaml", cluster=None)
    assert len(list(yaml.safe_load_all((tmp_path / "training.yaml").read_text()))) == 1


def test_command_writes_what_it_is_told_and_refuses_what_a_run_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["compile", "--out", str(tmp_path), "--set", "cluster.training_memory_gib=33"]) == 0
    assert Compiled(tmp_path / "training.yaml").resources("exec-pretrain")["resourceMemoryLimit"] == "33Gi"
    assert invoke(["compile", "--out", str(tmp_path), "--set", "pretrain.num_steps=3"]) == 2
    assert "smar submit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("cluster.training_memory_gib=33", "cluster.training_memory_gib=33 places tasks on a cluster"),
        ("runtime.launcher=trainjob", "runtime.launcher=trainjob trains in pods of a cluster"),
    ],
)
def test_runs_on_this_machine_refuse_what_is_for_a_cluster(
    setting: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--items", "i.parquet", "--clicks", "c.parquet", "--out", str(tmp_path / "out")]
    for command in ("run", "ablate", "sweep"):
        assert invoke([command, *files, "--preset", "demo", "--set", setting]) == 2
        assert words in capsys.readouterr().err


def test_section_is_no_parameter_and_shapes_no_figure() -> None:
    plain, placed = load_config("demo"), load_config("demo", ["cluster.training_memory_gib=33", "cluster.num_retries=0"])
    sources, digests = Sources("/items", "/clicks"), {"items": "a", "clicks": "b"}
    assert pipeline_arguments(sources, None, digests, plain) == pipeline_arguments(sources, None, digests, placed)
    assert "cluster" not in RUN_SECTIONS
    assert shaping_values(plain) == shaping_values(placed)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["shared_memory_gib=8"], ("shared_memory_gib (8)", "training_memory_gib (8)", "raise the latter")),
        (["tolerations=[a=b:Never]"], ("tolerations", "'a=b:Never'", "key=value:NoSchedule")),
        (["node_selectors=[gpu]"], ("node_selectors", "'gpu'", "label=value")),
        (["mlflow_secret=My_Secret"], ("mlflow_secret", "'My_Secret'", "lower-case")),
        (["object_store_secret_keys=[access key]"], ("object_store_secret_keys", "VARIABLE=key")),
        (["num_retries=0", "retry_wait_seconds=5"], ("retry_wait_seconds (5)", "num_retries 0")),
        (["workspace_storage_class=fast"], ("workspace_storage_class", "workspace_gib 0")),
        (["accelerator=amd.com/gpu"], ("accelerator", "0 accelerators")),
    ],
)
def test_what_kubernetes_would_refuse_or_ignore_is_refused_at_once(settings: list[str], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        load_config("small", [f"cluster.{setting}" for setting in settings])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_default_keys_of_secrets_are_variables_that_libraries_read() -> None:
    config = ClusterConfig()
    assert config.mlflow_secret_keys == ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    assert config.object_store_secret_keys == ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")
