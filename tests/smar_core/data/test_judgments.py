from pathlib import Path

import pytest

from smar_core.data.judgments import JUDGMENTS, read_judgments
from smar_core.errors import UserError


def write(tmp_path: Path, *rows: str, header: str = "query,item_id,grade") -> str:
    (tmp_path / "judgments.csv").write_text("\n".join((header, *rows)) + "\n")
    return str(tmp_path / "judgments.csv")


def test_queries_are_normalised_and_equal_rows_collapsed(tmp_path: Path) -> None:
    table = read_judgments(write(tmp_path, "Red  Shirt,b,3", "red shirt,a,0", "RED SHIRT,b,3"))
    assert table.schema == JUDGMENTS
    assert table.to_pylist() == [
        {"query": "red shirt", "item_id": "a", "grade": 0},
        {"query": "red shirt", "item_id": "b", "grade": 3},
    ]


def test_columns_may_be_mapped(tmp_path: Path) -> None:
    path = write(tmp_path, "red,a,1", header="q,doc,rel")
    table = read_judgments(path, {"judgments.query": "q", "item_id": "doc", "grade": "rel"})
    assert table.to_pylist() == [{"query": "red", "item_id": "a", "grade": 1}]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (("red,a,1", "Red,a,2"), "row 1 of judgments.csv gives item 'a' for query 'red' the grade 2, an earlier row 1"),
        (("red,a,1", " ,a,2"), "row 1 of judgments.csv has no usable query"),
        (("red,,1",), "row 0 of judgments.csv has no usable item_id"),
        (("red,a,high",), "no usable grade"),
        (("red,a,-1",), "no usable grade"),
        (("red,a,1.5",), "no usable grade"),
        ((), "holds no judgment"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, rows: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_judgments(write(tmp_path, *rows))
