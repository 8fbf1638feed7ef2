"""Compiling the pipelines: to the YAML that a cluster is given and that the local runner executes, and to resources for GitOps.

A cluster's file has two documents: the pipeline itself, and what holds on Kubernetes alone (``pipelines.placement``). A local
run's has the first alone, with the same tasks and commands and without retries: there it is the user who starts a run again, and
it goes on. The resources hold a cluster's two as ``spec`` of a PipelineVersion, beside the Pipeline that it is of, for clusters
whose backend keeps pipelines as Kubernetes objects. A version is named by its content, since such an object cannot be changed.
"""

import importlib
from pathlib import Path
from typing import Any

import yaml

from smar_core.config import ClusterConfig
from smar_core.digest import digest_file
from smar_core.errors import UserError

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests" / "pipelines"
"""Folder of the compiled pipelines as committed; a test compares them with what ``compile_pipeline`` writes."""

RESOURCES = "resources"
"""Folder, below that of the compiled pipelines, of the Pipeline and PipelineVersion resources."""

_IMAGE_PLACEHOLDER = "{{$.inputs.parameters[''pipelinechannel--image'']}}"
"""How YAML has the parameter ``image`` of a pipeline."""

_DIGEST_LENGTH = 12

PIPELINES = ("training", "ablation", "sweep", "refresh")
"""Names of the pipelines: modules of this package, each with a function ``NAME_pipeline`` of the config section ``cluster``."""


def compiled(name: str, folder: Path = MANIFESTS) -> Path:
    """Return the place of a compiled pipeline."""
    return folder / f"{name}.yaml"


def compile_pipeline(name: str, path: Path, cluster: ClusterConfig | None) -> None:
    """Write a pipeline's YAML.

    Args:
        name: One of ``PIPELINES``.
        path: The file; its folder is made.
        cluster: Where its tasks run; its image, if it has one, becomes the default of the parameter ``image``. None: a pipeline
            for this machine alone.

    Raises:
        UserError: kfp-kubernetes is not installed.
    """
    _compile(name, path, cluster)


def compile_resources(name: str, path: Path, cluster: ClusterConfig, version: str) -> None:
    """Write a pipeline as resources of kind Pipeline and PipelineVersion, without a namespace.

    Args:
        name: One of ``PIPELINES``.
        path: The file; its folder is made.
        cluster: Where its tasks run.
        version: What ``version_of`` returned for the compiled pipeline.

    Raises:
        UserError: kfp-kubernetes is not installed.
    """
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    options = KubernetesManifestOptions(pipeline_version_name=version, include_pipeline_manifest=True)
    _compile(name, path, cluster, kubernetes_manifest_format=True, kubernetes_manifest_options=options)


def version_of(name: str, path: Path) -> str:
    """Return the name of a compiled pipeline's version: the pipeline's name and the beginning of its content's digest."""
    return f"smar-{name}-{digest_file(path)[:_DIGEST_LENGTH]}"


def fit_local_runner(path: Path, image: str) -> None:
    """Fit a compiled pipeline to Kubeflow's local runners, which do not look up the parameter that names the image.

    Args:
        path: The file.
        image: Reference of the image.
    """
    path.write_text(path.read_text(encoding="utf-8").replace(_IMAGE_PLACEHOLDER, image), encoding="utf-8")


def disable_caching(path: Path) -> None:
    """Take the leave to use the cache from every task of a compiled pipeline, those in loops too.

    The backend has no such switch for a run of an uploaded pipeline, and Kubeflow's client reaches the outermost tasks only.

    Args:
        path: The file.
    """
    pipeline, *platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    for component in (pipeline["root"], *pipeline["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
    path.write_text(yaml.safe_dump_all([pipeline, *platform]), encoding="utf-8")


def _compile(name: str, path: Path, cluster: ClusterConfig | None, **options: Any) -> None:
    from kfp.compiler import Compiler

    from pipelines.placement import IMAGE_PARAMETER

    module = importlib.import_module(f"pipelines.{name}")
    try:
        pipeline = getattr(module, f"{name}_pipeline")(cluster)
    except ImportError as error:
        if error.name is None or not error.name.startswith("kfp"):
            raise
        raise UserError(
            "to compile for a cluster takes kfp-kubernetes, which is not installed",
            "pip install '.[cluster]' in the project's folder",
        ) from None
    defaults = {IMAGE_PARAMETER: cluster.image} if cluster is not None and cluster.image is not None else None
    path.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(pipeline, str(path), pipeline_parameters=defaults, **options)
