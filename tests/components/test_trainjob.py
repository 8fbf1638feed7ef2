"""TrainJobs by the real client of Kubeflow Trainer, against an API server that a test plays; in one test real pods' processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.trainjob import TrainJobs, by_service_account, trainjobs
from smar_core.artifact import open_artifact
from smar_core.config import LossConfig, ModelConfig, PretrainConfig, RuntimeConfig
from smar_core.errors import EXIT_INTERRUPTED, DivergedError, UserError
from smar_core.progress import SILENT, FileProgress
from smar_core.stage import StageContext
from smar_core.training.job import Job
from smar_core.training.pretrain import pretrain
from tests.components.stub_kubernetes import IMAGE, NAMESPACE, OWN_POD, StubKubernetes, serve

NAME = "smar-finetune-"


@pytest.fixture
def stub() -> StubKubernetes:
    return StubKubernetes()


@pytest.fixture
def launcher(stub: StubKubernetes, volume: Path) -> Iterator[TrainJobs]:
    task = dsl.TaskConfig(
        volumes=[
            {"name": "kfp-workspace", "persistentVolumeClaim": {"claimName": "run-1-workspace"}},
            {"name": "key", "secret": {"secretName": "key"}},
        ],
        volume_mounts=[
            {"name": "kfp-workspace", "mountPath": str(volume)},
            {"name": "key", "mountPath": "/key"},
        ],
        env=[
            {"name": "NCCL_DEBUG", "value": "WARN"},
            {"name": "PET_NNODES", "value": "9"},
            {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "secret"}}},
        ],
        resources={"limits": {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "2"}, "requests": {"cpu": "1"}},
        node_selector={"pool": "training"},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}],
    )
    with serve(stub) as kubernetes:
        yield TrainJobs(OWN_POD, task, kubernetes, poll_seconds=1)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Return the folder of the volume that the pods share."""
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


@pytest.fixture
def job(tmp_path: Path, volume: Path) -> Job:
    """Return a job whose input and output lie where only the stage's pod sees them."""
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "rows").write_text("ten")
    return Job("finetune", {"items": ("items", str(tmp_path / "items"))}, str(tmp_path / "model"), {}, "", str(volume / "w"), {})


RUNTIME_OF_TWO = RuntimeConfig(launcher="trainjob", num_processes=4, num_nodes=2)


def file_of(trainjob: dict[str, Any]) -> Job:
    """Return the job that a TrainJob runs."""
    return Job.read(Path(trainjob["spec"]["trainer"]["args"][-1]))


class Trainer:
    """Plays Kubeflow Trainer: the first pod prints two lines and leaves a model and its figures."""

    def __init__(self, stub: StubKubernetes) -> None:
        self._stub = stub
        stub.on_created = self.train

    def train(self, trainjob: dict[str, Any]) -> None:
        name, job = trainjob["metadata"]["name"], file_of(trainjob)
        pod = self._stub.start_pod(name)
        self._stub.write_log(pod, "step 1", "step 2")
        self.end(name, pod, job)

    def end(self, name: str, pod: str, job: Job) -> None:
        FileProgress(job.progress_file, job.stage).update("training", 2, 2, loss=0.5)
        Path(job.output).mkdir()
        (Path(job.output) / "weights").write_text(Path(job.inputs["items"][1], "rows").read_text())
        job.leave_figures({"loss": 0.5})
        self._stub.end_pod(pod)
        self._stub.end_trainjob(name)


def test_trainjob_is_like_the_stages_own_pod(stub: StubKubernetes, launcher: TrainJobs, job: Job, volume: Path) -> None:
    """Image, resources, nodes and the volume are the same; secrets, and what the Trainer itself sets, are not passed on."""
    Trainer(stub)
    launcher.run(job, RUNTIME_OF_TWO, SILENT)
    (created,) = stub.created
    assert created["metadata"]["name"].startswith(NAME)
    assert created["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "smar",
        "app.kubernetes.io/component": "finetune",
        "pipeline/runid": "run-1",
    }
    spec = created["spec"]
    assert spec["activeDeadlineSeconds"] == 7200  # as long as the stage's pod may live
    assert spec["runtimeRef"] == {"kind": "ClusterTrainingRuntime", "name": "torch-distributed"}
    limits = {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "2"}
    file = str(volume / "w" / "job" / "job.json")
    assert spec["trainer"] == {
        "image": IMAGE,
        "numNodes": 2,
        "command": ["python3"],
        "args": ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "smar_core.training.worker", file],
        "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
        "resourcesPerNode": {"limits": limits, "requests": limits},
    }
    (patch,) = spec["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template = node["template"]["spec"]["template"]
    assert template["metadata"]["labels"] == created["metadata"]["labels"]
    pod = template["spec"]
    assert pod["nodeSelector"] == {"pool": "training"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "registry-key"}]
    claim, *own = pod["volumes"]
    assert claim == {"name": "kfp-workspace", "persistentVolumeClaim": {"claimName": "run-1-workspace"}}
    assert own == [
        {"name": "smar-scratch", "emptyDir": {"sizeLimit": "20Gi"}},
        {"name": "smar-shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
    ]
    (container,) = pod["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert paths == {"kfp-workspace": str(volume), "smar-scratch": "/tmp", "smar-shared-memory": "/dev/shm"}


def test_pods_run_as_the_stages_user_and_keep_to_the_restricted_standard(
    stub: StubKubernetes, launcher: TrainJobs, job: Job
) -> None:
    """Another user could not write the volume."""
    Trainer(stub)
    launcher.run(job, RUNTIME_OF_TWO, SILENT)
    (patch,) = stub.created[0]["spec"]["runtimePatches"]
    pod = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 2000}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsUser": 10001,
    }


