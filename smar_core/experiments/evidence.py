"""The small file that a finished trial leaves, so that evidence outlasts a sitting and several sittings add up.

``<setting>-<seed>.json`` holds what made the figures (config, data, code, versions, hardware), how long it took, the measures,
and R@50 of every query, without which nothing could be compared pairwise later. Which query a value belongs to, and in which
slices it is, stands once in ``queries-<digest>.json`` beside it, shared by all trials of equal data: some 30 kB a trial of
1,700 queries and 110 kB for the queries. A line a key, so that a changed file has a readable difference. Left out: models, runs
and other measures' values by query, which are artifacts.
"""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from smar_core import __version__
from smar_core.artifact import Artifact
from smar_core.digest import digest_json
from smar_core.errors import UserError
from smar_core.experiments.diagnosis import Diagnosis
from smar_core.experiments.records import COMPARED_SLICES, DIGITS, MEASURE, Record
from smar_core.experiments.trials import Split, Trial

SYSTEM = "model"
"""The system of the evaluation that stands for a trial: the routed search."""

KEPT_MEASURES = ("R@50", "P@50", "F1@50", "R@10", "P@10", "nDCG@10", "RR@10")
_LIBRARIES = ("torch", "transformers", "faiss-cpu", "numpy")


class Queries(Record):
    """The test queries that trials of equal data share.

    Attributes:
        query_ids: In the order of every trial's values.
        slices: Places of the queries of each slice; ``overall`` holds all of them and is left out.
    """

    query_ids: tuple[str, ...]
    slices: dict[str, tuple[int, ...]]

    @property
    def digest(self) -> str:
        """Digest of all of it: what the file is named by."""
        return digest_json(self.model_dump(mode="json"))

    @property
    def comparable(self) -> str:
        """Digest of what trials are compared on; other slices may differ, as those of categories with enough queries."""
        return digest_json([self.query_ids, [self.places(name).tolist() for name in COMPARED_SLICES]])

    def places(self, slice_name: str) -> NDArray[np.int64]:
        """Return the places of a slice's queries."""
        if slice_name == "overall":
            return np.arange(len(self.query_ids))
        return np.array(self.slices.get(slice_name, ()), dtype=np.int64)


class Evidence(Record):
    """The content of a trial's file.

    Attributes:
        preset, settings: What the experiment's trials started from.
        trial: What was trained.
        split: Days that were measured.
        config: What shapes the figures (``trials.shaping_values``).
        config_digest: Its digest.
        data_digest: Of the catalogue, the log and the pictures (``trials.data_digest``).
        code: Digest of the code of each stage.
        versions: Of this program and the libraries that compute.
        hardware: In words.
        seconds: Of each stage, in the process that finished it.
        training: Summary figures of ``pretrain`` and ``finetune``.
        num_train_queries: True queries that were trained on; None in files of earlier versions.
        metrics: ``{slice: {"num_queries": n, measure: {"value", "low", "high"}}}`` of the routed search.
        queries: Digest of the ``Queries``.
        values: R@50 by query.
        diagnosis: What stands beside the routed search; empty in files of earlier versions.
    """

    preset: str
    settings: tuple[str, ...]
    trial: Trial
    split: Split
    config: dict[str, dict[str, Any]]
    config_digest: str
    data_digest: str
    code: dict[str, str]
    versions: dict[str, str]
    hardware: str
    seconds: dict[str, float]
    training: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    queries: str
    values: tuple[float, ...]
    diagnosis: Diagnosis = Diagnosis()
    num_train_queries: int | None = None

    @property
    def synthetic_ratio_seen(self) -> float | None:
        """Distinct synthetic pairs that pre-training has seen, a training query; None in files of earlier versions."""
        seen = self.training.get("pretrain", {}).get("num_distinct_synthetic_pairs_seen")
        return None if seen is None or not self.num_train_queries else float(seen / self.num_train_queries)


