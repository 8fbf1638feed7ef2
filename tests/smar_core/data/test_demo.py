"""The demo shop: repeatable, dirty in the ways it says, and of use only to a model that looks at pictures."""

import hashlib
import io
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, UnidentifiedImageError

from smar_core.data import demo
from smar_core.data.demo import write_demo
from smar_core.data.demo_pictures import COLOURS, SHAPES, SIDE_PX, draw_product
from smar_core.errors import UserError
from smar_core.text import normalise_query

NUM_ITEMS = 240


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, NUM_ITEMS, seed=3)
    return folder


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _clicks(folder: Path) -> list[dict[str, object]]:
    return pq.read_table(folder / "clicks.parquet").to_pylist()


def test_equal_arguments_give_equal_bytes_in_any_process(shop: Path, tmp_path: Path) -> None:
    code = f"from pathlib import Path; from smar_core.data.demo import write_demo; write_demo(Path('again'), {NUM_ITEMS}, 3)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=os.environ | {"PYTHONHASHSEED": "11"})
    assert _digests(tmp_path / "again") == _digests(shop)


def test_another_seed_gives_another_shop(shop: Path, tmp_path: Path) -> None:
    write_demo(tmp_path, NUM_ITEMS, seed=4)
    assert all(_digests(tmp_path)[name] != digest for name, digest in _digests(shop).items())


def test_columns_and_types(shop: Path) -> None:
    items, clicks = pq.read_schema(shop / "items.parquet"), pq.read_schema(shop / "clicks.parquet")
    assert items.names == ["item_id", "title", "brand", "category", "image"]
    assert clicks.names == ["timestamp", "session_id", "query", "item_id", "position", "clicked"]
    assert clicks.field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert pq.read_schema(shop / "judgments.parquet").names == ["query", "item_id", "grade"]


def test_the_log_spans_sixty_days_and_is_in_order(shop: Path) -> None:
    times = [event["timestamp"] for event in _clicks(shop)]
    assert times == sorted(times)
    assert (times[-1] - times[0]).days == demo.NUM_DAYS - 1


def test_every_promised_fault_is_there_and_rare(shop: Path) -> None:
    events, items = _clicks(shop), pq.read_table(shop / "items.parquet").to_pylist()
    known = {item["item_id"] for item in items}
    blank = sum(not str(event["query"]).strip() for event in events)
    unknown = sum(event["item_id"] not in known for event in events)
    duplicates = len(events) - len({tuple(event.values()) for event in events})
    crawler = [event for event in events if event["session_id"] == "s-crawler"]
    assert 0 < blank + unknown < 0.02 * len(events)
    assert 0 < duplicates < 0.01 * len(events)
    assert len(crawler) > 100 and statistics.mean(bool(event["clicked"]) for event in crawler) > 0.9
    assert sum(item["image"] is None for item in items) == NUM_ITEMS // 97
    broken = [[not _is_decodable(picture) for picture in item["image"]] for item in items if item["image"] is not None]
    assert sorted(faults for faults in broken if any(faults)) == [[False, True, False], [True]]


def _is_decodable(picture: bytes) -> bool:
    try:
        Image.open(io.BytesIO(picture)).load()
    except (UnidentifiedImageError, OSError):
        return False
    return True


def test_queries_recur_and_some_test_queries_are_new(shop: Path) -> None:
    events = _clicks(shop)
    last = events[-1]["timestamp"]
    test_start = last - (last - events[0]["timestamp"]) / 10
    before = {normalise_query(str(e["query"])) for e in events if e["timestamp"] < test_start}
    after = {normalise_query(str(e["query"])) for e in events if e["timestamp"] >= test_start}
    assert len(after & before) > 2 * len(after - before) > 0


def test_titles_of_visual_products_mostly_hide_the_colour_that_queries_name(shop: Path) -> None:
    def names_a_colour(text: str) -> bool:
        return bool(set(text.lower().split()) & set(COLOURS))

    items = pq.read_table(shop / "items.parquet", columns=["title", "category"]).to_pylist()
    visual = [i["title"] for i in items if i["category"].split(" > ")[0] in {"Apparel", "Footwear", "Accessories"}]
    searches = pq.read_table(shop / "judgments.parquet")["query"].unique().to_pylist()
    kinds = {"shirt", "dress", "hat", "boots", "sneakers", "backpack", "handbag"}
    fashion = [query for query in searches if set(query.split()) & kinds]
    assert statistics.mean(map(names_a_colour, visual)) < 0.35
    assert statistics.mean(map(names_a_colour, fashion)) > 0.6
    assert not any(names_a_colour(i["title"]) for i in items if i["title"] not in visual)


