import datetime
import io
import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tokenizers import Tokenizer

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import PipelineConfig, PrepareConfig
from smar_core.data.prepare import prepare_data
from smar_core.data.sources import PrepareOutputs, Sources, check_inputs
from smar_core.errors import UserError
from smar_core.stage import StageContext

KINDS = ("items", "clicks", "tokenizer", "rejects")


@pytest.fixture
def sources(tiny_shop: Path) -> Sources:
    return Sources(str(tiny_shop / "items.parquet"), str(tiny_shop / "clicks.parquet"))


@pytest.fixture
def prepare(tmp_path: Path, tiny_config: PipelineConfig) -> Callable[..., dict[str, Artifact]]:
    """Runs the stage into tmp_path / name and opens what it wrote."""

    def run(sources: Sources, name: str = "out", num_workers: int = 1, config: PrepareConfig = tiny_config.prepare):
        folder = tmp_path / name
        runner = tiny_config.beam.model_copy(update={"num_workers": num_workers})
        context = StageContext("config digest", folder / "work", {"items_file": "digest"})
        prepare_data(sources, PrepareOutputs(*(folder / kind for kind in KINDS)), config, runner, context)
        return {kind: open_artifact(folder / kind, kind) for kind in KINDS}

    return run


def edited(sources: Sources, tmp_path: Path, source: str, change: Callable[[dict], dict | None]) -> Sources:
    """Return sources of which one has every row changed; None drops a row."""
    table = pq.read_table(getattr(sources, source))
    rows = [changed for row in table.to_pylist() if (changed := change(row)) is not None]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), tmp_path / f"{source}.parquet")
    return replace(sources, **{source: str(tmp_path / f"{source}.parquet")})