def log_lines(printed: list[str]) -> list[str]:
    """Return what was printed of a pod's log."""
    return [line for line in printed if not line.startswith("TrainJob ")]


class Heard:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int, dict[str, float]]] = []

    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        self.told.append((phase, done, total, figures))


def test_log_and_progress_are_passed_on_and_the_trainjob_removed(
    stub: StubKubernetes, launcher: TrainJobs, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    Trainer(stub)
    heard = Heard()
    launcher.run(job, RUNTIME_OF_TWO, heard)
    assert heard.told[-1] == ("training", 2, 2, {"loss": 0.5})
    name = stub.created[0]["metadata"]["name"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"TrainJob {NAMESPACE}/{name} created"
    assert f"TrainJob {name}: node-0 Succeeded" in printed
    assert log_lines(printed) == ["step 1", "step 2"]
    assert stub.deleted == [name]
    assert (Path(job.output) / "weights").read_text() == "ten"
    assert job.figures() == {"loss": 0.5}


def test_log_goes_on_where_its_connection_broke_off(
    stub: StubKubernetes, launcher: TrainJobs, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    class SlowTrainer(Trainer):
        def end(self, name: str, pod: str, job: Job) -> None:
            stub.break_log_after(pod, 1)
            threading.Timer(2.5, super().end, (name, pod, job)).start()

    SlowTrainer(stub)
    launcher.run(job, RUNTIME_OF_TWO, SILENT)
    assert log_lines(capsys.readouterr().out.splitlines()) == ["step 1", "step 2"]


def test_error_of_a_process_ends_the_trainjob(stub: StubKubernetes, launcher: TrainJobs, job: Job) -> None:
    """A pod would be started again and again, and fail in the same way."""

    class FailingTrainer(Trainer):
        def end(self, name: str, pod: str, job: Job) -> None:
            job.leave_error(DivergedError("the loss is nan"))

    FailingTrainer(stub)
    with pytest.raises(DivergedError, match="the loss is nan"):
        launcher.run(job, RUNTIME_OF_TWO, SILENT)
    assert stub.trainjobs == {}


def test_trainjob_that_failed_says_why_and_is_left(stub: StubKubernetes, launcher: TrainJobs, job: Job) -> None:
    class KilledTrainer(Trainer):
        def end(self, name: str, pod: str, job: Job) -> None:
            stub.end_pod(pod, "Failed")
            stub.end_trainjob(name, "Failed", "FailedJobs", "jobset failed due to one or more job failures")

    KilledTrainer(stub)
    with pytest.raises(RuntimeError, match="failed: FailedJobs: jobset failed due to one or more job failures"):
        launcher.run(job, RUNTIME_OF_TWO, SILENT)
    assert len(stub.trainjobs) == 1


def test_next_try_replaces_what_the_last_one_left(stub: StubKubernetes, launcher: TrainJobs, job: Job) -> None:
    """A pod of the last try that still runs is waited for: both would write to one folder."""
    Trainer(stub)
    launcher.run(job, RUNTIME_OF_TWO, SILENT)
    (name,) = stub.deleted
    stub.trainjobs[name] = stub.created[0]
    left, stub.grace_seconds = stub.start_pod(name), 1.5
    seen, train = [], stub.on_created
    stub.on_created = lambda trainjob: (seen.append(left in stub.pods), train(trainjob))
    launcher.run(job, RUNTIME_OF_TWO, SILENT)
    assert stub.deleted == [name, name, name]
    assert [created["metadata"]["name"] for created in stub.created] == [name, name]
    assert seen == [False]


def test_stage_that_is_killed_deletes_its_trainjob(stub: StubKubernetes, launcher: TrainJobs, job: Job) -> None:
    stub.on_created = lambda trainjob: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        launcher.run(job, RUNTIME_OF_TWO, SILENT)
    assert ended.value.code == EXIT_INTERRUPTED
    assert (len(stub.created), stub.trainjobs) == (1, {})
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ("POST trainjobs", 403, "may not run TrainJobs: cannot create.*Role"),
        ("GET clustertrainingruntimes", 404, "no training runtime torch-distributed.*install Kubeflow Trainer"),
    ],
)
def test_what_the_cluster_lacks_is_said(
    request_: str, status: int, words: str, stub: StubKubernetes, launcher: TrainJobs, job: Job
) -> None:
    stub.refusals[request_] = (status, "cannot create")
    with pytest.raises(UserError, match=words):
        launcher.run(job, RUNTIME_OF_TWO, SILENT)


def test_words_of_an_admission_rule_are_passed_on(stub: StubKubernetes, launcher: TrainJobs, job: Job) -> None:
    stub.refusals["POST trainjobs"] = (422, "spec.trainer.numNodes: Invalid value")
    with pytest.raises(RuntimeError, match=r"Failed to create TrainJob: .*: spec\.trainer\.numNodes: Invalid value"):
        launcher.run(job, RUNTIME_OF_TWO, SILENT)


def test_work_folder_must_lie_on_a_shared_volume(launcher: TrainJobs, job: Job, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lies on no volume that pods can share.*cluster\.workspace_gib"):
        launcher.run(replace(job, work=str(tmp_path / "elsewhere")), RUNTIME_OF_TWO, SILENT)


def test_without_a_pod_there_are_no_trainjobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    assert trainjobs(dsl.TaskConfig()) is None
    monkeypatch.setenv("KFP_POD_NAME", OWN_POD)
    assert trainjobs(dsl.TaskConfig()) == TrainJobs(OWN_POD, dsl.TaskConfig())


def test_a_running_stage_can_load_it() -> None:
    """It failed: kfp leaves out inside a running stage what only a compiler needs."""
    code = "from components.trainjob import trainjobs; from kfp import dsl; assert trainjobs(dsl.TaskConfig()) is None"
    environment = {name: value for name, value in os.environ.items() if name != "KFP_POD_NAME"} | {"_KFP_RUNTIME": "true"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_api_server_is_reached_as_a_pod_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads are tried again, so that a moment without network does not end a training of days."""
    for name, text in (("TOKEN", "token-of-the-account"), ("CERT", "certificate")):
        file = tmp_path / name
        file.write_text(text)
        monkeypatch.setattr(f"kubernetes.config.incluster_config.SERVICE_{name}_FILENAME", str(file))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    settings = by_service_account().client_configuration
    assert (settings.host, settings.api_key["authorization"]) == ("https://10.0.0.1:443", "bearer token-of-the-account")
    assert settings.retries.total == 5
    assert "POST" not in settings.retries.allowed_methods


class ProcessTrainer:
    """Starts the command of a TrainJob in each of its pods, as processes of this machine."""

    def __init__(self, stub: StubKubernetes, port: int) -> None:
        self._stub, self._port = stub, port
        stub.on_created = self.train

    def train(self, trainjob: dict[str, Any]) -> None:
        name, trainer = trainjob["metadata"]["name"], trainjob["spec"]["trainer"]
        nodes = range(trainer["numNodes"])
        pods = [self._stub.start_pod(name, node) for node in nodes]
        processes = [self._start(trainer, node) for node in nodes]
        for pod, process in zip(pods, processes, strict=True):
            log, _ = process.communicate()
            self._stub.write_log(pod, *log.splitlines())
            self._stub.end_pod(pod, "Failed" if process.returncode else "Succeeded")
        has_failed = any(process.returncode for process in processes)
        self._stub.end_trainjob(name, *(("Failed", "FailedJobs", "a pod failed") if has_failed else ()))

    def _start(self, trainer: dict[str, Any], node: int) -> "subprocess.Popen[str]":
        """Start a pod's command in the surroundings that the Trainer makes for torchrun."""
        told = {"NNODES": trainer["numNodes"], "NODE_RANK": node, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self._port}
        environment = {f"PET_{key}": str(value) for key, value in told.items()} | {"PET_NPROC_PER_NODE": "9"}
        return subprocess.Popen(
            [sys.executable, *trainer["args"]],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def test_two_pods_train_one_model(prepared: Any, stub: StubKubernetes, launcher: TrainJobs, volume: Path, tmp_path: Path) -> None:
    """Each pod's torchrun runs the very command of the TrainJob, and they find each other as the Trainer says."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ProcessTrainer(stub, server.getsockname()[1])
    inputs = prepared.items, prepared.clicks, prepared.tokenizer, prepared.synthetic
    model = ModelConfig(patch_size_px=16, hidden_size=24, embed_dim=16, feed_forward_size=32, num_query_layers=1)
    config = PretrainConfig(batch_size=8, queries_per_item=2, num_steps=2, validate_every_steps=2, validation_queries=4)
    runtime = RuntimeConfig(launcher="trainjob", num_processes=2, num_nodes=2, num_threads=1, device="cpu")
    context = StageContext("config", volume / "work", {"items": prepared.items.digest})
    figures = pretrain(*inputs, tmp_path / "model", model, LossConfig(), config, runtime, context, launcher)
    written = open_artifact(tmp_path / "model", "model")
    assert written.parents == {"items": prepared.items.digest}
    assert figures["validation_R@50_multimodal"] == written.read_json("training.json")["best"]["validation_R@50_multimodal"]
