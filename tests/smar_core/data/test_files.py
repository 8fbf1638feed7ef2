import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from smar_core.data.files import digest_inputs, find_data_files, list_files, open_file, read_columns, read_file, split_file
from smar_core.errors import UserError

ROWS = {"query": ["red, shirt", 'a "b"', "紅", ""], "item_id": ["1", "2", "3", "4"]}
FIELDS = {"query": "query", "item_id": "item_id"}


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table(ROWS), path, row_group_size=3)


def write_csv(path: Path) -> None:
    pa.csv.write_csv(pa.table(ROWS), path)


def write_jsonl(path: Path) -> None:
    rows = pa.table(ROWS).to_pylist()
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")


def read_all(path: str, fields: dict[str, str] = FIELDS, batch_rows: int = 2) -> tuple[list[int], dict]:
    firsts, batches = [], []
    for file in find_data_files(path):
        for first, batch in read_file(file, fields, batch_rows):
            firsts.append(first)
            batches.append(batch)
    return firsts, pa.Table.from_batches(batches).to_pydict()


@pytest.mark.parametrize(
    ("name", "write"), [("a.parquet", write_parquet), ("a.csv", write_csv), ("a.jsonl", write_jsonl), ("a.json", write_jsonl)]
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    firsts, rows = read_all(str(tmp_path / name))
    assert rows == ROWS
    assert firsts[0] == 0 and firsts == sorted(set(firsts))


@pytest.mark.parametrize(("name", "write"), [("a.csv", write_csv), ("a.jsonl", write_jsonl)])
@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_packed_text_is_unpacked(
    tmp_path: Path, name: str, write: Callable[[Path], None], ending: str, pack: Callable[[bytes], bytes]
) -> None:
    write(tmp_path / name)
    packed = tmp_path / f"{name}.{ending}"
    packed.write_bytes(pack((tmp_path / name).read_bytes()))
    (tmp_path / name).unlink()
    assert read_all(str(packed))[1] == ROWS


def test_a_parquet_file_of_any_name_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "items")
    assert read_all(str(tmp_path / "items"))[1] == ROWS


