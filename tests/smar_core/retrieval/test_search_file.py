from pathlib import Path

import pytest

from smar_core.errors import UserError
from smar_core.evaluation.runs import read_run
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.search import read_queries, search_file


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_file_of_queries_becomes_a_run(finished_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smar_core.retrieval.search.CHUNK", 2)
    queries = read_queries(write(tmp_path / "queries.tsv", "7\tRed shirt\n8\t \r\n\n9\tsteel\tpot\n"))
    assert [query_id for query_id, _ in queries] == ["7", "8", "9"]
    bundle = Bundle.open(finished_run.bundle.path)
    assert search_file(bundle, queries, tmp_path / "run.trec", top_k=3, mode="text") == ["8"]
    lines = read_run(tmp_path / "run.trec")
    hits = [hit for answer in bundle.search(["red shirt", "steel pot"], 3, "text") for hit in answer]
    assert [(line.query_id, line.rank, line.tag) for line in lines] == [
        (query_id, rank, "smar-text") for query_id in ("7", "9") for rank in (1, 2, 3)
    ]
    assert [line.item_id for line in lines] == [hit.item_id for hit in hits]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1\tdress\ndress\n", "line 2 has no tab"),
        ("\tdress\n", "line 1: the query id '' is blank"),
        ("a b\tdress\n", "white space"),
        ("1\tdress\n1\tpot\n", "line 2: the query id '1' was used before"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        read_queries(write(tmp_path / "queries.tsv", text))


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "binary"):
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            read_queries(tmp_path / name)
