"""What every component does around the one call of its stage function.

``open_stage`` opens and verifies the input artifacts, parses the config sections, makes the ``StageContext``, and when the
block ends checks the outputs, gives them their place, and tells Kubeflow, MLflow and whoever started the run.

Outputs are moved to ``store/artifacts/KIND/DIGEST`` where a store is named. Kubeflow's local cache keys an input artifact by
its path and metadata, so two runs of a stage that make the same content then give the stages below it the same key: a
changed comment, a rebuilt artifact or data copied elsewhere re-trains nothing. It costs a rename. Without a store (a
cluster, a test) outputs stay at the path that Kubeflow chose.

MLflow is asked before the work whether it answers and lets the stage in, so that a wrong password costs no hours. When the work
is done, an MLflow that is away costs the stage its figures in MLflow and nothing else: ``record_run`` gives a stage without a
run one, made of what its artifacts tell.
"""

import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from components.hardware import describe_hardware
from components.side import SideFiles, die_with_starter
from components.surroundings import Surroundings
from smar_core.artifact import Artifact, open_artifact, write_json
from smar_core.config import PipelineConfig, RuntimeConfig, Section
from smar_core.digest import digest_json
from smar_core.errors import ArtifactError, UserError
from smar_core.stage import StageContext

if TYPE_CHECKING:
    from components.tracking import Tracker

ARTIFACT_KINDS: Mapping[str, str] = {
    "items": "items",
    "clicks": "clicks",
    "tokenizer": "tokenizer",
    "rejects": "rejects",
    "synthetic": "synthetic",
    "pretrained": "model",
    "gate": "gate",
    "finetuned": "model",
    "bundle": "bundle",
    "evaluation": "evaluation",
    "champion": "bundle",
    "reference": "reference",
    "decision": "decision",
}
"""Kind of every artifact that goes along an edge of a pipeline."""

SECONDS, HARDWARE = "seconds", "hardware"
"""Names under which Kubeflow's metrics of a stage hold how long it took and on what: they are cached with its outputs."""

_LOG = logging.getLogger(__name__)
_CHATTY = ("alembic", "apache_beam", "mlflow", "urllib3")

SectionT = TypeVar("SectionT", bound=Section)


@dataclass
class Stage:
    """A stage whose inputs are open.

    Attributes:
        name: Name of the stage.
        inputs: Opened input artifacts, by name.
        outputs: Path of each output artifact to make, by name.
        context: What the stage function is handed beside artifacts and config.
        figures: To be filled with what the stage function returns.
    """

    name: str
    inputs: Mapping[str, Artifact]
    outputs: Mapping[str, Path]
    context: StageContext
    sections: Mapping[str, Section]
    figures: dict[str, float] = field(default_factory=dict)

    def section(self, kind: type[SectionT]) -> SectionT:
        """Return the config section of a class."""
        return next(s for s in self.sections.values() if type(s) is kind)


@dataclass(frozen=True)
class StageResult:
    """What is known of a stage that has run.

    Attributes:
        name: Name of the stage.
        key: Digest of its inputs, config and code.
        code_digest: Digest of its code; "" when not told.
        sections: Its config.
        config_digest: Digest of its config.
        parents: Digest of each input artifact and input file, by name.
        outputs: Its artifacts, by name.
        figures: What the stage function returned.
        started: Unix time.
        seconds: How long it took.
    """

    name: str
    key: str
    code_digest: str
    sections: Mapping[str, Section]
    config_digest: str
    parents: Mapping[str, str]
    outputs: Mapping[str, Artifact]
    figures: Mapping[str, float]
    started: float
    seconds: float


