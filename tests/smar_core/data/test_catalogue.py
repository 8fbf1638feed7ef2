from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from smar_core.config import PrepareConfig
from smar_core.data.beam_runner import pack
from smar_core.data.catalogue import WriteItems, clean_items, merge_items
from smar_core.data.filesystems import create_file, open_stored


def batch(**columns: list) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"item_id": ["1"], "title": ["Shirt"]} | columns)


def test_text_is_cleaned_and_case_kept() -> None:
    rows, rejects = clean_items(
        batch(item_id=[" 1 "], title=["\uff32ed \x07 Shirt\n"], brand=[None], category=["Apparel>  Topwear > > Shirts "]),
        "f",
        0,
        3,
    )
    (row,) = rows.to_pylist()
    assert (row["item_id"], row["title"], row["brand"]) == ("1", "Red Shirt", "")
    assert row["category"] == "Apparel > Topwear > Shirts"
    assert not rejects


def test_rows_without_id_or_title_are_rejects() -> None:
    rows, rejects = clean_items(batch(item_id=["1", "", None, "4"], title=["a", "b", "c", " \x00"]), "f.csv", 10, 3)
    assert rows["item_id"].to_pylist() == ["1"]
    found = {(r["file"], r["row"], r["reason"]) for table in rejects for r in table.to_pylist()}
    assert found == {("f.csv", 11, "no item_id"), ("f.csv", 12, "no item_id"), ("f.csv", 13, "no title")}


def test_whole_numbers_are_ids() -> None:
    rows, _ = clean_items(pa.RecordBatch.from_pydict({"item_id": [7], "title": ["a"]}), "f", 0, 3)
    assert rows["item_id"].to_pylist() == ["7"]


def test_pictures_are_bytes_or_references() -> None:
    given = (pa.array([b"JPEG"]), pa.array([" a/1.jpg "]), pa.array([None]), pa.array([["1", " ", "2"]]))
    tables = [clean_items(batch(image=image), "f", 0, 1)[0] for image in given]
    names = ("images", "image_references", "num_images_left_out")
    assert [tuple(table[name][0].as_py() for name in names) for table in tables] == [
        ([b"JPEG"], [], 0),
        ([], ["a/1.jpg"], 0),
        ([], [], 0),
        ([], ["1"], 1),
    ]


def merge(*rows: tuple) -> tuple[list[str], list[tuple[int, str]]]:
    """Merge rows of (item_id, title, image); return the ids kept and (row, id) of the rejects."""
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("item_id", "title"))}
    table, _ = clean_items(batch(**columns, image=pa.array([row[2] for row in rows], pa.binary())), "f", 0, 3)
    items, rejects = merge_items(table)
    return [item["item_id"] for item in items], [(r["row"], r["value"]) for r in rejects.to_pylist()]


def test_equal_rows_become_one_item_and_items_are_sorted() -> None:
    assert merge(("2", "a", b"x"), ("10", "b", None), ("2", " a ", b"x")) == (["10", "2"], [])


@pytest.mark.parametrize("other", [("1", "b", b"x"), ("1", "a", b"y"), ("1", "a", None)])
def test_rows_of_one_id_that_differ_are_all_rejects(other: tuple) -> None:
    assert merge(("1", "a", b"x"), ("2", "c", None), other) == (["2"], [(0, "1"), (2, "1")])


def test_a_shard_with_pictures_in_a_bucket_equals_one_with_pictures_on_a_disk(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for number, colour in enumerate(("red", "blue", "green")):
        Image.new("RGB", (9, 7), colour).save(tmp_path / f"{number}.png")
        with create_file(f"{bucket}/pictures/{number}.png") as handle:
            handle.write((tmp_path / f"{number}.png").read_bytes())
    ids, references = ["a", "b", "c"], [["2.png", "0.png"], ["gone.png"], ["1.png"]]
    rows, _ = clean_items(batch(item_id=ids, title=ids, image=pa.array(references)), "f", 0, 3)
    config = PrepareConfig(image_width_px=8, image_height_px=8, num_shards=1)
    written = {}
    for place, images in ((str(tmp_path / "out"), str(tmp_path)), (f"{bucket}/out", f"{bucket}/pictures")):
        list(WriteItems(place, images, config).process((0, [pack(rows)])))
        for name in ("items-00000-of-00001.parquet", "images-00000-of-00001.arrow"):
            with open_stored(f"{place}/{name}") as handle:
                written.setdefault(name, []).append(handle.read())
    assert all(here == there for here, there in written.values())
    table = pa.ipc.open_file(written["images-00000-of-00001.arrow"][0]).read_all()
    assert table.column(0).to_pylist() == ["a", "a", "c"]
