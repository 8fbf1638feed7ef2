"""Files of trials: small, readable, whole."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smar_core.artifact import create_artifact, open_artifact
from smar_core.errors import UserError
from smar_core.experiments.evidence import (
    describe_versions,
    evidence_file,
    gather_queries,
    gather_values,
    queries_file,
    read_evidence,
    read_queries,
    write_evidence,
)
from smar_core.experiments.trials import Trial
from smar_core.schemas import PER_QUERY, SLICES
from tests.smar_core.experiments.evidences import QUERIES, make_evidence

SMAR, DPSR = Trial(variant="smar"), Trial(variant="dpsr")
VALUES = (0.5, 1.0, 0.0, 0.25)


def test_write_then_read_is_the_same(tmp_path: Path) -> None:
    evidence = make_evidence(SMAR, VALUES)
    assert write_evidence(tmp_path / "new", evidence, QUERIES) == tmp_path / "new" / "smar-0.json"
    assert read_evidence(tmp_path / "new", SMAR) == evidence
    assert read_queries(tmp_path / "new", evidence.queries) == QUERIES


def test_trials_share_the_file_of_queries_and_a_line_holds_a_key(tmp_path: Path) -> None:
    for trial in (SMAR, DPSR):
        write_evidence(tmp_path, make_evidence(trial, VALUES), QUERIES)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "dpsr-0.json",
        queries_file(tmp_path, QUERIES.digest).name,
        "smar-0.json",
    ]
    text = evidence_file(tmp_path, SMAR).read_text()
    assert len(text.splitlines()) == 2 + len(json.loads(text))


def test_name_says_what_was_moved(tmp_path: Path) -> None:
    trial = Trial(variant="smar", overrides=("loss.alpha=0.5",), seed=2)
    assert evidence_file(tmp_path, trial).name == "smar,loss.alpha=0.5-2.json"


def test_altered_queries_are_refused(tmp_path: Path) -> None:
    write_evidence(tmp_path, make_evidence(SMAR, VALUES), QUERIES)
    path = queries_file(tmp_path, QUERIES.digest)
    path.write_text(path.read_text().replace('"fashion": [0,1]', '"fashion": [0]'))
    with pytest.raises(UserError, match="altered"):
        read_queries(tmp_path, QUERIES.digest)


def test_values_and_slices_of_an_evaluation_follow_the_ids(tmp_path: Path) -> None:
    """Rows come in any order, and other systems, sources and measures stand between them."""
    kept = [("b", 1 / 3), ("a", 1.0)]
    rows = [("model", "clicks", query, f"query {query}", "R@50", value) for query, value in kept]
    rows += [("text_only", "clicks", "a", "query a", "R@50", 0.0), ("model", "judgments", "a", "query a", "R@50", 0.0)]
    rows += [("model", "clicks", "a", "query a", "P@50", 0.1)]
    slices = [("overall", "a"), ("overall", "b"), ("fashion", "b"), ("synthetic", "another query")]
    with create_artifact(tmp_path / "evaluation", "evaluation", config_digest="", parents={}) as folder:
        columns = list(zip(*rows, strict=True))
        pq.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], schema=PER_QUERY), folder / "per_query.parquet")
        columns = list(zip(*slices, strict=True))
        pq.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], schema=SLICES), folder / "slices.parquet")
        (folder / "scores.json").write_text("{}")
        (folder / "page.html").write_text("")
    evaluation = open_artifact(tmp_path / "evaluation", "evaluation")
    queries = gather_queries(evaluation)
    assert queries.query_ids == ("a", "b")
    assert queries.slices == {"fashion": (1,)}
    assert gather_values(evaluation) == (1.0, 0.333333)


def test_versions_are_told() -> None:
    assert describe_versions()["torch"].startswith("2.")
