"""Compiling the pipelines to the YAML that a cluster is given and that the local runner executes."""

import importlib
from pathlib import Path

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests" / "pipelines"
"""Folder of the compiled pipelines as committed; a test compares them with what ``compile_pipeline`` writes."""

_IMAGE_PLACEHOLDER = "{{$.inputs.parameters[''pipelinechannel--image'']}}"
"""How YAML has the parameter ``image`` of a pipeline."""

PIPELINES = ("training", "ablation", "sweep")
"""Names of the pipelines: modules of this package, each with a function ``NAME_pipeline``."""


def compiled(name: str, folder: Path = MANIFESTS) -> Path:
    """Return the place of a compiled pipeline."""
    return folder / f"{name}.yaml"


def compile_pipeline(name: str, path: Path) -> None:
    """Write a pipeline's YAML.

    Args:
        name: One of ``PIPELINES``.
        path: The file; its folder is made.
    """
    from kfp.compiler import Compiler

    pipeline = getattr(importlib.import_module(f"pipelines.{name}"), f"{name}_pipeline")
    path.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(pipeline, str(path))


def pin_image(path: Path, image: str) -> None:
    """Write the image itself into a compiled pipeline, where it names its parameter: Kubeflow's local runners do not look it up.

    Args:
        path: The file.
        image: Reference of the image.
    """
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(_IMAGE_PLACEHOLDER, image), encoding="utf-8")
