"""What the account of the tasks may do in the cluster: all that is used, nothing else."""

import pytest

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
    assert set(secrets["resourceNames"]) == {"mlpipeline-minio-artifact", "smar-object-store"}
    assert "*" not in {word for rule in rules for key in ("apiGroups", "resources", "verbs") for word in rule[key]}
