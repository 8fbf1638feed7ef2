"""``smar search`` with a file of queries: the run file is whole or not there."""

import errno
from pathlib import Path
from typing import Any

import pytest

from pipelines import searching
from smar_core.errors import UserError


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
