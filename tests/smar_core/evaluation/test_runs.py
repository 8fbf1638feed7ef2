from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smar_core.errors import UserError
from smar_core.evaluation.measures import Qrels
from smar_core.evaluation.runs import (
    QrelsLine,
    RunLine,
    escape_id,
    qrels_lines,
    ranking_lines,
    read_qrels,
    read_run,
    unescape_id,
    write_lines,
)
from smar_core.retrieval.exact import Ranking

RANKING = Ranking(np.array([[2, 0], [1, -1]], dtype=np.int32), np.array([[1 / 3, 0.1], [-0.25, -np.inf]], dtype=np.float32))


def test_run_file_has_the_contract_form(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    assert write_lines(path, ranking_lines(["q1", "q2"], ["a", "b", "c d"], RANKING, "model")) == 3
    assert path.read_bytes() == (b"q1 Q0 c%20d 1 0.333333343 model\nq1 Q0 a 2 0.100000001 model\nq2 Q0 b 1 -0.25 model\n")


def test_run_reads_back_to_the_same_float32(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    lines = list(ranking_lines(["q1", "q2"], ["a", "b", "c d"], RANKING, "model"))
    write_lines(path, iter(lines))
    found = read_run(path)
    assert [(line.query_id, line.item_id, line.rank, line.tag) for line in found] == [
        (line.query_id, line.item_id, line.rank, line.tag) for line in lines
    ]
    assert [np.float32(line.score) for line in found] == [np.float32(line.score) for line in lines]


def test_qrels_read_back(tmp_path: Path) -> None:
    path = tmp_path / "qrels.trec"
    qrels = Qrels.build(2, [0, 0, 1], [1, 0, 2], [2, 1, 3])
    write_lines(path, qrels_lines(["q1", "q2"], ["a", "b", "c d"], qrels))
    assert path.read_text(encoding="utf-8") == "q1 0 a 1\nq1 0 b 2\nq2 0 c%20d 3\n"
    assert read_qrels(path) == [QrelsLine("q1", "a", 1), QrelsLine("q1", "b", 2), QrelsLine("q2", "c d", 3)]


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1))
def test_any_id_survives(item_id: str) -> None:
    escaped = escape_id(item_id)
    assert escaped.split() == [escaped]
    assert unescape_id(escaped) == item_id


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_run_line_survives(item_id: str, score: float) -> None:
    fields = str(RunLine("q", item_id, 3, score, "model")).split(" ")
    assert len(fields) == 6
    assert unescape_id(fields[2]) == item_id
    assert np.float32(fields[4]) == np.float32(score)


@pytest.mark.parametrize("line", ["q Q0 item 1 0.5", "q Q0 item one 0.5 tag", "q Q0 item 1 high tag"])
def test_bad_run_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.trec"
    path.write_text(f"q Q0 item 1 0.5 tag\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"bad\.trec line 2"):
        read_run(path)


def test_bad_qrels_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.trec"
    path.write_text("q 0 item high\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 1: the grade 'high'"):
        read_qrels(path)


def test_a_mark_of_the_byte_order_and_blank_lines_are_no_lines(tmp_path: Path) -> None:
    """The mark was read as part of the first query's id, and a blank line at the end was refused."""
    run, qrels = tmp_path / "run.trec", tmp_path / "qrels.trec"
    run.write_bytes(b"\xef\xbb\xbfq Q0 a 1 0.5 t\r\n\r\nq Q0 b 2 0.25 t\r\n \n")
    qrels.write_bytes(b"\xef\xbb\xbfq 0 a 1\n\n")
    assert read_run(run) == [RunLine("q", "a", 1, 0.5, "t"), RunLine("q", "b", 2, 0.25, "t")]
    assert read_qrels(qrels) == [QrelsLine("q", "a", 1)]


def test_lines_are_counted_with_the_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "bad.trec"
    path.write_text("\nq 0 item high\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2"):
        read_qrels(path)


def test_ids_of_other_programs_are_read_as_they_stand(tmp_path: Path) -> None:
    run, qrels = tmp_path / "run.trec", tmp_path / "qrels.trec"
    run.write_text("q Q0 a%20b one 0.5 t\n", encoding="utf-8")
    qrels.write_text("q 0 a%20b 1\n", encoding="utf-8")
    assert read_run(run, is_escaped=False, has_ranks=False) == [RunLine("q", "a%20b", 1, 0.5, "t")]
    assert read_qrels(qrels, is_escaped=False) == [QrelsLine("q", "a%20b", 1)]