def scatter(sources: Sources, folder: Path) -> Sources:
    """Return sources of the same rows in another order, in several files and row groups."""
    generator = np.random.default_rng(0)
    for source in ("items", "clicks"):
        table = pq.read_table(getattr(sources, source))
        table = table.take(pa.array(generator.permutation(table.num_rows)))
        (folder / source / "part").mkdir(parents=True)
        pq.write_table(table.slice(0, 20), folder / source / "part" / "1.parquet", row_group_size=7)
        pq.write_table(table.slice(20), folder / source / "2.parquet", row_group_size=-(-table.num_rows // 3))
    return replace(sources, items=str(folder / "items"), clicks=str(folder / "clicks"))


def test_items_are_those_of_the_shop(prepared, tiny_shop: Path) -> None:
    items = prepared.items.read_table("items")
    raw = {row["item_id"]: row for row in pq.read_table(tiny_shop / "items.parquet").to_pylist()}
    assert {row["item_id"]: row["title"] for row in items.to_pylist()} == {i: row["title"] for i, row in raw.items()}
    problems = {row["item_id"]: row["image_problem"] for row in items.to_pylist() if not row["has_image"]}
    assert problems.keys() == {"i33", "i34"}
    assert problems["i34"] == "absent" and problems["i33"] != "absent"
    shards = [pq.read_table(f)["item_id"].to_pylist() for f in sorted(prepared.items.path.glob("items-*"))]
    assert len(shards) == 2 and all(shard == sorted(shard) and shard for shard in shards)


def test_pictures_stand_in_the_order_of_the_items(prepared) -> None:
    items, pictures = prepared.items.read_table("items"), prepared.items.read_table("images")
    assert pictures["item_id"].to_pylist() == items.filter(items["has_image"])["item_id"].to_pylist()
    row = pictures["item_id"].to_pylist().index("i00")
    pixels = np.frombuffer(pictures["pixels"][row].as_py(), np.uint8).reshape(16, 16, 3)
    assert abs(pixels[8, 8].astype(int) - (200, 30, 30)).max() < 12, "a red shirt in the middle"
    assert pixels[8, 0].min() > 240, "white at the side"


def test_statistics_and_rejects(prepared) -> None:
    statistics = prepared.clicks.read_json("statistics.json")
    fates = ("num_rejects", "num_duplicates", "num_crawler_rows", "num_not_clicked", "num_clicks")
    assert sum(statistics[fate] for fate in fates) == statistics["num_rows"]
    assert [statistics[name] for name in ("num_rejects", "num_duplicates", "num_crawler_sessions", "num_crawler_rows")] == [
        2,
        1,
        1,
        120,
    ]
    assert statistics["num_clicks"] == sum(split["num_clicks"] for split in statistics["splits"].values())
    assert statistics["splits"]["test"]["start"] == statistics["splits"]["validation"]["end"]
    reasons = prepared.rejects.read_json("reasons.json")
    assert (reasons["items"], reasons["clicks"]) == ({}, {"blank query": 1, "unknown item": 1})
    assert list(reasons["images"].values()) == [1]
    rejects = prepared.rejects.read_table("rejects").to_pylist()
    assert {(r["source"], r["file"], r["field"], r["value"]) for r in rejects} == {
        ("clicks", "clicks.parquet", "query", " \t"),
        ("clicks", "clicks.parquet", "item_id", "gone"),
        ("images", "items.parquet", "image", "picture 1 of item i33"),
    }
    assert prepared.items.read_json("statistics.json") == {
        "num_items": 35,
        "num_with_image": 33,
        "num_images": 33,
        "num_undecodable_images": 1,
        "num_images_left_out": 0,
        "num_rejects": 0,
        "image_width_px": 16,
        "image_height_px": 16,
        "top_categories": {"Apparel": 10, "Footwear": 5, "Accessories": 5, "Home": 10, "Stationery": 5},
    }


def test_pairs_against_a_plain_count(prepared, tiny_shop: Path) -> None:
    """The click log again, counted without Beam and Arrow."""
    log = pq.read_table(tiny_shop / "clicks.parquet").to_pylist()
    first, last = min(row["timestamp"] for row in log), max(row["timestamp"] for row in log)
    test_start, validation_start = last - (last - first) / 10, last - (last - first) / 5
    expected: dict[tuple[str, str, str], int] = {}
    for row in {tuple(sorted(row.items())): row for row in log}.values():
        query = row["query"].strip().lower()
        if row["clicked"] and query and row["item_id"] != "gone" and row["session_id"] != "crawler":
            time = row["timestamp"]
            split = "test" if time >= test_start else "validation" if time >= validation_start else "train"
            key = (split, query, row["item_id"])
            expected[key] = expected.get(key, 0) + 1
    pairs = prepared.clicks.read_table("pairs").to_pylist()
    assert {(row["split"], row["query"], row["item_id"]): row["num_clicks"] for row in pairs} == expected
    seen = {key[1] for key in expected if key[0] == "train"}
    assert {row["query"] for row in pairs if row["is_seen_query"]} == seen


def test_manifests_name_config_and_parents(prepare, sources: Sources) -> None:
    for artifact in prepare(sources).values():
        assert (artifact.config_digest, artifact.parents) == ("config digest", {"items_file": "digest"})


def test_two_workers_write_the_same_bytes_as_one(prepare, sources: Sources, tmp_path: Path, tiny_config) -> None:
    """Of files and row groups enough for both, with rejects of every kind in all of them."""
    spoilt = edited(sources, tmp_path, "items", lambda row: row | {"title": ""} if row["item_id"] < "i04" else row)
    blanks = itertools.cycle([" ", None, None, None, None])
    spoilt = edited(spoilt, tmp_path, "clicks", lambda row: row | {"query": next(blanks) or row["query"]})
    given = scatter(spoilt, tmp_path)
    config = tiny_config.prepare.model_copy(update={"max_reject_share": 0.5})
    one, two = (prepare(given, f"{num_workers}", num_workers, config) for num_workers in (1, 2))
    reasons = one["rejects"].read_json("reasons.json")
    assert reasons["items"] == {"no title": 4} and reasons["clicks"].keys() == {"blank query", "unknown item"}
    rejects = one["rejects"].read_table("rejects").to_pylist()
    assert {row["file"] for row in rejects if row["source"] == "clicks"} == {"2.parquet", "part/1.parquet"}
    assert {kind: artifact.digest for kind, artifact in two.items()} == {kind: a.digest for kind, a in one.items()}


def test_order_and_files_of_the_input_do_not_matter(prepare, sources: Sources, prepared, tmp_path: Path) -> None:
    artifacts = prepare(scatter(sources, tmp_path))
    for kind in ("items", "clicks", "tokenizer"):
        assert artifacts[kind].digest == getattr(prepared, kind).digest


def test_csv_and_pictures_in_a_folder_give_the_same(prepare, sources: Sources, prepared, tmp_path: Path) -> None:
    items = pq.read_table(sources.items)
    (tmp_path / "pictures").mkdir()
    for row in items.to_pylist():
        if row["image"] is not None:
            (tmp_path / "pictures" / f"{row['item_id']}.jpg").write_bytes(row["image"])
    paths = [f"{row['item_id']}.jpg" if row["image"] else "" for row in items.to_pylist()]
    pa.csv.write_csv(items.set_column(4, "photo", pa.array(paths)), tmp_path / "items.csv")
    log = pq.read_table(sources.clicks)
    times = [row.isoformat() for row in log["timestamp"].to_pylist()]
    pa.csv.write_csv(log.set_column(0, "timestamp", pa.array(times)), tmp_path / "clicks.csv")
    given = Sources(str(tmp_path / "items.csv"), str(tmp_path / "clicks.csv"), str(tmp_path / "pictures"), {"image": "photo"})
    artifacts = prepare(given)
    for kind in ("items", "clicks", "tokenizer"):
        assert artifacts[kind].digest == getattr(prepared, kind).digest


def test_a_log_of_nothing_but_clicks(prepare, sources: Sources, tmp_path: Path) -> None:
    log = pq.read_table(sources.clicks)
    clicks = log.filter(log["clicked"]).select(["timestamp", "query", "item_id"])
    pq.write_table(clicks, tmp_path / "clicks.parquet")
    statistics = prepare(replace(sources, clicks=str(tmp_path / "clicks.parquet")))["clicks"].read_json("statistics.json")
    assert statistics["num_not_clicked"] == statistics["num_crawler_rows"] == 0
    assert statistics["num_clicks"] == clicks.num_rows - statistics["num_rejects"] - statistics["num_duplicates"]


def test_the_tokenizer_learns_from_no_validation_or_test_query(prepare, sources: Sources, prepared, tmp_path: Path) -> None:
    """Words that occur in held-out queries alone change the log, and must not change the vocabulary."""
    start = prepared.clicks.read_json("statistics.json")["splits"]["validation"]["start"]
    changed = edited(
        sources,
        tmp_path,
        "clicks",
        lambda row: row | {"query": row["query"] + " zyxw"} if row["timestamp"].isoformat() >= start else row,
    )
    artifacts = prepare(changed)
    assert artifacts["clicks"].digest != prepared.clicks.digest
    assert artifacts["tokenizer"].digest == prepared.tokenizer.digest
    tokenizer = Tokenizer.from_file(str(prepared.tokenizer.path / "tokenizer.json"))
    assert tokenizer.encode("norvik red shirt").tokens == ["norvik", "red", "shirt"]


def test_seconds_are_as_good_as_timestamps(prepare, sources: Sources, prepared, tmp_path: Path) -> None:
    log = pq.read_table(sources.clicks)
    seconds = pa.array([row.timestamp() for row in log["timestamp"].to_pylist()], pa.float64()).cast(pa.int64())
    pq.write_table(log.set_column(0, "timestamp", seconds), tmp_path / "clicks.parquet")
    assert prepare(replace(sources, clicks=str(tmp_path / "clicks.parquet")))["clicks"].digest == prepared.clicks.digest


def test_the_span_is_that_of_all_parsable_events(prepare, sources: Sources, prepared, tmp_path: Path) -> None:
    """A reject after the last click moves the test days: the split depends on the log's time, not on what is usable."""
    log = pq.read_table(sources.clicks)
    last = log.slice(0, 1).to_pylist()[0] | {"query": "", "timestamp": log["timestamp"][-4].as_py().replace(year=2026)}
    pq.write_table(pa.concat_tables([log, pa.Table.from_pylist([last], log.schema)]), tmp_path / "clicks.parquet")
    words = r"no usable click in the validation days: its times go from 2025-03-01\S* to 2026-.*; .*prepare.validation_share"
    with pytest.raises(UserError, match=words):
        prepare(replace(sources, clicks=str(tmp_path / "clicks.parquet")))


def test_a_stray_time_is_seen_in_the_error(prepare, sources: Sources, tmp_path: Path) -> None:
    """The error advised a longer log, while one row of 1971 had pushed all others into the test days."""
    log = pq.read_table(sources.clicks)
    stray = log.slice(0, 1).to_pylist()[0]
    stray["timestamp"] = stray["timestamp"].replace(year=1971)
    pq.write_table(pa.concat_tables([log, pa.Table.from_pylist([stray], log.schema)]), tmp_path / "clicks.parquet")
    words = (
        r"in the validation days: its times go from 1971-\S* to 2025-03-\S*, validation begins at 2014-\S*, test at 2019-\S*; "
        "correct times that are far from the others"
    )
    with pytest.raises(UserError, match=words):
        prepare(replace(sources, clicks=str(tmp_path / "clicks.parquet")))
    stray["timestamp"] = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    pq.write_table(pa.concat_tables([log, pa.Table.from_pylist([stray], log.schema)]), tmp_path / "clicks.parquet")
    artifacts = prepare(replace(sources, clicks=str(tmp_path / "clicks.parquet")))
    assert artifacts["rejects"].read_json("reasons.json")["clicks"]["no readable timestamp"] == 1


def with_views(sources: Sources, tmp_path: Path, views: Callable[[dict], list | None]) -> Sources:
    """Return sources whose catalogue has a list of pictures in the column "image"."""
    items = pq.read_table(sources.items)
    column = pa.array([views(row) for row in items.to_pylist()], pa.list_(pa.binary()))
    pq.write_table(items.set_column(4, "image", column), tmp_path / "items.parquet")
    return replace(sources, items=str(tmp_path / "items.parquet"))


def picture_of(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_lists_of_one_picture_are_what_pictures_are(prepare, sources: Sources, prepared, tmp_path: Path) -> None:
    lists = with_views(sources, tmp_path, lambda row: None if row["image"] is None else [None, row["image"], b""])
    artifacts = prepare(lists)
    assert {kind: artifact.digest for kind, artifact in artifacts.items()} == {
        kind: getattr(prepared, kind).digest for kind in KINDS
    }


def test_views_stand_side_by_side_in_the_order_of_their_list(prepare, sources: Sources, tmp_path: Path, tiny_config) -> None:
    """The first two of four count; a broken one leaves the others; an item needs but one."""
    red, blue, green, broken = picture_of("red"), picture_of("blue"), picture_of("green"), b"broken"
    views = {"i00": [red, blue, green, red], "i01": [broken, blue], "i02": [broken, broken], "i03": []}
    config = tiny_config.prepare.model_copy(update={"max_views": 2, "max_reject_share": 0.2})
    given = with_views(sources, tmp_path, lambda row: views.get(row["item_id"], [green]))
    artifacts = prepare(given, config=config)
    pictures = artifacts["items"].read_table("images").to_pylist()
    colours = [(p["item_id"], tuple(p["pixels"][:3])) for p in pictures if p["item_id"] in views]
    assert sorted(colours, key=lambda entry: entry[0]) == [
        ("i00", (255, 0, 0)),
        ("i00", (0, 0, 255)),
        ("i01", (0, 0, 255)),
    ]
    items = artifacts["items"].read_table("items").to_pylist()
    ids = [p["item_id"] for p in pictures]
    assert list(dict.fromkeys(ids)) == [i["item_id"] for i in items if i["has_image"]]
    assert {i["item_id"]: i["image_problem"] for i in items if not i["has_image"]} == {
        "i02": "it is no picture of a known format",
        "i03": "absent",
    }
    statistics = artifacts["items"].read_json("statistics.json")
    names = ("num_with_image", "num_images", "num_undecodable_images", "num_images_left_out", "num_rejects")
    assert [statistics[name] for name in names] == [33, 34, 3, 2, 0]
    rejects = artifacts["rejects"].read_table("rejects").to_pylist()
    assert sorted((r["row"], r["value"]) for r in rejects if r["source"] == "images") == [
        (1, "picture 1 of item i01"),
        (2, "picture 1 of item i02"),
        (2, "picture 2 of item i02"),
    ]
    again = prepare(given, "again", num_workers=2, config=config)
    assert {kind: artifact.digest for kind, artifact in again.items()} == {k: a.digest for k, a in artifacts.items()}


def test_json_lines_name_several_pictures(prepare, sources: Sources, tmp_path: Path) -> None:
    """A list, one path as text, and none: JSON lines may mix them."""
    (tmp_path / "pictures").mkdir()
    for colour in ("red", "blue"):
        (tmp_path / "pictures" / f"{colour}.png").write_bytes(picture_of(colour))
    images = {"i00": ["red.png", "blue.png"], "i01": "blue.png"}
    rows = [row | {"image": images.get(row["item_id"])} for row in pq.read_table(sources.items).to_pylist()]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = replace(sources, items=str(tmp_path / "items.jsonl"), images=str(tmp_path / "pictures"))
    assert check_inputs(given).keys() == {"items", "clicks", "images"}
    pictures = prepare(given)["items"].read_table("images").to_pylist()
    assert sorted((p["item_id"], tuple(p["pixels"][:3])) for p in pictures) == [
        ("i00", (0, 0, 255)),
        ("i00", (255, 0, 0)),
        ("i01", (0, 0, 255)),
    ]


@pytest.mark.parametrize(
    ("source", "change", "words"),
    [
        ("items", lambda row: row | {"title": " "}, "35 of 35 rows of items .* 'no title' .* in row 0 of items.parquet"),
        ("items", lambda row: row | {"image": b"broken"}, "35 of 35 pictures of field 'image' .* raise prepare.max_reject_share"),
        ("items", lambda row: row | {"item_id": row["item_id"] + "x"}, "rows of clicks .* 'unknown item' .* same ids"),
        ("clicks", lambda row: row | {"query": ""}, "rows of clicks .* 'blank query'"),
        ("clicks", lambda row: row | {"session_id": "s", "clicked": True}, "no usable click"),
        ("clicks", lambda row: row | {"clicked": False}, "no usable click"),
        (
            "clicks",
            lambda row: row if row["timestamp"].day < 20 else row | {"clicked": False},
            "no usable click in the validation days",
        ),
        (
            "clicks",
            lambda row: row if row["timestamp"].day < 28 else row | {"clicked": False},
            "no usable click in the test days",
        ),
        ("clicks", lambda row: None, "holds no row"),
    ],
)
def test_unusable_input_is_named_and_leaves_nothing(
    prepare, sources: Sources, tmp_path: Path, source: str, change: Callable[[dict], dict | None], words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        prepare(edited(sources, tmp_path, source, change))
    assert "\n" not in str(caught.value)
    assert not any((tmp_path / "out" / kind).exists() for kind in KINDS)


def test_every_item_twice_with_different_titles_is_refused(prepare, sources: Sources, tmp_path: Path) -> None:
    items = pq.read_table(sources.items)
    others = [row | {"title": row["title"] + " II"} for row in items.to_pylist()]
    pq.write_table(pa.concat_tables([items, pa.Table.from_pylist(others, items.schema)]), tmp_path / "items.parquet")
    with pytest.raises(UserError, match=r"70 of 70 rows of items .*'rows of one item_id that differ'.* give every item one row"):
        prepare(replace(sources, items=str(tmp_path / "items.parquet")))


def test_a_file_damaged_in_its_middle_is_a_users_error(prepare, sources: Sources, tmp_path: Path) -> None:
    """Beam turns what a worker raises into a RuntimeError of its own; the sentence for the user must survive that."""
    content = bytearray(Path(sources.clicks).read_bytes())
    content[10:2000] = b"\xff" * 1990
    (tmp_path / "clicks.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"clicks\.parquet is damaged or truncated .*; write the file again"):
        prepare(replace(sources, clicks=str(tmp_path / "clicks.parquet")), num_workers=2)


def test_a_second_run_replaces_the_first(prepare, sources: Sources) -> None:
    first = prepare(sources)
    (first["items"].path / "stale.txt").write_text("left behind")
    assert prepare(sources)["items"].digest == first["items"].digest


def test_progress_is_told_and_beam_is_quiet(
    tmp_path: Path, sources: Sources, tiny_config: PipelineConfig, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, int, int]] = []

    class Recorder:
        def update(self, phase: str, done: int, total: int, **_figures: float) -> None:
            told.append((phase, done, total))

    outputs = PrepareOutputs(*(tmp_path / kind for kind in KINDS))
    context = StageContext("", tmp_path / "work", progress=Recorder())
    with caplog.at_level(logging.WARNING):
        figures = prepare_data(sources, outputs, tiny_config.prepare, tiny_config.beam, context)
    assert not caplog.records
    assert [phase for phase, done, total in told if done == total] == ["tables", "tokenizer"]
    assert figures["num_items"] == 35 and json.dumps(figures)


def test_rejects_of_files_of_one_name_are_told_apart(prepare, sources: Sources, tmp_path: Path) -> None:
    log = pq.read_table(sources.clicks)
    blank = pa.Table.from_pylist([log.slice(0, 1).to_pylist()[0] | {"query": " "}], log.schema)
    for day, part in ((2, log.slice(0, 40)), (1, log.slice(40))):
        (tmp_path / "log" / f"d={day}").mkdir(parents=True)
        pq.write_table(pa.concat_tables([blank, part]), tmp_path / "log" / f"d={day}" / "part-0.parquet")
    rejects = prepare(replace(sources, clicks=str(tmp_path / "log")))["rejects"].read_table("rejects").to_pylist()
    files = sorted(row["file"] for row in rejects if row["source"] == "clicks" and row["row"] == 0)
    assert files == ["d=1/part-0.parquet", "d=2/part-0.parquet"]


def test_a_click_of_the_year_9999_is_a_reject(prepare, sources: Sources, prepared, tmp_path: Path) -> None:
    log = pq.read_table(sources.clicks)
    last = log.slice(0, 1).to_pylist()[0]
    last["timestamp"] = last["timestamp"].replace(year=9999)
    pq.write_table(pa.concat_tables([log, pa.Table.from_pylist([last], log.schema)]), tmp_path / "clicks.parquet")
    artifacts = prepare(replace(sources, clicks=str(tmp_path / "clicks.parquet")))
    assert artifacts["rejects"].read_json("reasons.json")["clicks"]["no readable timestamp"] >= 1
    assert artifacts["clicks"].read_table("pairs") == prepared.clicks.read_table("pairs")