def test_row_groups_are_parts_with_their_rows(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet")
    (file,) = find_data_files(str(tmp_path / "a.parquet"))
    assert [(part.row_group, part.first_row) for part in split_file(file)] == [(0, 0), (1, 3)]


def test_one_column_may_serve_two_fields(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet")
    write_csv(tmp_path / "a.csv")
    for name in ("a.parquet", "a.csv"):
        rows = read_all(str(tmp_path / name), {"title": "query", "brand": "query"})[1]
        assert rows["title"] == rows["brand"] == ROWS["query"]


def test_a_folder_is_its_data_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "day=2").mkdir()
    (tmp_path / "_temporary").mkdir()
    for name in ("day=2/b.parquet", "a.parquet", "_temporary/c.parquet", ".d.parquet"):
        write_parquet(tmp_path / name)
    (tmp_path / "README.txt").write_text("no data")
    assert [file.name for file in find_data_files(str(tmp_path))] == ["a.parquet", "day=2/b.parquet"]


def test_json_numbers_and_flags_become_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"item_id": 12, "query": true}\n{"item_id": "12"}\n')
    assert read_all(str(tmp_path / "a.jsonl"))[1] == {"query": ["true", None], "item_id": ["12", "12"]}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.parquet", b"query,item_id\n", "a.parquet is not a Parquet file"),
        ("a.parquet", b"", "a.parquet is empty"),
        ("a.parquet", b"PAR1" + b"x" * 50, "a.parquet is damaged or truncated"),
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"query,query\n1,2\n", "several columns 'query'"),
        ("a.csv", b"query,item_id\n1,2,3\n", "a.csv is damaged"),
        ("a.csv", b"query,item_id\n\xff\xfe,2\n", "a.csv is not UTF-8 text .*; save it as UTF-8"),
        ("a.csv", b"query,item_id,Gr\xf6\xdfe\n1,2,3\n", "a.csv is not UTF-8 text .*; save it as UTF-8"),
        ("a.csv", b'query,item_id\n"1,2\n3,4\n', "a.csv is damaged .*; .*close every quotation mark"),
        ("a.csv", b'"query,item_id\n1,2\n', "a.csv is empty; .*close every quotation mark"),
        ("a.csv.gz", b"query,item_id\n", "a.csv.gz is damaged"),
        ("a.jsonl", b"", "a.jsonl is empty"),
        ("a.jsonl", b'{"query": 1}\n{"query":', "line 2 of a.jsonl is not JSON"),
        ("a.jsonl", b'{"query": 1}\n{"query": "Gr\xf6\xdfe"}', "line 2 of a.jsonl is not UTF-8 text .*; save it as UTF-8"),
        (
            "a.jsonl",
            b'{"query": "\\ud83d\\udc5f"}\n{"query": "shirt \\ud83d"}',
            r"column 'query' in line 2 of a.jsonl is not UTF-8 text: '\\ud83d' is half a character; save it as UTF-8",
        ),
        ("a.jsonl", b"[1]\n", "line 1 of a.jsonl is not a JSON object"),
        ("a.jsonl", b'{"query": [1], "item_id": 1}\n', "column 'query' in line 1 of a.jsonl holds a list"),
        ("a.txt", b"hello", "format of a.txt cannot be told"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        for file in find_data_files(str(tmp_path / name)):
            assert read_columns(file)
            list(read_file(file, FIELDS))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['"nike,1,x', "red,2,x", '"adidas,3,x'], "row 1 of a.csv has a line break in field 'query', after 'nike,1,x'"),
        (['nike,"1,x', "red,2,x", 'adidas,"3,x'], "row 1 of a.csv has a line break in field 'item_id', after '1,x'"),
        (['nike,1,"x', "red,2,x"], "row 1 of a.csv has a quotation mark that nothing closes"),
        (['nike,1,"x'], "row 1 of a.csv has a quotation mark that nothing closes"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("batch_rows", [1, 100])
def test_an_open_quotation_mark_is_noticed(tmp_path: Path, lines: list[str], words: str, end: str, batch_rows: int) -> None:
    """It swallowed the rows up to the next one, or up to the end of the file, without a word."""
    (tmp_path / "a.csv").write_text((end or "\n").join(["query,item_id,other", "blue,0,x", *lines]) + end, newline="")
    with pytest.raises(UserError, match=words):
        read_all(str(tmp_path / "a.csv"), batch_rows=batch_rows)


def test_the_row_of_an_open_quotation_mark_is_that_of_the_file(tmp_path: Path) -> None:
    lines = [f"red shirt,{n}" for n in range(200_000)]
    for row in (150_000, 150_002):
        lines[row] = '"' + lines[row]
    (tmp_path / "a.csv").write_text("\n".join(["query,item_id", *lines]))
    with pytest.raises(UserError, match=r"row 150000 of a\.csv has a line break in field 'query'"):
        read_all(str(tmp_path / "a.csv"), batch_rows=1000)


def test_a_quoted_title_may_have_several_lines(tmp_path: Path) -> None:
    rows = ["i1,other,red", 'i2,"a\nb","red\nshirt, ""large"""', 'i3,,"blue\n"']
    for end in ("", "\n"):
        (tmp_path / "a.csv").write_text("\n".join(["item_id,other,title", *rows]) + end)
        found = read_all(str(tmp_path / "a.csv"), {"item_id": "item_id", "title": "title"})[1]
        assert found == {"item_id": ["i1", "i2", "i3"], "title": ["red", 'red\nshirt, "large"', "blue\n"]}


@pytest.mark.parametrize("surplus", range(-2, 3))
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_may_end_anywhere_in_a_block(tmp_path: Path, surplus: int, end: str) -> None:
    """Arrow reads blocks of a MiB, and one of nothing but the line feed of the last line's end would be the file's end."""
    content = f"query,item_id{end or chr(10)}red,1{end or chr(10)}blue,"
    content += "2" * ((1 << 20) + surplus - len(content) - len(end)) + end
    (tmp_path / "a.csv").write_text(content, newline="")
    assert [len(item_id) > 1 for item_id in read_all(str(tmp_path / "a.csv"))[1]["item_id"]] == [False, True]


def test_a_field_that_only_late_records_have_is_refused(tmp_path: Path) -> None:
    """A column first seen after a thousand records was none: in a log, every row became a click."""
    record = {"query": "red", "item_id": "1", "timestamp": "2"}
    fields = {name: name for name in record}

    def write(name: str, last: dict) -> str:
        (tmp_path / name).write_text("\n".join(map(json.dumps, [*[record] * 1000, last])))
        return str(tmp_path / name)

    late = write("late.jsonl", record | {"clicked": False})
    for read in (fields, {"query": "query"}):
        with pytest.raises(UserError, match=r"line 1001 of late\.jsonl .* field 'clicked'; write it in .* first 1000 records"):
            read_all(late, read)
    assert read_all(late, fields | {"clicked": "clicked"})[1]["clicked"] == [None] * 1000 + ["false"]
    # Neither a column that no field of a log has, nor the field that another column serves, is missed.
    assert len(read_all(write("other.jsonl", record | {"title": "a"}), fields)[1]["query"]) == 1001
    assert len(read_all(late, fields | {"clicked": "query"})[1]["query"]) == 1001


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.parquet is damaged or truncated"):
        read_columns(find_data_files(str(tmp_path))[0])


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        list_files(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="holds no data file"):
        find_data_files(str(tmp_path))
    with pytest.raises(UserError, match="cannot be listed"):
        list_files("nosuchscheme://bucket/items.parquet")


def test_files_behind_a_link_to_a_folder_are_there_and_a_circle_ends(tmp_path: Path) -> None:
    """They were left out of catalogues and digests without a word."""
    for place in ("shop", "elsewhere"):
        (tmp_path / place).mkdir()
    write_csv(tmp_path / "shop" / "a.csv")
    write_csv(tmp_path / "elsewhere" / "b.csv")
    (tmp_path / "shop" / "part2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "shop")
    assert list(list_files(str(tmp_path / "shop"))) == ["a.csv", "part2/b.csv"]


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    before = digest_inputs(str(tmp_path))
    (tmp_path / "a.csv").touch()
    assert digest_inputs(str(tmp_path)) == before
    content = bytearray((tmp_path / "a.csv").read_bytes())
    content[-2] ^= 1
    (tmp_path / "a.csv").write_bytes(content)
    assert digest_inputs(str(tmp_path)) != before


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "my shop").mkdir()
    write_parquet(tmp_path / "my shop" / "a.parquet")
    for path in (tmp_path / "my shop", tmp_path / "my shop" / "a.parquet"):
        assert find_data_files(path.as_uri()) == find_data_files(str(path)) == find_data_files(f"file://{path}")
        assert digest_inputs(path.as_uri()) == digest_inputs(str(path))
    with open_file((tmp_path / "my shop" / "a.parquet").as_uri()) as handle:
        assert handle.read(4) == b"PAR1"
    with pytest.raises(UserError, match=f"{tmp_path}/other does not exist"):
        list_files(f"file://{tmp_path}/other")
