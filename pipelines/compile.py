"""Compiling the pipeline to the YAML that a cluster is given and that the local runner executes."""

from pathlib import Path

COMPILED = Path(__file__).resolve().parents[1] / "manifests" / "pipelines" / "training.yaml"
"""The compiled pipeline as committed; a test compares it with what ``compile_pipeline`` writes."""


def compile_pipeline(path: Path) -> None:
    """Write the training pipeline's YAML.

    Args:
        path: The file; its folder is made.
    """
    from kfp.compiler import Compiler

    from pipelines.training import training_pipeline

    path.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(training_pipeline, str(path))