def test_shoppers_click_what_they_wish_for_and_more_often_at_the_top(shop: Path) -> None:
    grades = {(r["query"], r["item_id"]): r["grade"] for r in pq.read_table(shop / "judgments.parquet").to_pylist()}
    judged = {query for query, _ in grades}
    shown = [e for e in _clicks(shop) if e["session_id"] != "s-crawler" and normalise_query(str(e["query"])) in judged]

    def click_rate(events: list[dict[str, object]]) -> float:
        return statistics.mean(bool(e["clicked"]) for e in events)

    wanted = [e for e in shown if grades.get((normalise_query(str(e["query"])), e["item_id"])) == 3]
    other = [e for e in shown if (normalise_query(str(e["query"])), e["item_id"]) not in grades]
    assert click_rate(wanted) > 5 * click_rate(other)
    assert click_rate([e for e in wanted if e["position"] == 1]) > click_rate([e for e in wanted if e["position"] >= 5])


def test_grades_by_hand() -> None:
    shirt = next(r for r in demo._RANGES if r.shape == "shirt")
    hat = next(r for r in demo._RANGES if r.shape == "hat")
    values = {"colour": "red", "pattern": "striped", "audience": "Men", "brand": "Norvik"}
    product = demo._Product("d1", shirt, "Norvik Men Harbour Shirt", "Norvik", values, "striped", 1.0)

    def grade(range_: demo._Range, *wishes: tuple[str, str]) -> int:
        return demo._grade(demo._Search("query", range_, wishes), product)

    assert grade(shirt) == 3
    assert grade(shirt, ("colour", "red"), ("pattern", "striped")) == 3
    assert grade(shirt, ("colour", "red"), ("pattern", "dotted")) == 2
    assert grade(shirt, ("colour", "blue")) == 1
    assert grade(shirt, ("colour", "blue"), ("pattern", "dotted")) == 1
    assert grade(hat, ("colour", "red")) == 0


def test_too_few_items_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="num_items is 5"):
        write_demo(tmp_path / "shop", 5)
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_show_the_colour(shape: str) -> None:
    """A red product is redder, and a blue one bluer, than the same picture in the other colour."""
    red, blue = (_mean_colour(draw_product(shape, colour, "plain", random.Random(5))) for colour in ("red", "blue"))
    if shape in {"bulb", "cable"}:  # drawn in fixed colours only
        assert red == blue
    else:
        assert red[0] > blue[0] + 5 and blue[2] > red[2] + 5


def _mean_colour(picture: bytes) -> tuple[float, float, float]:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    assert image.size == (SIDE_PX, SIDE_PX)
    red, green, blue = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    return red, green, blue


def test_an_item_has_three_pictures_and_every_third_shows_its_carton_first(shop: Path) -> None:
    """A carton is known by its ground: it fills most of the picture, in one colour that no product has."""
    pictures = [item["image"] for item in pq.read_table(shop / "items.parquet").to_pylist()]
    for number, views in enumerate(pictures):
        if views is not None and len(views) == 3 and all(map(_is_decodable, views)):
            expected = [True, False, False] if number % 3 == 0 else [False, False, True]
            assert [_is_carton(view) for view in views] == expected, number


def _is_carton(picture: bytes) -> bool:
    """Tell whether the corners of the carton, which no product reaches, have its colour."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    corners = [image.getpixel(place) for place in ((7, 10), (56, 10), (7, 57), (56, 57))]
    return all(abs(part - wanted) < 40 for corner in corners for part, wanted in zip(corner, (198, 164, 122), strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_carton_hides_colour_and_pattern(shape: str) -> None:
    cartons = {draw_product(shape, c, p, random.Random(5), view="packed") for c in ("red", "blue") for p in ("plain", "striped")}
    assert len(cartons) == 1


@pytest.mark.parametrize("shape", ["shirt", "sneakers", "backpack"])
def test_a_close_look_shows_the_colour(shape: str) -> None:
    red, blue = (_mean_colour(draw_product(shape, c, "plain", random.Random(5), view="close")) for c in ("red", "blue"))
    assert red[0] > blue[0] + 20 and blue[2] > red[2] + 20


def test_patterns_differ_in_their_pixels() -> None:
    pictures = {draw_product("shirt", "blue", pattern, random.Random(1)) for pattern in ("plain", "striped", "dotted", "checked")}
    assert len(pictures) == 4
