"""``smar search``: it answers as the bundle does, and the run file of a file of queries is whole or not there."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import searching
from pipelines.cli import invoke
from smar_core.errors import UserError
from smar_core.evaluation.runs import RunLine, read_run
from smar_core.retrieval.bundle import Bundle, Mode
from tests.pipelines.shop_runs import Shop


@pytest.mark.parametrize("mode", ["routed", "text", "multimodal"])
def test_hits_of_a_query_are_printed_a_line_each(finished: Shop, capsys: pytest.CaptureFixture[str], mode: Mode) -> None:
    folder = finished.folder / "first" / "bundle"
    assert invoke(["search", str(folder), "Red  shirt", "--top-k", "3", "--mode", mode]) == 0
    (hits,) = Bundle.open(folder).search(["Red  shirt"], 3, mode)
    printed = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert printed == [[str(h.rank), f"{h.score:.4f}", h.item_id, h.title, h.brand, h.category] for h in hits]
    assert len(printed) == 3


def test_a_file_of_queries_becomes_a_run(finished: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty line is no query; a query that is blank is named, and has no rows."""
    folder, queries, out = finished.folder / "first" / "bundle", tmp_path / "queries.tsv", tmp_path / "run.trec"
    queries.write_text("q1\tRed  shirt\n\nq2\t \nq3\tblue mug\n")
    told = ["--queries", str(queries), "--out", str(out), "--top-k", "2", "--mode", "text"]
    assert invoke(["search", str(folder), *told]) == 0
    assert "query q2 is blank" in capsys.readouterr().err
    answers = zip(("q1", "q3"), Bundle.open(folder).search(["Red  shirt", "blue mug"], 2, "text"), strict=True)
    expected = [RunLine(query_id, hit.item_id, hit.rank, hit.score, "smar-text") for query_id, hits in answers for hit in hits]
    found = read_run(out)
    assert [replace(line, score=0.0) for line in found] == [replace(line, score=0.0) for line in expected]
    assert [line.score for line in found] == pytest.approx([line.score for line in expected], abs=1e-5)


class FullDisk:
    """A bundle's search on a disk that fills up after the first line."""

    def __call__(self, _bundle: Any, _asked: Any, out: Path, _top_k: int, _mode: str) -> list[str]:
        out.write_text("q1 Q0 i1 1 0.5 smar-routed\n")
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of queries, for a bundle that is never asked."""
    monkeypatch.setattr(searching.Bundle, "open", lambda folder: None)
    path = tmp_path / "queries.tsv"
    path.write_text("q1\tred shirt\n")
    return path


def test_failed_run_file_leaves_the_earlier_one(queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "search_file", FullDisk())
    out = tmp_path / "run.trec"
    out.write_text("earlier")
    with pytest.raises(UserError, match=r"run\.trec cannot be written \(No space left"):
        searching.search_queries(tmp_path, queries, out, 5, "routed")
    assert out.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["queries.tsv", "run.trec"]


def test_run_file_replaces_the_earlier_one(queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "search_file", lambda bundle, asked, out, top_k, mode: out.write_text("new") and [])
    out = tmp_path / "run.trec"
    out.write_text("earlier")
    searching.search_queries(tmp_path, queries, out, 5, "routed")
    assert out.read_text() == "new"


def test_folder_that_cannot_be_written(queries: Path) -> None:
    """Not even root can write there."""
    with pytest.raises(UserError, match="cannot be written"):
        searching.search_queries(queries.parent, queries, Path("/proc/run.trec"), 5, "routed")
