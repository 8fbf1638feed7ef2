"""What the account of the tasks may do in the cluster: all that is used, nothing else."""

import pytest

from tests.manifests.rendering import objects

USED = {
    # Kubeflow's launcher and Argo's executor, inside each task's pod.
    ("", "configmaps"): {"get"},
    ("", "secrets"): {"get"},
    ("argoproj.io", "workflowtaskresults"): {"create", "patch"},
    # runtime.launcher=trainjob.
    ("trainer.kubeflow.org", "trainjobs"): {"create", "get", "list", "watch", "delete"},
    ("trainer.kubeflow.org", "trainingruntimes"): {"get", "list"},
    ("", "pods"): {"get", "list", "watch"},
    ("", "pods/log"): {"get"},
    # kubectl apply and delete of manifests/flink.
    ("flink.apache.org", "flinkdeployments"): {"create", "get", "list", "watch", "patch", "delete"},
}


@pytest.mark.parametrize("name", ["local", "production"])
def test_account_of_the_tasks_may_do_what_is_used(name: str) -> None:
    manifests = objects(name)
    roles = {o["metadata"]["name"]: o for o in manifests if o["kind"] == "Role"}
    bindings = [o for o in manifests if o["kind"] == "RoleBinding"]
    namespace = next(o["metadata"]["namespace"] for o in manifests if o["kind"] == "ServiceAccount")
    for binding in bindings:
        subject = {"kind": "ServiceAccount", "name": "smar-pipeline", "namespace": namespace}
        assert binding["subjects"] == [subject]
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": binding["roleRef"]["name"]}
    assert sorted(binding["roleRef"]["name"] for binding in bindings) == sorted(roles)
    granted: dict[tuple[str, str], set[str]] = {}
    for role in roles.values():
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    granted.setdefault((group, resource), set()).update(rule["verbs"])
    assert granted == USED


def test_only_named_secrets_are_read() -> None:
    rules = [rule for o in objects("local") if o["kind"] == "Role" for rule in o["rules"]]
    (secrets,) = (rule for rule in rules if "secrets" in rule["resources"])
    assert set(secrets["resourceNames"]) == {"mlpipeline-minio-artifact", "smar-object-store"}
    assert "*" not in {word for rule in rules for key in ("apiGroups", "resources", "verbs") for word in rule[key]}
