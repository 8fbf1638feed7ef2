from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smar_core.artifact import create_artifact, open_artifact, write_json
from smar_core.model.pictures import PictureStore
from smar_core.schemas import ITEMS, image_schema

WIDTH_PX, HEIGHT_PX = 2, 3
# Views of each item by shard; a view is told by its shade. The batches of the first shard end within an item.
SHARDS: Sequence[dict[str, list[int]]] = ({"a": [1, 2, 3], "b": [], "c": [4, 5]}, {"d": []}, {"e": [6], "f": [7, 8]})


def write_store(folder: Path, shards: Sequence[dict[str, list[int]]], rows_a_batch: int = 2) -> PictureStore:
    schema = image_schema(WIDTH_PX, HEIGHT_PX)
    with create_artifact(folder, "items", config_digest="", parents={}) as path:
        for number, shard in enumerate(shards):
            name = f"-{number:05d}-of-{len(shards):05d}"
            texts = {"title": "t", "brand": "", "category": "", "image_problem": None}
            rows = [{"item_id": item_id, "has_image": bool(views)} | texts for item_id, views in shard.items()]
            pq.write_table(pa.Table.from_pylist(rows, ITEMS), path / f"items{name}.parquet")
            pictures = [
                {"item_id": item_id, "pixels": bytes([shade]) * (WIDTH_PX * HEIGHT_PX * 3)}
                for item_id, views in shard.items()
                for shade in views
            ]
            with pa.ipc.new_file(path / f"images{name}.arrow", schema) as writer:
                for start in range(0, len(pictures), rows_a_batch):
                    writer.write_table(pa.Table.from_pylist(pictures[start : start + rows_a_batch], schema))
        write_json(path / "statistics.json", {})
    return PictureStore.open(open_artifact(folder, "items"))


def shades(store: PictureStore, rows: Sequence[int]) -> list[list[int]]:
    """Return the shades of the views that are there, and see that all other pixels are zero."""
    pixels, has_view = store.take(np.array(rows))
    assert pixels.shape == (len(rows), store.num_views, HEIGHT_PX, WIDTH_PX, 3)
    assert not pixels[~has_view].any()
    flat = pixels.flatten(2)
    assert (flat == flat[..., :1]).all()
    return [flat[n, has_view[n], 0].tolist() for n in range(len(rows))]


def test_views_of_an_item_come_in_their_order(tmp_path: Path) -> None:
    store = write_store(tmp_path / "items", SHARDS)
    assert store.num_views == 3
    assert store.has_image.tolist() == [True, False, True, False, True, True]
    assert shades(store, range(6)) == [[1, 2, 3], [], [4, 5], [], [6], [7, 8]]


@pytest.mark.parametrize("rows", [[5, 0, 0, 3], [1], [], [4, 2]])
def test_rows_may_come_in_any_order_and_repeat(tmp_path: Path, rows: list[int]) -> None:
    store = write_store(tmp_path / "items", SHARDS)
    everything = shades(store, range(6))
    assert shades(store, np.array(rows, dtype=np.int64)) == [everything[row] for row in rows]


def test_a_catalogue_of_single_pictures_has_one_view(tmp_path: Path) -> None:
    store = write_store(tmp_path / "items", ({"a": [1], "b": []}, {"c": [2]}))
    assert store.num_views == 1
    assert shades(store, [2, 1, 0]) == [[2], [], [1]]


def test_a_catalogue_without_pictures_has_room_for_one(tmp_path: Path) -> None:
    store = write_store(tmp_path / "items", ({"a": [], "b": []},))
    assert shades(store, [0, 1]) == [[], []]
