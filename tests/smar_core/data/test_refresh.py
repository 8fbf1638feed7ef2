"""A new catalogue prepared for a model that exists."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from smar_core.artifact import open_artifact
from smar_core.config import BeamConfig, PrepareConfig
from smar_core.data.refresh import RefreshOutputs, prepare_refresh
from smar_core.data.sources import Sources
from smar_core.errors import UserError
from smar_core.model.configuration import SmarConfig
from smar_core.model.pictures import PictureStore
from smar_core.stage import StageContext
from tests.smar_core.conftest import HEIGHT_PX, WIDTH_PX, FinishedRun

CONFIG = PrepareConfig(image_width_px=64, image_height_px=64, num_shards=2)


CLICKED = ("new", "z9", "h8", "never known")


def prepare(run: FinishedRun, folder: Path, config: PrepareConfig, clicked: tuple[str, ...] = CLICKED) -> dict[str, float]:
    """Prepare an item that is new, with two pictures, and one that stays; a log with an item that left and one never known."""
    picture = io.BytesIO()
    Image.new("RGB", (30, 30), "red").save(picture, "JPEG")
    items = {
        "item_id": ["new", "z9", ""],
        "title": ["Red Hat", "Red Shirt", "No Id"],
        "image": [[picture.getvalue()] * 2, None, None],
    }
    pq.write_table(pa.table(items), folder / "items.parquet")
    clicks = {"query": ["Red"] * len(clicked), "item_id": clicked, "timestamp": ["2026-01-01"] * len(clicked)}
    pq.write_table(pa.table(clicks), folder / "clicks.parquet")
    return prepare_refresh(
        Sources(str(folder / "items.parquet"), str(folder / "clicks.parquet")),
        run.finetuned,
        run.bundle,
        RefreshOutputs(folder / "items", folder / "reference", folder / "rejects"),
        config,
        BeamConfig(num_workers=1),
        StageContext(config_digest="", work=folder),
    )


def test_pictures_are_as_large_and_as_many_as_the_models_and_clicks_on_either_catalogue_stay(
    finished_run: FinishedRun, tmp_path: Path
) -> None:
    figures = prepare(finished_run, tmp_path, CONFIG.model_copy(update={"max_reject_share": 0.5}))
    items = open_artifact(tmp_path / "items", "items")
    assert sorted(items.read_table("items")["item_id"].to_pylist()) == ["new", "z9"]
    images = items.read_table("images")
    assert images.schema.metadata == {b"width_px": str(WIDTH_PX).encode(), b"height_px": str(HEIGHT_PX).encode()}
    assert SmarConfig.from_pretrained(finished_run.finetuned.path).num_views == PictureStore.open(items).num_views == 1
    reference = open_artifact(tmp_path / "reference", "reference").read_table("reference")
    assert reference["item_id"].to_pylist() == ["h8", "new", "z9"]
    rejects = open_artifact(tmp_path / "rejects", "rejects")
    assert rejects.read_json("reasons.json") == {"items": {"no item_id": 1}, "clicks": {"unknown item": 1}, "images": {}}
    assert figures["num_reference_queries"] == 1
    assert figures["click_reject_share"] == 0.25


def test_too_many_rejects_leave_nothing(finished_run: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prepare\.max_reject_share"):
        prepare(finished_run, tmp_path, CONFIG)
    assert not [name for name in ("items", "reference", "rejects") if (tmp_path / name).exists()]


def test_clicks_on_items_that_left_long_ago_do_not_count_as_faults_of_the_log(finished_run: FinishedRun, tmp_path: Path) -> None:
    """A log that served for two refreshes was refused at the second: what had left before the champion was above the limit."""
    gone = ("new", "z9", "h8", "gone", "gone too")
    figures = prepare(finished_run, tmp_path, CONFIG.model_copy(update={"max_reject_share": 0.34}), gone)
    assert figures["click_reject_share"] == 0.4


def test_a_log_of_another_shop_is_refused(finished_run: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 of 3 clicks .* younger log"):
        prepare(finished_run, tmp_path, CONFIG.model_copy(update={"max_reject_share": 0.34}), ("new", "gone", "gone too"))