def gather_queries(evaluation: Artifact) -> Queries:
    """Return the queries on whose clicks an evaluation measured, by id, with their slices."""
    table = _values_table(evaluation)
    place = {query_id: number for number, query_id in enumerate(table)}
    slices: dict[str, list[int]] = {}
    for row in evaluation.read_table("slices").to_pylist():
        # A slice of queries that are not among the days' (synthetic ones) has no values here.
        if row["slice"] != "overall" and row["query_id"] in place:
            slices.setdefault(row["slice"], []).append(place[row["query_id"]])
    return Queries(query_ids=tuple(place), slices={name: tuple(sorted(places)) for name, places in slices.items()})


def gather_values(evaluation: Artifact) -> tuple[float, ...]:
    """Return R@50 of the queries, in the order of ``gather_queries``."""
    return tuple(round(value, DIGITS) for value in _values_table(evaluation).values())


def gather_metrics(scores: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the kept measures of the routed search, by slice.

    >>> gather_metrics({"model": {"overall": {"num_queries": 2, "R@50": {"value": 1 / 3}, "R@100": {"value": 0.5}}}})
    {'overall': {'num_queries': 2, 'R@50': {'value': 0.333333}}}
    """
    return {
        name: {"num_queries": cells["num_queries"]}
        | {
            measure: {part: round(v, DIGITS) for part, v in cells[measure].items()}
            for measure in KEPT_MEASURES
            if measure in cells
        }
        for name, cells in scores[SYSTEM].items()
    }


def gather_training(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a ``training.json``, those of its best step among them.

    >>> gather_training({"stage": "pretrain", "best_step": 3, "best": {"loss": 1.25}})
    {'best_step': 3, 'best': {'loss': 1.25}}
    """
    figures: dict[str, Any] = {}
    for name, value in summary.items():
        if name == "best":
            figures[name] = gather_training(value)
        elif isinstance(value, int | float):
            figures[name] = round(value, DIGITS)
    return figures


def describe_versions() -> dict[str, str]:
    """Return the versions of this program, Python and the libraries that compute."""
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"smar": __version__, "python": platform.python_version(), **libraries}


def write_evidence(folder: Path, evidence: Evidence, queries: Queries) -> Path:
    """Write a trial's file, and the queries' if it is not there; each whole or not at all.

    Args:
        folder: Folder of the results; made if need be.
        evidence: Of the trial.
        queries: Those of its values.

    Returns:
        The trial's file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shared = queries_file(folder, evidence.queries)
    if not shared.is_file():
        queries.write(shared)
    path = evidence_file(folder, evidence.trial)
    evidence.write(path)
    return path


def evidence_file(folder: Path, trial: Trial) -> Path:
    """Return the place of a trial's file."""
    return folder / f"{trial.name}.json"


def queries_file(folder: Path, digest: str) -> Path:
    """Return the place of the file of queries of a digest."""
    return folder / f"queries-{digest[:16]}.json"


def read_evidence(folder: Path, trial: Trial) -> Evidence | None:
    """Read a trial's file; None where there is none; raises UserError where it is not one."""
    path = evidence_file(folder, trial)
    return Evidence.read(path) if path.is_file() else None


def read_queries(folder: Path, digest: str) -> Queries:
    """Read the queries of a digest.

    Raises:
        UserError: They are not there, or altered.
    """
    path = queries_file(folder, digest)
    queries = Queries.read(path)
    if queries.digest != digest:
        raise UserError(f"{path} was altered", "bring back what was committed, or remove it and the results beside it")
    return queries


def _values_table(evaluation: Artifact) -> dict[str, float]:
    """Return R@50 of the routed search on clicks by query id, in the order of the ids."""
    table = evaluation.read_table("per_query")
    for column, word in (("system", SYSTEM), ("source", "clicks"), ("measure", MEASURE)):
        table = table.filter(pc.equal(table[column], word))
    return dict(sorted(zip(table["query_id"].to_pylist(), table["value"].to_pylist(), strict=True)))
