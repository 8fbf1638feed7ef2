"""Fixtures of all tests: a tiny shop with real pictures, and what the first two stages make of it.

The shop has what a real one has: a title that leaves the colour to the picture, a product without a picture, one with a broken
picture, a click on a product that left, a blank query, an event logged twice, a crawler, grades with a tie, and a judged product
that is not in the catalogue.
"""

import datetime
import io
import os
import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import PipelineConfig, load_config
from smar_core.data.prepare import prepare_data
from smar_core.data.sources import PrepareOutputs, Sources
from smar_core.data.synthetic import generate_synthetic_queries
from smar_core.stage import StageContext

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # figures are compared to the last bit; the processes that tests start have it, too

COLOURS = {"red": (200, 30, 30), "blue": (30, 60, 200), "green": (30, 150, 60), "black": (20, 20, 20), "yellow": (230, 200, 40)}
KINDS = {
    "shirt": "Apparel > Topwear > Shirts",
    "dress": "Apparel > Dresses",
    "shoe": "Footwear > Shoes",
    "bag": "Accessories > Bags",
    "mug": "Home > Kitchen > Mugs",
    "lamp": "Home > Lighting > Lamps",
    "notebook": "Stationery > Notebooks",
}
VISUAL = ("Apparel", "Footwear", "Accessories")
BRANDS = ("Norvik", "Lumela", "Pellow")
NUM_DAYS = 30
SESSIONS_A_DAY = 20
FIRST_DAY = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Prepared:
    """Artifacts of the first two stages, and the config that made them."""

    items: Artifact
    clicks: Artifact
    tokenizer: Artifact
    rejects: Artifact
    synthetic: Artifact
    config: PipelineConfig


@pytest.fixture(scope="session")
def tiny_config() -> PipelineConfig:
    """The demo preset, smaller still."""
    return load_config(
        "demo",
        [
            "prepare.image_width_px=16",
            "prepare.image_height_px=16",
            "prepare.vocab_size=400",
            "prepare.num_shards=2",
            "synthetic.ratio=10",
            "synthetic.max_item_share=0.2",
            "beam.num_workers=1",
            "runtime.num_threads=1",
        ],
    )


@pytest.fixture(scope="session")
def tiny_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with items.parquet, clicks.parquet and judgments.parquet; not to be written to."""
    folder = tmp_path_factory.mktemp("tiny_shop")
    items = draw_items()
    pq.write_table(pa.Table.from_pylist(items), folder / "items.parquet")
    pq.write_table(pa.Table.from_pylist(log_clicks(items)), folder / "clicks.parquet")
    pq.write_table(pa.Table.from_pylist(judge(items)), folder / "judgments.parquet")
    return folder


@pytest.fixture(scope="session")
def prepared(tiny_shop: Path, tiny_config: PipelineConfig, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """What ``prepare_data`` and ``generate_synthetic_queries`` make of the tiny shop; not to be written to."""
    folder = tmp_path_factory.mktemp("prepared")
    kinds = ("items", "clicks", "tokenizer", "rejects")
    context = StageContext(config_digest="config", work=folder / "work")
    sources = Sources(str(tiny_shop / "items.parquet"), str(tiny_shop / "clicks.parquet"))
    prepare_data(sources, PrepareOutputs(*(folder / kind for kind in kinds)), tiny_config.prepare, tiny_config.beam, context)
    items, clicks, tokenizer, rejects = (open_artifact(folder / kind, kind) for kind in kinds)
    generate_synthetic_queries(items, clicks, tokenizer, folder / "synthetic", tiny_config.synthetic, tiny_config.beam, context)
    return Prepared(items, clicks, tokenizer, rejects, open_artifact(folder / "synthetic", "synthetic"), tiny_config)


def draw_items() -> list[dict]:
    """Return 35 products: every kind in every colour; visual ones mostly leave the colour out of their title."""
    items = []
    for number, (kind, colour) in enumerate((kind, colour) for kind in KINDS for colour in COLOURS):
        is_colour_named = not KINDS[kind].startswith(VISUAL) or number % 4 == 0
        title = f"{BRANDS[number % 3]} {colour if is_colour_named else ''} {kind} model {number}"
        items.append(
            {
                "item_id": f"i{number:02d}",
                "title": " ".join(title.split()).title(),
                "brand": BRANDS[number % 3],
                "category": KINDS[kind],
                "image": draw_picture(kind, colour),
            }
        )
    items[-1]["image"] = None
    items[-2]["image"] = items[-2]["image"][:60]
    return items


def draw_picture(kind: str, colour: str) -> bytes:
    """Return a JPEG of 24 x 30 px: a shape for the kind, in the colour, on white."""
    image = Image.new("RGB", (24, 30), "white")
    inset = 2 + list(KINDS).index(kind)
    ImageDraw.Draw(image).rectangle((inset, 3, 24 - inset, 27 - inset), fill=COLOURS[colour])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def log_clicks(items: list[dict]) -> list[dict]:
    """Return a click log of 30 days: of five shown products, those that meet the query are mostly clicked."""
    generator = random.Random(7)
    wishes = [(kind, colour) for kind in KINDS for colour in COLOURS]
    rows = []
    for number in range(NUM_DAYS * SESSIONS_A_DAY):
        place = min(int(generator.expovariate(1 / 9)), len(wishes) - 1)
        kind, colour = wishes[place * 11 % len(wishes)]
        target = wishes.index((kind, colour))
        query = f"{colour} {kind}" if number % 3 else f"{BRANDS[target % 3]} {kind}"
        shown = [target, *generator.sample([i for i in range(len(items)) if i != target], 4)]
        when = FIRST_DAY + datetime.timedelta(days=NUM_DAYS * number / (NUM_DAYS * SESSIONS_A_DAY))
        for position, item in enumerate(shown, start=1):
            is_clicked = generator.random() < (0.85 if item == target else 0.03)
            rows.append(_event(when, f"s{number}", query, items[item]["item_id"], position, is_clicked))
    crawl = FIRST_DAY + datetime.timedelta(days=3)
    rows += [_event(crawl, "crawler", "everything", items[n % 35]["item_id"], n, is_clicked=True) for n in range(120)]
    rows.append(dict(rows[5]))
    rows.append(_event(crawl, "s-blank", " \t", "i00", 1, is_clicked=True))
    rows.append(_event(crawl, "s-gone", "red shirt", "gone", 1, is_clicked=True))
    return rows


def judge(items: list[dict]) -> list[dict]:
    """Return judgments: 3 for the right kind and colour, 2 for the kind in two other colours (a tie), the rest unjudged."""
    wishes = [(kind, colour) for kind in KINDS for colour in COLOURS]
    rows = [{"query": "Red  Shirt", "item_id": "gone", "grade": 3}]
    for target, (kind, colour) in enumerate(wishes):
        others = [i for i, (k, c) in enumerate(wishes) if k == kind and c != colour][:2]
        rows += [
            {"query": f"{colour} {kind}", "item_id": items[i]["item_id"], "grade": 3 if i == target else 2}
            for i in (target, *others)
        ]
    return rows


def _event(when: datetime.datetime, session: str, query: str, item_id: str, position: int, is_clicked: bool) -> dict:
    return {
        "timestamp": when,
        "session_id": session,
        "query": query,
        "item_id": item_id,
        "position": position,
        "clicked": is_clicked,
    }
