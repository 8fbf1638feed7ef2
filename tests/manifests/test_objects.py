"""The rendered objects are what kustomize makes, what Kubernetes takes, and what they name is there."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.manifests.rendering import (
    KUSTOMIZATIONS,
    MANIFESTS,
    Manifest,
    find,
    flink_pod_spec,
    objects,
    pod_specs,
    render,
    rendered_file,
)

NAME_LABEL = "app.kubernetes.io/name"
OLDEST_KUBERNETES, NEWEST_KUBERNETES = "1.31", "1.37"
MADE_BY_SITE = {
    "smar-mlflow": {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"},
    "smar-mlflow-admin": {"MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"},
    "smar-object-store": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"},
    "smar-postgres": {"POSTGRES_USER", "POSTGRES_PASSWORD"},
}
"""Secrets that a person makes, with their keys: docs/kubeflow.md has the commands."""

FLINK_FIELDS = {
    "image": str,
    "flinkVersion": str,
    "mode": str,
    "serviceAccount": str,
    "flinkConfiguration": dict,
    "podTemplate": dict,
    "jobManager": dict,
    "taskManager": dict,
}


def core_objects(name: str) -> list[Manifest]:
    return [manifest for manifest in objects(name) if manifest["kind"] != "FlinkDeployment"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: rendered files are not compared")
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_rendered_files_are_up_to_date(name: str) -> None:
    assert rendered_file(name).read_text() == render(name), "run: python -m tests.manifests.rendering"


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, NEWEST_KUBERNETES])
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_core_objects_fit_the_schemas_of_kubernetes(name: str, version: str) -> None:
    for manifest in core_objects(name):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_field_is_found() -> None:
    """The validator is strict: a misspelt field is none that is silently left out."""
    manifest = next(o for o in core_objects("local") if o["kind"] == "Deployment")
    manifest["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRootFilesystem"):
        kubernetes_validate.validate(manifest, NEWEST_KUBERNETES, strict=True)


def test_flink_deployment_by_its_structure() -> None:
    """The operator's schema is not at hand: names and types of fields, and its pods as Kubernetes' own, are checked."""
    (manifest,) = (o for o in objects("flink") if o["kind"] == "FlinkDeployment")
    assert manifest["apiVersion"] == "flink.apache.org/v1beta1"
    spec = manifest["spec"]
    assert {field: type(value) for field, value in spec.items()} == FLINK_FIELDS
    assert spec["serviceAccount"] in {o["metadata"]["name"] for o in objects("flink") if o["kind"] == "ServiceAccount"}
    assert spec["flinkVersion"] == "v" + "_".join(re.findall(r"\d+", spec["image"].split(":")[1])[:2])
    assert all(isinstance(value, str) for value in spec["flinkConfiguration"].values())
    for role in ("jobManager", "taskManager"):
        assert set(spec[role]) == {"replicas", "resource", "podTemplate"}
        assert set(spec[role]["resource"]) == {"cpu", "memory"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "flink"}, "spec": flink_pod_spec(manifest, role)}
        kubernetes_validate.validate(pod, NEWEST_KUBERNETES, strict=True)
        assert pod["spec"]["containers"][0]["name"] == "flink-main-container"
    assert "job" not in spec, "a session cluster: Beam sends it the jobs"


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_no_object_is_there_twice_and_each_has_its_namespace(name: str) -> None:
    names = Counter((o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects(name))
    assert max(names.values()) == 1
    for kind, namespace, _ in names:
        is_clusterwide = kind in {"Namespace", "ClusterRole", "ClusterRoleBinding"}
        assert (namespace is None) == (is_clusterwide or name == "flink"), (kind, namespace)


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_images_have_a_version(name: str) -> None:
    for owner, spec in pod_specs(objects(name)):
        for container in spec["containers"]:
            _, _, version = re.split(r"(@sha256:|:)(?=[^/]*$)", container["image"])
            assert version not in {"", "latest"}, owner


def test_mlflow_image_is_tagged_with_the_locked_version() -> None:
    locked = re.search(r"^mlflow==(.+)$", (MANIFESTS.parent / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    images = {c["image"] for _, spec in pod_specs(objects("local")) for c in spec["containers"] if "mlflow" in c["image"]}
    assert images == {f"localhost/smar-mlflow:{locked[1]}"}


def test_production_pins_its_images_by_digest() -> None:
    for owner, spec in pod_specs(objects("production")):
        for container in spec["containers"]:
            assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"]), owner


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_whatever_a_pod_names_is_there(name: str) -> None:
    manifests = objects(name)
    config_maps = {o["metadata"]["name"] for o in manifests if o["kind"] == "ConfigMap"}
    for owner, spec in pod_specs(manifests):
        mounts = {mount["name"] for c in spec["containers"] for mount in c.get("volumeMounts", [])}
        kind, named = owner.split("/")[:2]
        claims = {claim["metadata"]["name"] for claim in find(name, kind, named)["spec"].get("volumeClaimTemplates", [])}
        assert mounts == {volume["name"] for volume in spec.get("volumes", [])} | claims, owner
        assert {v["configMap"]["name"] for v in spec.get("volumes", []) if "configMap" in v} <= config_maps, owner
        for container in spec["containers"]:
            assert {source["configMapRef"]["name"] for source in container.get("envFrom", [])} <= config_maps, owner
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in MADE_BY_SITE[reference["name"]], owner


@pytest.mark.parametrize("name", ["local", "production"])
def test_services_and_policies_select_pods_that_are_there(name: str) -> None:
    manifests = objects(name)
    templates = [o["spec"]["template"] for o in manifests if "template" in o.get("spec", {})]
    pods = {template["metadata"]["labels"][NAME_LABEL]: template["spec"] for template in templates}
    for service in (o for o in manifests if o["kind"] == "Service"):
        (selected,) = service["spec"]["selector"].values()
        ports = {port["name"] for container in pods[selected]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    policies = [o for o in manifests if o["kind"] == "NetworkPolicy"]
    named = {name for policy in policies for name in names_selected(policy["spec"])}
    assert named == set(pods)


def names_selected(node: Any) -> Iterator[str]:
    """Yield every value of the label of names in a policy's selectors."""
    if isinstance(node, dict):
        if NAME_LABEL in node:
            yield node[NAME_LABEL]
        if node.get("key") == NAME_LABEL:
            yield from node["values"]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from names_selected(child)


