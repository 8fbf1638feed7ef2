"""Every pod template meets Kubernetes' pod security standard "restricted", field by field."""

import pytest

from tests.manifests.rendering import KUSTOMIZATIONS, Manifest, find, objects, pod_specs

POD_TEMPLATES = [(name, owner, spec) for name in KUSTOMIZATIONS for owner, spec in pod_specs(objects(name))]
WRITES_ITS_ROOT = {"flink-main-container"}
"""Containers without a read-only root file system, which the standard does not ask for."""

ALLOWED_VOLUMES = {"configMap", "emptyDir", "secret", "projected", "downwardAPI", "persistentVolumeClaim", "ephemeral", "csi"}


@pytest.mark.parametrize("spec", [pytest.param(spec, id=f"{name}-{owner}") for name, owner, spec in POD_TEMPLATES])
def test_pod_is_restricted(spec: Manifest) -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & set(spec)
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for volume in spec.get("volumes", []):
        assert set(volume) - {"name"} <= ALLOWED_VOLUMES
    for container in spec["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not {"privileged", "procMount", "seccompProfile", "runAsNonRoot", "seLinuxOptions"} & set(own)
        assert own.get("runAsUser", pod["runAsUser"]) > 0
        assert own.get("readOnlyRootFilesystem", False) is (container["name"] not in WRITES_ITS_ROOT)
        assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize("spec", [pytest.param(spec, id=f"{name}-{owner}") for name, owner, spec in POD_TEMPLATES])
def test_pod_holds_no_key_to_the_cluster_and_has_limits(spec: Manifest) -> None:
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for container in spec["containers"]:
        if container["name"] != "flink-main-container":  # the operator sets them from `resource`
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_every_kind_of_pod_is_looked_at() -> None:
    assert {owner for _, owner, _ in POD_TEMPLATES} == {
        "Deployment/mlflow",
        "Job/mlflow-user",
        "Job/mlflow-bucket",
        "StatefulSet/postgres",
        "StatefulSet/object-store",
        "FlinkDeployment/smar-flink/jobManager",
        "FlinkDeployment/smar-flink/taskManager",
    }


@pytest.mark.parametrize("name", ["local", "production"])
def test_mlflows_namespace_admits_restricted_pods_only(name: str) -> None:
    labels = find(name, "Namespace", "smar-mlflow")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
