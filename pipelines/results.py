"""What a finished run leaves in ``OUT``: real copies, put in place in one go at the end.

Everything is written to ``OUT/.partial`` first and then renamed piece by piece, so that a run that fails leaves what stood
there before, and files of others in ``OUT`` are not touched.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from components.record import STAGE_OUTPUTS
from pipelines.local import Outcome
from smar_core.artifact import write_json
from smar_core.config import PipelineConfig
from smar_core.errors import UserError

RUN_FILE = "run.json"
_PARTIAL = ".partial"
_RUNS = "run-*.trec"


class RunRecord(BaseModel):
    """The content of ``run.json``: how a run went, and where its artifacts are.

    Attributes:
        pipeline_run_id: Its id.
        preset: The preset it started from.
        variant: The model of the paper's comparison.
        arguments: Every parameter of the pipeline.
        stages: By name: ``status`` (executed or cached), ``seconds`` (None when cached), ``figures``, ``outputs``.
        artifacts: By name: ``kind``, ``path``, ``digest``, ``config_digest``, ``parents``.
        mlflow: Tracking URI, run and model version.
        log: File with everything that was printed.
    """

    pipeline_run_id: str
    preset: str | None
    variant: str = "smar"
    arguments: dict[str, str]
    stages: dict[str, dict[str, Any]]
    artifacts: dict[str, dict[str, Any]]
    mlflow: dict[str, str]
    log: str


@dataclass(frozen=True)
class Results:
    """What is to be left in OUT.

    Attributes:
        record: The run.
        config: Its whole configuration.
        pipeline: The compiled pipeline that ran.
    """

    record: RunRecord
    config: PipelineConfig
    pipeline: Path


def describe_stages(outcome: Outcome, made: Mapping[str, tuple[str, ...]] = STAGE_OUTPUTS) -> dict[str, dict[str, Any]]:
    """Return the ``stages`` of a ``RunRecord``.

    Args:
        outcome: Of the pipeline run.
        made: Artifacts that each stage makes.
    """
    return {
        name: {
            "status": "executed" if state.is_started else "cached",
            "seconds": state.seconds,
            "figures": state.figures,
            "outputs": list(made.get(name, ())),
        }
        for name, state in outcome.states.items()
    }


def publish(results: Results, out: Path) -> None:
    """Write the results to ``out``, replacing those of an earlier run.

    Args:
        results: What to leave.
        out: The folder; made if need be.

    Raises:
        UserError: It cannot be written.
    """
    put_in_place(out, lambda folder: _fill(results, folder))


def put_in_place(out: Path, fill: Callable[[Path], None]) -> None:
    """Let a function fill a folder beside the results, and then put what is in it in their place.

    Of an earlier run's TREC runs none stays: a system that the new model has not would be measured by its queries.

    Args:
        out: The folder of the results; made if need be.
        fill: Writes to the folder that it is given.

    Raises:
        UserError: It cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _partial_folder(out) as partial:
            fill(partial)
            pieces = sorted(partial.iterdir())
            for stale in {*out.glob(_RUNS)} - {out / piece.name for piece in pieces}:
                stale.unlink()
            for piece in pieces:
                _replace(piece, out / piece.name)
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror})", "free some space or name another folder with --out"
        ) from None


def read_run(folder: Path) -> RunRecord:
    """Read the record of a finished run.

    Raises:
        UserError: The folder holds none.
    """
    path = folder / RUN_FILE
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{folder} holds no readable {RUN_FILE}", "name the OUT folder of a finished smar run") from None


def lineage(arguments: Mapping[str, str], artifacts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the digests of a run, from input files to bundle: equal for equal runs.

    Args:
        arguments: Every parameter of the pipeline.
        artifacts: As in ``RunRecord``.
    """
    digests = {name: value for name, value in arguments.items() if name.endswith("_digest")}
    code = {name.removeprefix("code_"): value for name, value in arguments.items() if name.startswith("code_")}
    described = {
        name: {key: artifact[key] for key in ("kind", "digest", "config_digest", "parents")}
        for name, artifact in artifacts.items()
    }
    return {"inputs": digests, "code": code, "artifacts": described}


def _fill(results: Results, folder: Path) -> None:
    artifacts = {name: Path(a["path"]) for name, a in results.record.artifacts.items()}
    evaluation = artifacts["evaluation"]
    shutil.copyfile(evaluation / "scores.json", folder / "metrics.json")
    shutil.copyfile(evaluation / "page.html", folder / "report.html")
    shutil.copyfile(evaluation / "per_query.parquet", folder / "per_query.parquet")
    for trec in evaluation.glob("*.trec"):
        shutil.copyfile(trec, folder / trec.name)
    shutil.copytree(artifacts["bundle"], folder / "bundle")
    shutil.copyfile(results.pipeline, folder / "pipeline.yaml")
    config = yaml.safe_dump(results.config.model_dump(mode="json", exclude={"cluster"}), sort_keys=False)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    write_json(folder / "lineage.json", lineage(results.record.arguments, results.record.artifacts))
    write_json(folder / RUN_FILE, results.record.model_dump(mode="json"))


@contextmanager
def _partial_folder(out: Path) -> Iterator[Path]:
    partial = out / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(new: Path, place: Path) -> None:
    """Put a file or folder in place of another; a folder cannot be replaced in one step, so the old one steps aside."""
    if place.is_dir() and not place.is_symlink():
        place.rename(new.with_name(f"{new.name}.old"))
    new.replace(place)


def read_scores(out: Path) -> Mapping[str, Any]:
    """Read a run's metrics.json."""
    scores: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return scores