def test_everything_is_denied_that_no_policy_allows() -> None:
    for name in ("local", "production"):
        (deny,) = (o for o in objects(name) if o["metadata"]["name"] == "default-deny")
        assert deny["metadata"]["namespace"] == "smar-mlflow"
        assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


PLUGIN = MANIFESTS / "mlflow" / "kubeflow-plugin"
SETTINGS_OF_A_PROFILE = {"experimentDescription", "defaultExperimentName", "injectUserEnvVars", "credentialSecretRef"}
"""All that Kubeflow takes from the config map of a profile; anything else is an error of the API server."""


def test_kubeflows_plugin_finds_the_server_that_tasks_find() -> None:
    plugin, tasks = (
        json.loads((PLUGIN / "api-server.json").read_text())["plugins"]["mlflow"],
        find("local", "ConfigMap", "smar")["data"],
    )
    assert plugin["endpoint"] == tasks["MLFLOW_TRACKING_URI"]
    assert plugin["settings"]["authType"] == "basic-auth"
    assert plugin["settings"]["defaultExperimentName"] == tasks["MLFLOW_EXPERIMENT_NAME"]
    service = find("local", "Service", "mlflow")
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert tasks["MLFLOW_TRACKING_URI"] == f"http://{host}:{service['spec']['ports'][0]['port']}"


def test_a_profile_says_of_the_plugin_what_it_may_and_the_same() -> None:
    """Endpoint and kind of login stood in the config map of the namespace, where Kubeflow refuses them."""
    patch = yaml.safe_load((PLUGIN / "kfp-launcher.yaml").read_text())
    profile = json.loads(patch["data"]["plugins.mlflow"])
    assert set(profile) == {"settings"}
    assert {"credentialSecretRef"} <= set(profile["settings"]) <= SETTINGS_OF_A_PROFILE
    assert (
        profile["settings"].items()
        <= json.loads((PLUGIN / "api-server.json").read_text())["plugins"]["mlflow"]["settings"].items()
    )


def test_plugin_is_mounted_where_the_api_server_reads_its_settings() -> None:
    spec = yaml.safe_load((PLUGIN / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    (container,), (volume,) = spec["containers"], spec["volumes"]
    (mount,) = container["volumeMounts"]
    assert container["name"] == "ml-pipeline-api-server"
    assert mount == {"name": volume["name"], "mountPath": "/config/config.json", "subPath": "config.json"}
    page = (MANIFESTS.parent / "docs" / "kubeflow.md").read_text()
    assert f"create configmap {volume['configMap']['name']} --from-file=config.json" in page


def test_drivers_of_the_plugin_reach_mlflow_from_the_profile() -> None:
    """They run in the profile's namespace without SMAR's label, and no policy let them in."""
    namespace = find("production", "ConfigMap", "smar")["metadata"]["namespace"]
    (rule,) = find("production", "NetworkPolicy", "mlflow-from-drivers")["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": namespace}
    assert peer["podSelector"]["matchExpressions"] == [{"key": "workflows.argoproj.io/workflow", "operator": "Exists"}]


def test_tasks_reach_the_kubernetes_api_at_the_ports_of_kind_and_minikube() -> None:
    for name in ("local", "production"):
        *_, outside = (rule for rule in find(name, "NetworkPolicy", "smar-tasks")["spec"]["egress"] if "to" not in rule)
        assert {port["port"] for port in outside["ports"]} == {443, 6443, 8443}


def test_no_secret_is_committed() -> None:
    """A site makes its secrets by hand; no Secret object, and no variable that should come from one, has a value here."""
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        if path.is_relative_to(MANIFESTS / "pipelines"):
            continue
        for manifest in yaml.safe_load_all(path.read_text()):
            if not isinstance(manifest, dict):
                continue
            assert manifest.get("kind") != "Secret", path
            assert "secretGenerator" not in manifest, path
    for name in KUSTOMIZATIONS:
        for owner, spec in pod_specs(objects(name)):
            for container in spec["containers"]:
                for variable in container.get("env", []):
                    if re.search("PASSWORD|SECRET|ACCESS_KEY|TOKEN", variable["name"]):
                        assert "value" not in variable, (owner, variable["name"])
