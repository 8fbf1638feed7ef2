"""What the account of the tasks may do in the cluster: all that is used, nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.trainjob import TrainJobs
from smar_core.config import RuntimeConfig
from smar_core.progress import SILENT
from smar_core.training.job import Job
from tests.components.stub_kubernetes import NAMESPACE, OWN_POD, StubKubernetes, serve
from tests.manifests.rendering import Manifest, objects

Rights = dict[tuple[str, str], set[str]]
"""Verbs by API group and resource."""

KUBEFLOW: Rights = {
    # Kubeflow's driver and launcher, and Argo's executor beside them.
    ("", "configmaps"): {"get", "list", "watch"},
    ("", "secrets"): {"get"},
    ("argoproj.io", "workflowtaskresults"): {"create", "patch"},
}
TRAINJOB: Rights = {
    ("trainer.kubeflow.org", "trainjobs"): {"create", "get", "delete"},
    ("trainer.kubeflow.org", "trainingruntimes"): {"get"},
    ("trainer.kubeflow.org", "clustertrainingruntimes"): {"get"},
    ("", "pods"): {"get", "list"},
    ("", "pods/log"): {"get"},
}
FLINK: Rights = {("flink.apache.org", "flinkdeployments"): {"create", "get", "list", "watch", "patch", "delete"}}
"""What ``kubectl apply``, ``wait`` and ``delete`` of manifests/flink ask for."""

_PATH = re.compile(
    rf"/apis?/(?:(?P<group>[^/]+)/)?v1[^/]*/(?:namespaces/{NAMESPACE}/)?(?P<resource>[a-z]+)(?:/(?P<name>[^/]+)(?P<log>/log)?)?"
)
"""Path of a request to the API server about the pipeline's namespace, or about none."""

DEFAULT_ACCOUNTS = {"local": "pipeline-runner", "production": "default-editor"}
"""Account that Kubeflow gives a run that names none."""


def rights(roles: list[Manifest]) -> Rights:
    granted: Rights = {}
    for role in roles:
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    granted.setdefault((group, resource), set()).update(rule["verbs"])
    return granted


@pytest.mark.parametrize("name", DEFAULT_ACCOUNTS)
def test_roles_grant_what_is_used(name: str) -> None:
    roles = [o for o in objects(name) if o["kind"] in {"Role", "ClusterRole"}]
    assert rights(roles) == KUBEFLOW | TRAINJOB | FLINK


@pytest.mark.parametrize("name", DEFAULT_ACCOUNTS)
def test_every_role_is_bound_to_the_account_and_to_kubeflows_own(name: str) -> None:
    manifests = objects(name)
    namespace = next(o["metadata"]["namespace"] for o in manifests if o["kind"] == "ServiceAccount")
    own, default = (
        {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        for account in ("smar-pipeline", DEFAULT_ACCOUNTS[name])
    )
    bound = {}
    for binding in (o for o in manifests if o["kind"].endswith("RoleBinding")):
        role = binding["roleRef"]
        assert role == {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": binding["kind"].removesuffix("Binding"),
            "name": role["name"],
        }
        bound[role["kind"], role["name"]] = binding["subjects"]
    assert bound == {
        ("Role", "smar-task"): [own],
        ("Role", "smar-train"): [own, default],
        ("ClusterRole", "smar-train"): [own, default],
        ("Role", "smar-flink"): [own, default],
    }
    assert set(bound) == {(o["kind"], o["metadata"]["name"]) for o in manifests if o["kind"] in {"Role", "ClusterRole"}}


def test_only_named_secrets_are_read() -> None:
    rules = [rule for o in objects("local") if o["kind"] in {"Role", "ClusterRole"} for rule in o["rules"]]
    (secrets,) = (rule for rule in rules if "secrets" in rule["resources"])
    assert set(secrets["resourceNames"]) == {"mlpipeline-minio-artifact", "smar-object-store", "kfp-mlflow-credentials"}
    assert "*" not in {word for rule in rules for key in ("apiGroups", "resources", "verbs") for word in rule[key]}


class Recorder(StubKubernetes):
    """Notes what it is asked for, and plays the Trainer: a TrainJob has one pod and ends well at once.

    Attributes:
        asked: Rights that the requests need.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: Rights = {}
        self.on_created = self._train

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        if found := _PATH.fullmatch(path):
            verbs = {"GET": "get" if found["name"] else "list", "POST": "create", "DELETE": "delete"}
            resource = found["resource"] + (found["log"] or "")
            self.asked.setdefault((found["group"] or "", resource), set()).add(verbs[method])
        return super().answer(method, path, query, body)

    def _train(self, trainjob: dict[str, Any]) -> None:
        name, job = trainjob["metadata"]["name"], Job.read(Path(trainjob["spec"]["trainer"]["args"][-1]))
        pod = self.start_pod(name)
        Path(job.output).mkdir()
        job.leave_figures({"loss": 0.5})
        self.end_pod(pod)
        self.end_trainjob(name)


def test_a_trainjob_asks_for_what_the_roles_grant(tmp_path: Path) -> None:
    volumes = [{"name": "workspace", "persistentVolumeClaim": {"claimName": "workspace"}}]
    task = dsl.TaskConfig(volumes=volumes, volume_mounts=[{"name": "workspace", "mountPath": str(tmp_path)}])
    (tmp_path / "work").mkdir()
    job = Job("finetune", {}, str(tmp_path / "model"), {}, "", str(tmp_path / "work"), {})
    recorder = Recorder()
    with serve(recorder) as kubernetes:
        TrainJobs(OWN_POD, task, kubernetes, poll_seconds=1).run(job, RuntimeConfig(launcher="trainjob"), SILENT)
    assert recorder.asked == TRAINJOB
