"""The Kubernetes objects of ``manifests/``, as kustomize renders them.

The rendered files are committed in ``manifests/rendered``, so that what a cluster gets is seen in a review, and so that these
tests need no kustomize: ``test_objects.py`` compares them where ``kubectl`` is at hand. Write them anew with
``python -m tests.manifests.rendering``.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
KUSTOMIZATIONS = {"local": "overlays/local", "production": "overlays/production", "flink": "flink"}
"""Folder of each kustomization that a person applies, by the name of its rendered file."""

Manifest = dict[str, Any]


def rendered_file(name: str) -> Path:
    """Return the place of a rendered kustomization."""
    return MANIFESTS / "rendered" / f"{name}.yaml"


def render(name: str) -> str:
    """Let kubectl render a kustomization; it asks no cluster."""
    return subprocess.run(
        ["kubectl", "kustomize", str(MANIFESTS / KUSTOMIZATIONS[name])], check=True, capture_output=True, text=True
    ).stdout


def objects(name: str) -> list[Manifest]:
    """Return the objects of a rendered kustomization."""
    return list(yaml.safe_load_all(rendered_file(name).read_text()))


def find(name: str, kind: str, named: str) -> Manifest:
    """Return the one object of this kind and name."""
    (found,) = (o for o in objects(name) if o["kind"] == kind and o["metadata"]["name"] == named)
    return found


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield name and pod spec of every object that makes pods; of Flink's, both kinds of pods, merged as the operator does."""
    for manifest in manifests:
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if manifest["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield name, manifest["spec"]["template"]["spec"]
        elif manifest["kind"] == "FlinkDeployment":
            for role in ("jobManager", "taskManager"):
                yield f"{name}/{role}", flink_pod_spec(manifest, role)


def flink_pod_spec(manifest: Manifest, role: str) -> Manifest:
    """Return the pod spec of a role: the common template under its own, lists joined."""
    common, own = (part.get("podTemplate", {}).get("spec", {}) for part in (manifest["spec"], manifest["spec"][role]))
    main, *others = common["containers"]
    return {**common, **own, "containers": [{"image": manifest["spec"]["image"], **main}, *others, *own.get("containers", [])]}


def main() -> None:
    """Write every rendered file."""
    for name in KUSTOMIZATIONS:
        rendered_file(name).parent.mkdir(exist_ok=True)
        rendered_file(name).write_text(render(name))


if __name__ == "__main__":
    main()