@contextmanager
def open_stage(
    name: str,
    *,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    sections: Mapping[str, str],
    metrics: Any,
    code_digest: str,
    files: Mapping[str, str] | None = None,
    workspace: str = "",
) -> Iterator[Stage]:
    """Open a stage, let the block run it, and close it.

    Args:
        name: Name of the stage.
        inputs: Kubeflow's input artifacts, by a name of ``ARTIFACT_KINDS``.
        outputs: Kubeflow's output artifacts, likewise.
        sections: Config sections as JSON, by name; a field that is absent takes its default.
        metrics: Kubeflow's Metrics output.
        code_digest: Digest of the stage's code, part of the key of its work folder.
        files: Digest of each input file, by name; "" where there is none.
        workspace: Folder in which the stage's work folder is kept where there is no store; "" for none.

    Raises:
        ArtifactError: An input or an output is not a complete, unaltered artifact of its kind.
        UserError: A config section does not fit, or MLflow is named and does not answer or refuses before the block runs.
    """
    started = time.time()
    around = Surroundings.read()
    side = SideFiles(around.side, name)
    side.started()
    if around.side is not None:
        die_with_starter(around.side)
    for logger in _CHATTY:
        logging.getLogger(logger).setLevel(logging.WARNING)
    try:
        parsed = {section: parse_section(section, text) for section, text in sections.items()}
        _limit_threads(parsed)
        tracker = _find_tracker(around)
        opened = {n: open_artifact(Path(artifact.path), ARTIFACT_KINDS[n]) for n, artifact in inputs.items()}
        parents = {n: digest for n, digest in (files or {}).items() if digest} | {n: a.digest for n, a in opened.items()}
        config_digest = digest_sections(parsed)
        key = digest_json({"stage": name, "parents": parents, "config": config_digest, "code": code_digest})
        work = around.work_folder(key, workspace)
        paths = {n: Path(artifact.path) for n, artifact in outputs.items()}
        context = StageContext(config_digest=config_digest, work=work, parents=parents, progress=side.progress())
        stage = Stage(name, opened, paths, context, parsed)
        yield stage
        made = {n: _settle(n, artifact, around) for n, artifact in outputs.items()}
        seconds = time.time() - started
        _tell_kubeflow(metrics, stage.figures | {SECONDS: round(seconds, 3)}, stage.section(RuntimeConfig))
        result = StageResult(
            name, key, code_digest, parsed, config_digest, parents, made, _finite(stage.figures), started, seconds
        )
        if tracker is not None:
            _tell_mlflow(tracker, result)
        side.finished(result.seconds, dict(result.figures), {n: str(artifact.path) for n, artifact in made.items()})
        shutil.rmtree(work)
    except BaseException as error:
        side.failed(error)
        raise


def digest_sections(sections: Mapping[str, Section]) -> str:
    """Return the digest of the config sections that a stage is handed, by name."""
    return digest_json({name: section.model_dump(mode="json") for name, section in sections.items()})


def parse_section(name: str, text: str) -> Section:
    """Parse a config section; a field that is absent takes its default.

    Args:
        name: Name of the section.
        text: Its JSON.

    Raises:
        UserError: It is no JSON, or a value does not fit.
    """
    section = PipelineConfig.model_fields[name].annotation
    assert isinstance(section, type) and issubclass(section, Section)
    try:
        return section.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise UserError(f"parameter {name!r} is not JSON ({error})", "give a JSON object, {} for the defaults") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join((name, *map(str, first["loc"])))
        raise UserError(f"config key {where} has the value {first['input']!r}", f"correct it: {first['msg']}") from None


def _limit_threads(sections: Mapping[str, Section]) -> None:
    """Set torch's threads: other numbers give other weights, and OpenMP reads its variable only once."""
    runtime = sections["runtime"]
    assert isinstance(runtime, RuntimeConfig)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(runtime.num_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(runtime.num_threads)


def _settle(name: str, output: Any, around: Surroundings) -> Artifact:
    """Check an output, name its content in Kubeflow's metadata, and move it to its place in the store."""
    kind = ARTIFACT_KINDS[name]
    made = open_artifact(Path(output.path), kind, verify=False)
    output.metadata["digest"], output.metadata["kind"] = made.digest, made.kind
    place = around.artifact_folder(kind, made.digest)
    if place is None:
        return made
    if _is_intact(place, kind):
        shutil.rmtree(made.path)
    else:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made.path, place)
    output.uri = str(place)
    return open_artifact(place, kind, verify=False)


def _is_intact(path: Path, kind: str) -> bool:
    try:
        open_artifact(path, kind)
    except ArtifactError:
        return False
    return True


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Drop what is not a number: neither Kubeflow nor JSON can hold it."""
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def _tell_kubeflow(metrics: Any, figures: Mapping[str, float], runtime: RuntimeConfig) -> None:
    """Log figures and machine as Kubeflow's metadata, and write the file too: the local cache misses where there is none."""
    metrics.metadata[HARDWARE] = describe_hardware(runtime)
    finite = _finite(figures)
    for name, value in finite.items():
        metrics.log_metric(name, value)
    path = Path(metrics.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, finite)


def _find_tracker(around: Surroundings) -> "Tracker | None":
    """Return MLflow as this pipeline run sees it; None where none is named. Imported after the threads were limited."""
    if around.tracking_uri is None:
        return None
    from components.tracking import Tracker

    return Tracker.open(around)


def _tell_mlflow(tracker: "Tracker", result: StageResult) -> None:
    """Write the stage's run; what MLflow or the way to it fails with is a warning, since the outputs are made.

    MLflow's client wraps most of what HTTP fails with, but not where it sends files: those errors are kinds of ``OSError``, as
    is a full disk of a store that is a file.
    """
    from mlflow.exceptions import MlflowException

    try:
        tracker.record_stage(result)
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        _LOG.warning(
            "%s is done, but MLflow did not take its run (%s); the pipeline's last task tries again", result.name, reason
        )
