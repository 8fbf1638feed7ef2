"""What the tasks of a refresh do around its stages: find versions in the registry, fetch them, record, promote.

The registry is asked by a task that is never cached, and what it answers are strings: versions and content digests. The task
that downloads is cached by those, so on a cluster too, where an artifact's place is part of the key of whoever reads it, an
unchanged champion leaves the stages below untouched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.record import Graph, describe_artifacts, find_origins, link_cached
from components.stage import ARTIFACT_KINDS, parse_section
from components.surroundings import Surroundings
from components.task import open_task
from smar_core.artifact import Artifact, open_artifact
from smar_core.config import REFRESH_STAGE_SECTIONS, TrackingConfig
from smar_core.errors import ArtifactError, UserError

if TYPE_CHECKING:
    from components.tracking import ModelRegistry, Tracker, Version

REFRESH = Graph(
    outputs={
        "fetch_models": ("finetuned", "gate", "champion"),
        "prepare_refresh": ("items", "reference", "rejects"),
        "export_embeddings": ("bundle",),
        "decide_promotion": ("decision",),
    },
    inputs={
        "fetch_models": (),
        "prepare_refresh": ("finetuned", "champion"),
        "export_embeddings": ("items", "finetuned", "gate"),
        "decide_promotion": ("champion", "bundle", "reference"),
    },
    files={"prepare_refresh": ("items", "clicks", "images"), "decide_promotion": ("judgments",)},
    sections=REFRESH_STAGE_SECTIONS,
)

FIND, RECORD, PROMOTE = "find_versions", "record_refresh", "promote"
"""Tasks of a refresh that are never cached, beside the one that every pipeline begins with."""

FETCHED: Mapping[str, str] = {"finetuned": "finetuned", "gate": "gate", "champion": "bundle"}
"""Part of a registered version that each artifact of ``fetch_models`` is."""


@dataclass(frozen=True)
class Versions:
    """Which versions a refresh is about: strings, as Kubeflow's parameters are.

    Attributes:
        model_name: Name of the registered model.
        model_version: The version whose model and gate encode the new catalogue.
        finetuned_digest: Digest of its model.
        gate_digest: Digest of its gate.
        champion_version: The version to compare with: the champion, or where there is none the model's own.
        champion_digest: Digest of its bundle.
        has_champion: "yes" or "no".
    """

    model_name: str
    model_version: str
    finetuned_digest: str
    gate_digest: str
    champion_version: str
    champion_digest: str
    has_champion: str


def find_versions(alias: str, tracking: str) -> Versions:
    """Look the versions up.

    Args:
        alias: Of the version whose model is used; the champion's means the newest where there is no champion.
        tracking: Config section ``tracking`` as JSON.

    Raises:
        UserError: There is no registry, no such version, or one that cannot be refreshed.
    """
    from components.tracking import CHAMPION, NEWEST

    with open_task(FIND) as task:
        registry = _registry(open_tracker(task.around), tracking)
        champion = registry.find(CHAMPION)
        model = registry.find(NEWEST) if alias == CHAMPION and champion is None else registry.find(alias)
        if model is None:
            raise UserError(
                f"the registry has no version of {registry.name} with the alias {alias}",
                "train a model with smar run, which registers it as newest, or name another with tracking.model_name",
            )
        compared = champion or model
        for version in (model, compared):
            _check_whole(version, registry)
        return Versions(
            registry.name,
            model.number,
            model.digests["finetuned"],
            model.digests["gate"],
            compared.number,
            compared.digests["bundle"],
            "no" if champion is None else "yes",
        )


def fetch_models(name: str, versions: Mapping[str, str], digests: Mapping[str, str], places: Mapping[str, Path]) -> None:
    """Download a model, its gate and the champion's bundle.

    Args:
        name: Of the registered model.
        versions: Version of each of ``FETCHED``.
        digests: What each must be.
        places: Where each goes.

    Raises:
        UserError: The registry holds other content than it said.
    """
    registry = open_tracker(Surroundings.read()).registry(name)
    for artifact, part in FETCHED.items():
        held = f"the {part} of version {versions[artifact]} of {name}"
        registry.fetch(versions[artifact], part, places[artifact])
        try:
            fetched = open_artifact(places[artifact], ARTIFACT_KINDS[artifact])
        except ArtifactError as error:
            raise UserError(f"{held} cannot be used ({error})", "train it anew") from None
        if fetched.digest != digests[artifact]:
            raise UserError(f"{held} is not what the registry says of it", "train it anew")


def record_refresh(
    artifacts: Mapping[str, Any], files: Mapping[str, str], sections: Mapping[str, str], versions: Mapping[str, str]
) -> None:
    """Link every stage to this pipeline run in MLflow, with the decision, and list the artifacts for the command line.

    Args:
        artifacts: Kubeflow's artifacts, by a name of ``ARTIFACT_KINDS``.
        files: Digest of each input file, by name; "" where there is none.
        sections: Config sections as JSON, by name.
        versions: Versions of the model and of the champion.
    """
    from components.tracking import flatten

    with open_task(RECORD) as task:
        opened = _open(artifacts)
        origins = find_origins({name: artifact.digest for name, artifact in opened.items()}, files, sections, REFRESH)
        decision = opened["decision"].read_json("decision.json")
        tracker = open_tracker(task.around)
        link_cached(tracker, opened, origins, REFRESH)
        tracker.link(opened, files)
        page = opened["decision"].path / "page.html"
        settings = flatten({name: parse_section(name, text) for name, text in sections.items()})
        tracker.tell(settings, _measures(decision), [page], {"smar.verdict": decision["verdict"]})
        if decision["verdict"] == "keep":
            tracker.end()
        told = {"run_id": tracker.parent_id, **versions}
        described = describe_artifacts(opened, origins, REFRESH)
        task.side.record({"verdict": decision["verdict"], "artifacts": described, "mlflow": told})


def promote(artifacts: Mapping[str, Any], files: Mapping[str, str], tracking: str, compared: str | None) -> str:
    """Register the new bundle with its model and gate, and point the alias ``champion`` at it, which is the last thing done.

    ``newest`` stays where it is: the model is an old one.

    Args:
        artifacts: Kubeflow's artifacts, by a name of ``ARTIFACT_KINDS``.
        files: Digest of each input file, by name; "" where there is none.
        tracking: Config section ``tracking`` as JSON.
        compared: Version that was the champion when the bundle was compared with it; None where there was none.

    Returns:
        Number of the version.

    Raises:
        UserError: Another version has become the champion meanwhile.
    """
    with open_task(PROMOTE) as task:
        tracker = open_tracker(task.around)
        registry = _registry(tracker, tracking)
        version = tracker.register(_open(artifacts), files, registry.name, {}, None)
        registry.promote(version, compared)
        tracker.end()
        task.outputs["model_version"] = version
    return version


def open_tracker(around: Surroundings) -> "Tracker":
    """Return MLflow as this pipeline run sees it.

    Raises:
        UserError: No store is named, or it does not answer.
    """
    from components.tracking import Tracker

    if around.tracking_uri is None:
        raise UserError("a refresh takes its model from MLflow's registry, and no store is named", "set MLFLOW_TRACKING_URI")
    return Tracker.open(around)


def _registry(tracker: "Tracker", tracking: str) -> "ModelRegistry":
    config = parse_section("tracking", tracking)
    assert isinstance(config, TrackingConfig)
    return tracker.registry(config.model_name)


def _check_whole(version: "Version", registry: "ModelRegistry") -> None:
    if not version.digests:
        raise UserError(
            f"version {version.number} of {registry.name} holds no model beside its bundle: an earlier program registered it",
            "run smar run again with its settings, which registers it whole",
        )


def _open(artifacts: Mapping[str, Any]) -> dict[str, Artifact]:
    return {name: open_artifact(Path(a.path), ARTIFACT_KINDS[name], verify=False) for name, a in artifacts.items()}


def _measures(decision: Mapping[str, Any]) -> dict[str, float]:
    """Return what MLflow's table compares refreshes by."""
    found = {}
    for source, view in decision["views"].items():
        for system in ("champion", "refreshed"):
            found[f"{system}/{decision['measure']}/{source}"] = float(view[system])
        found[f"p/{source}"] = float(view["p_holm"])
    return found
