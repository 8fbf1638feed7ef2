"""What ``record_run`` does at the end of a pipeline run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.side import SideFiles
from components.stage import ARTIFACT_KINDS
from components.surroundings import Surroundings
from smar_core.artifact import Artifact, open_artifact
from smar_core.config import TrackingConfig

NAME = "record_run"

STAGE_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "prepare_data": ("items", "clicks", "tokenizer", "rejects"),
    "generate_synthetic_queries": ("synthetic",),
    "pretrain": ("pretrained",),
    "train_gate": ("gate",),
    "finetune": ("finetuned",),
    "export_embeddings": ("bundle",),
    "evaluate": ("evaluation",),
}
"""Artifacts that each stage makes, in the order of the stages."""


def record(artifacts: Mapping[str, Any], files: Mapping[str, str], tracking: str) -> None:
    """Link every stage to this pipeline run in MLflow, register the bundle, and list the artifacts for the command line.

    Args:
        artifacts: Kubeflow's artifacts, by a name of ``ARTIFACT_KINDS``.
        files: Digest of each input file, by name; "" where there is none.
        tracking: Config section ``tracking`` as JSON.
    """
    around = Surroundings.read()
    side = SideFiles(around.side, NAME)
    try:
        opened = {n: open_artifact(Path(a.path), ARTIFACT_KINDS[n], verify=False) for n, a in artifacts.items()}
        tracked: dict[str, str] = {}
        if around.tracking_uri is not None:
            tracked = _track(around, opened, files, TrackingConfig.model_validate_json(tracking))
        side.record({"artifacts": {name: _describe(artifact) for name, artifact in opened.items()}, "mlflow": tracked})
    except BaseException as error:
        side.failed(error)
        raise


def _track(
    around: Surroundings, artifacts: Mapping[str, Artifact], files: Mapping[str, str], config: TrackingConfig
) -> dict[str, str]:
    from components.tracking import Tracker

    tracker = Tracker.open(around)
    recorded = tracker.recorded_stages()
    for stage, names in STAGE_OUTPUTS.items():
        if stage not in recorded:
            tracker.record_cached(stage, {name: artifacts[name] for name in names})
    return tracker.finish(artifacts, files, artifacts["evaluation"].read_json("scores.json"), config.model_name)


def _describe(artifact: Artifact) -> dict[str, Any]:
    return {
        "kind": artifact.kind,
        "path": str(artifact.path),
        "digest": artifact.digest,
        "config_digest": artifact.config_digest,
        "parents": dict(artifact.parents),
    }
