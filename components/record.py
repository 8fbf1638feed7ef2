"""What ``record_run`` does at the end of a pipeline run.

Parents and config digests are worked out from this run alone: the manifest in the store may be an earlier run's, since equal
content made from other inputs or settings is kept once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.stage import ARTIFACT_KINDS, digest_sections, parse_section
from components.surroundings import Surroundings
from components.task import open_task
from smar_core.artifact import Artifact, open_artifact
from smar_core.config import STAGE_SECTIONS, TrackingConfig

if TYPE_CHECKING:
    from components.tracking import Tracker

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

STAGE_INPUTS: Mapping[str, tuple[str, ...]] = {
    "prepare_data": (),
    "generate_synthetic_queries": ("items", "clicks", "tokenizer"),
    "pretrain": ("items", "clicks", "tokenizer", "synthetic"),
    "train_gate": ("items", "clicks", "pretrained"),
    "finetune": ("items", "clicks", "pretrained", "gate"),
    "export_embeddings": ("items", "finetuned", "gate"),
    "evaluate": ("items", "clicks", "synthetic", "pretrained", "gate", "finetuned", "bundle"),
}
"""Artifacts that each stage reads."""

STAGE_FILES: Mapping[str, tuple[str, ...]] = {"prepare_data": ("items", "clicks", "images"), "evaluate": ("judgments",)}
"""Input files that a stage reads."""


@dataclass(frozen=True)
class Graph:
    """What the stages of a pipeline make and read, by stage.

    Attributes:
        outputs: Artifacts that each stage makes, in the order of the stages.
        inputs: Artifacts that each stage reads.
        files: Input files that a stage reads.
        sections: Config sections that each stage is handed.
    """

    outputs: Mapping[str, tuple[str, ...]]
    inputs: Mapping[str, tuple[str, ...]]
    files: Mapping[str, tuple[str, ...]]
    sections: Mapping[str, tuple[str, ...]]


TRAINING = Graph(STAGE_OUTPUTS, STAGE_INPUTS, STAGE_FILES, STAGE_SECTIONS)


@dataclass(frozen=True)
class Origin:
    """What a stage made its outputs from in this pipeline run.

    Attributes:
        parents: Digest of each input artifact and input file, by name.
        config_digest: Digest of the config sections.
    """

    parents: Mapping[str, str]
    config_digest: str


def find_origins(
    digests: Mapping[str, str], files: Mapping[str, str], sections: Mapping[str, str], graph: Graph = TRAINING
) -> dict[str, Origin]:
    """Return the origin of each stage's outputs, as the stage itself would write it into their manifests.

    Args:
        digests: Digest of each artifact of the pipeline run, by name.
        files: Digest of each input file, by name; "" where there is none.
        sections: Config sections as JSON, by name.
        graph: What the pipeline's stages read.

    Raises:
        UserError: A section does not fit.
    """
    parsed = {name: parse_section(name, text) for name, text in sections.items()}
    origins = {}
    for stage, inputs in graph.inputs.items():
        read = {f"{name}_file": files[name] for name in graph.files.get(stage, ()) if files[name]}
        config_digest = digest_sections({name: parsed[name] for name in graph.sections[stage]})
        origins[stage] = Origin(read | {name: digests[name] for name in inputs}, config_digest)
    return origins


def record(artifacts: Mapping[str, Any], files: Mapping[str, str], sections: Mapping[str, str]) -> None:
    """Link every stage to this pipeline run in MLflow, register the bundle, and list the artifacts for the command line.

    Args:
        artifacts: Kubeflow's artifacts, by a name of ``ARTIFACT_KINDS``.
        files: Digest of each input file, by name; "" where there is none.
        sections: Config sections as JSON, by name.
    """
    with open_task(NAME) as task:
        opened = {n: open_artifact(Path(a.path), ARTIFACT_KINDS[n], verify=False) for n, a in artifacts.items()}
        origins = find_origins({name: artifact.digest for name, artifact in opened.items()}, files, sections)
        tracked: dict[str, str] = {}
        if task.around.tracking_uri is not None:
            tracked = _track(task.around, opened, origins, files, sections)
        task.side.record({"artifacts": describe_artifacts(opened, origins, TRAINING), "mlflow": tracked})


def _track(
    around: Surroundings,
    artifacts: Mapping[str, Artifact],
    origins: Mapping[str, Origin],
    files: Mapping[str, str],
    sections: Mapping[str, str],
) -> dict[str, str]:
    from components.tracking import Tracker, flatten

    tracker = Tracker.open(around)
    link_cached(tracker, artifacts, origins, TRAINING)
    parsed = {name: parse_section(name, text) for name, text in sections.items()}
    tracking = parsed["tracking"]
    assert isinstance(tracking, TrackingConfig)
    scores = artifacts["evaluation"].read_json("scores.json")
    return tracker.finish(artifacts, files, flatten(parsed), scores, tracking.model_name)


def link_cached(tracker: "Tracker", artifacts: Mapping[str, Artifact], origins: Mapping[str, Origin], graph: Graph) -> None:
    """Give every stage that the cache answered a run in this pipeline run.

    Args:
        tracker: Of the pipeline run.
        artifacts: Those that the stages made, by name.
        origins: What ``find_origins`` returned.
        graph: The pipeline.
    """
    recorded = tracker.recorded_stages()
    for stage, names in graph.outputs.items():
        if stage not in recorded:
            tracker.record_cached(stage, origins[stage], {name: artifacts[name] for name in names})


def describe_artifacts(
    artifacts: Mapping[str, Artifact], origins: Mapping[str, Origin], graph: Graph
) -> dict[str, dict[str, Any]]:
    """Return kind, place, digest and origin of every artifact, by name, for ``RUN/run.json``."""
    return {name: _describe(artifacts[name], origins[stage]) for stage, names in graph.outputs.items() for name in names}


def _describe(artifact: Artifact, origin: Origin) -> dict[str, Any]:
    return {
        "kind": artifact.kind,
        "path": str(artifact.path),
        "digest": artifact.digest,
        "config_digest": origin.config_digest,
        "parents": dict(origin.parents),
    }
