from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from smar_core.data.sources import Sources, check_inputs
from smar_core.errors import UserError


@pytest.fixture
def sources(tiny_shop: Path) -> Sources:
    return Sources(str(tiny_shop / "items.parquet"), str(tiny_shop / "clicks.parquet"))


def rewrite(table: pa.Table, path: Path) -> str:
    pq.write_table(table, path)
    return str(path)


def test_good_input_gives_a_digest_for_each_source(sources: Sources, tiny_shop: Path, tmp_path: Path) -> None:
    digests = check_inputs(sources, str(tiny_shop / "judgments.parquet"))
    assert digests.keys() == {"items", "clicks", "judgments"}
    assert check_inputs(sources) == {name: digests[name] for name in ("items", "clicks")}
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"picture")
    with_images = check_inputs(replace(sources, images=str(tmp_path / "pictures")))
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"another")
    assert check_inputs(replace(sources, images=str(tmp_path / "pictures")))["images"] != with_images["images"]


def test_file_uris_are_what_paths_are(sources: Sources, tiny_shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all pictures"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"picture")
    judgments = tiny_shop / "judgments.parquet"
    by_uri = Sources(Path(sources.items).as_uri(), Path(sources.clicks).as_uri(), folder.as_uri())
    assert check_inputs(by_uri, judgments.as_uri()) == check_inputs(replace(sources, images=str(folder)), str(judgments))


def test_one_changed_click_changes_the_digest_of_the_log_alone(sources: Sources, tmp_path: Path) -> None:
    log = pq.read_table(sources.clicks)
    changed = replace(sources, clicks=rewrite(log, tmp_path / "clicks.parquet"))
    before = check_inputs(changed)
    rewrite(log.slice(1), tmp_path / "clicks.parquet")
    after = check_inputs(changed)
    assert (after["items"], after["clicks"] == before["clicks"]) == (before["items"], False)


def test_every_kind_of_wrong_file_is_named(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.parquet").write_text("item_id,title\n1,a\n")
    (tmp_path / "empty.parquet").write_bytes(b"")
    whole = Path(sources.items).read_bytes()
    (tmp_path / "truncated.parquet").write_bytes(whole[: len(whole) // 2])
    for name, words in (
        ("missing.parquet", "does not exist"),
        ("folder", "holds no data file"),
        ("text.parquet", "is not a Parquet file"),
        ("empty.parquet", "is empty"),
        ("truncated.parquet", "damaged or truncated"),
    ):
        path = str(tmp_path / name)
        for wrong in (replace(sources, items=path), replace(sources, clicks=path)):
            with pytest.raises(UserError, match=rf"{name}.*{words}"):
                check_inputs(wrong)
        with pytest.raises(UserError, match=rf"{name}.*{words}"):
            check_inputs(sources, path)


def test_missing_columns_and_wrong_types_are_named(sources: Sources, tmp_path: Path) -> None:
    items, clicks = pq.read_table(sources.items), pq.read_table(sources.clicks)
    renamed = rewrite(items.rename_columns({"title": "name"}), tmp_path / "items.parquet")
    with pytest.raises(UserError, match=r"items\.parquet has no column 'title'.*--map title=COLUMN"):
        check_inputs(replace(sources, items=renamed))
    check_inputs(replace(sources, items=renamed, column_map={"title": "name"}))
    with pytest.raises(UserError, match="did you mean 'name'"):
        check_inputs(replace(sources, items=renamed, column_map={"title": "nam"}))
    numbers = items.set_column(1, "title", pa.array(range(items.num_rows)))
    with pytest.raises(UserError, match=r"'title' of numbers\.parquet.*has the type int64; write text"):
        check_inputs(replace(sources, items=rewrite(numbers, tmp_path / "numbers.parquet")))
    times = clicks.set_column(0, "timestamp", pa.array(["soon"] * clicks.num_rows))
    with pytest.raises(UserError, match=r"'timestamp' of times\.parquet holds no readable time, for example 'soon'"):
        check_inputs(replace(sources, clicks=rewrite(times, tmp_path / "times.parquet")))


@pytest.mark.parametrize("write", ["parquet", "csv"])
def test_tables_without_rows_are_refused(sources: Sources, tmp_path: Path, write: str) -> None:
    for source, words in (("items", "catalogue .* holds no row"), ("clicks", "click log .* holds no row")):
        names = ["item_id", "title"] if source == "items" else ["query", "item_id", "timestamp"]
        table = pa.table({name: pa.array([], pa.string()) for name in names})
        path = tmp_path / f"{source}.{write}"
        pq.write_table(table, path) if write == "parquet" else pa.csv.write_csv(table, path)
        with pytest.raises(UserError, match=words):
            check_inputs(replace(sources, **{source: str(path)}))


@pytest.mark.parametrize("value", [False, None])
def test_a_log_without_a_click_is_refused(sources: Sources, tmp_path: Path, value: bool | None) -> None:
    log = pq.read_table(sources.clicks)
    place = log.schema.get_field_index("clicked")
    unclicked = log.set_column(place, "clicked", pa.array([value] * log.num_rows, pa.bool_()))
    with pytest.raises(UserError, match="holds no click"):
        check_inputs(replace(sources, clicks=rewrite(unclicked, tmp_path / "clicks.parquet")))


def test_relative_image_paths_need_their_folder(sources: Sources, tmp_path: Path) -> None:
    items = pa.table({"item_id": ["1", "2"], "title": ["a", "b"], "image": [None, "a/2.jpg"]})
    relative = replace(sources, items=rewrite(items, tmp_path / "items.parquet"))
    with pytest.raises(UserError, match=r"row 1 of items\.parquet has the relative image path 'a/2\.jpg'; .*--images"):
        check_inputs(relative)
    lists = items.set_column(2, "image", pa.array([["/a/1.jpg"], ["file:///a/1.jpg", "a/2.jpg"]]))
    with pytest.raises(UserError, match=r"row 1 of lists\.parquet has the relative image path 'a/2\.jpg'"):
        check_inputs(replace(sources, items=rewrite(lists, tmp_path / "lists.parquet")))
    for reference in ("https://shop.example/1.jpg", " http://shop.example/1.jpg"):
        web = items.set_column(2, "image", pa.array(["s3://shop/1.jpg", reference]))
        with pytest.raises(UserError, match=r"row 1 of web\.parquet has the web address .* for a picture"):
            check_inputs(replace(sources, items=rewrite(web, tmp_path / "web.parquet")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file"):
        check_inputs(replace(relative, images=str(tmp_path / "empty")))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"item_id,title,Gr\xf6\xdfe\n1,shirt,3\n"),
        ("a.csv", b"item_id,title\n1,Gr\xf6\xdfe\n"),
        ("a.jsonl", b'{"item_id": 1, "title": "Gr\xf6\xdfe"}\n'),
        ("a.jsonl", b'{"item_id": 1, "title": "shirt \\ud83d"}\n'),
        ("a.jsonl", '{"item_id": 1, "title": "shirt"}\n'.encode("utf-16")),
    ],
)
def test_text_of_another_encoding_is_named(sources: Sources, tmp_path: Path, name: str, content: bytes) -> None:
    """What it raised was a UnicodeDecodeError, or a UserError that called the file damaged."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is not UTF-8 text.*; save it as UTF-8"):
        check_inputs(replace(sources, items=str(tmp_path / name)))


@pytest.mark.parametrize("column", ["clicked", "bought"])
def test_a_field_that_one_file_of_a_folder_lacks_is_refused(sources: Sources, tmp_path: Path, column: str) -> None:
    """Every row of that file became a click."""
    log = pq.read_table(sources.clicks)
    log = log.rename_columns([column if name == "clicked" else name for name in log.schema.names])
    column_map = {} if column == "clicked" else {"clicked": column}
    (tmp_path / "log").mkdir()
    folder = replace(sources, clicks=str(tmp_path / "log"), column_map=column_map)
    rewrite(log, tmp_path / "log" / "day1.parquet")
    rewrite(log.drop_columns([column]), tmp_path / "log" / "day2.parquet")
    with pytest.raises(
        UserError, match=rf"day2\.parquet has no .*'clicked', which day1\.parquet has as '{column}'; write it in all"
    ):
        check_inputs(folder)
    rewrite(log, tmp_path / "log" / "day2.parquet")
    check_inputs(folder)


def test_messages_are_one_line(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"item_id,title\n1,2\n3,4,5\n")
    with pytest.raises(UserError) as caught:
        check_inputs(replace(sources, items=str(tmp_path / "a.csv")))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("a.csv")
