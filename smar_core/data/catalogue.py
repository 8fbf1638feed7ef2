"""The catalogue's half of the preparation: rows to cleaned items and letterboxed pictures.

Rows are shuffled by their shard with pictures as they came (bytes or reference), and decoded afterwards, so that the shuffle
holds compressed pictures and duplicates are decoded once. Of an item's pictures ("views", or frames of a video) the first
``prepare.max_views`` of its list are read; one of them that is broken is a reject, and no later one takes its place.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from smar_core.config import PrepareConfig
from smar_core.data.beam_runner import COUNTS, pack, shard_of, unpack
from smar_core.data.fields import text_values, view_values
from smar_core.data.images import PictureError, fetch_pictures, letterbox
from smar_core.data.rejects import CONFLICT, NO_ITEM_ID, NO_TITLE, Reason, broken_picture, reject_rows
from smar_core.data.tables import shard_name, write_ipc, write_parquet
from smar_core.schemas import ITEMS, image_schema
from smar_core.text import clean_text

ABSENT = "absent"
_ROWS = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("category", pa.string()),
        # Of these two, one is empty: a file has its pictures as bytes or as references.
        ("images", pa.list_(pa.large_binary())),
        ("image_references", pa.list_(pa.string())),
        ("num_images_left_out", pa.int64()),
        ("file", pa.string()),
        ("row", pa.int64()),
    ]
)
_PICTURES_A_BATCH = 1024


def clean_items(batch: pa.RecordBatch, file: str, first_row: int, max_views: int) -> tuple[pa.Table, list[pa.Table]]:
    """Clean the text of a batch of the catalogue.

    Args:
        batch: A column for each field that is there.
        file: Name of the file.
        first_row: The batch's first row within the file.
        max_views: Pictures of an item that are kept.

    Returns:
        The usable rows, and the rejects.
    """
    columns: dict[str, list[Any]] = {}
    for name in ("item_id", "title", "brand", "category"):
        values = text_values(batch.column(name)).to_pylist() if name in batch.schema.names else [None] * batch.num_rows
        columns[name] = [(v or "").strip() for v in values] if name == "item_id" else [clean_text(v) for v in values]
    columns["category"] = [_clean_category(c) for c in columns["category"]]
    views = view_values(batch.column("image")) if "image" in batch.schema.names else [[]] * batch.num_rows
    columns["images"] = [[v for v in of_row[:max_views] if isinstance(v, bytes)] for of_row in views]
    columns["image_references"] = [[v for v in of_row[:max_views] if isinstance(v, str)] for of_row in views]
    columns["num_images_left_out"] = [len(of_row[max_views:]) for of_row in views]
    columns["file"] = [file] * batch.num_rows
    columns["row"] = list(range(first_row, first_row + batch.num_rows))
    usable: list[int] = []
    bad: dict[Reason, list[int]] = {}
    for place, (item_id, title) in enumerate(zip(columns["item_id"], columns["title"], strict=True)):
        reason = _find_fault(item_id, title)
        if reason is None:
            usable.append(place)
        else:
            bad.setdefault(reason, []).append(place)
    table = pa.table({f.name: pa.array([columns[f.name][p] for p in usable], f.type) for f in _ROWS}, schema=_ROWS)
    rejects = [
        reject_rows("items", file, [first_row + p for p in places], reason, [columns[reason.field][p] for p in places])
        for reason, places in bad.items()
    ]
    return table, rejects


def merge_items(rows: pa.Table) -> tuple[list[dict[str, Any]], pa.Table]:
    """Keep one row an id where all its rows are equal, and none where they differ.

    Args:
        rows: Usable rows of whole ids, in any order.

    Returns:
        The items, sorted by id, and the rejects.
    """
    by_id: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        by_id.setdefault(row["item_id"], []).append(row)
    items, conflicts = [], []
    for item_id in sorted(by_id):
        same = by_id[item_id]
        if len({_content(row) for row in same}) == 1:
            items.append(min(same, key=lambda row: (row["file"], row["row"])))
        else:
            conflicts += [reject_rows("items", r["file"], [r["row"]], CONFLICT, [item_id]) for r in same]
    return items, pa.concat_tables([reject_rows("items", "", [], CONFLICT, []), *conflicts])


class CleanItems(beam.DoFn):
    """(file, first row, packed batch) -> (shard, packed rows); tags: "rejects", packed, and ``COUNTS``."""

    def __init__(self, config: PrepareConfig) -> None:
        self._num_shards, self._max_views = config.num_shards, config.max_views

    def process(self, element: tuple[str, int, bytes]) -> Iterator[Any]:
        """Clean a batch."""
        file, first_row, packed = element
        batch = unpack(packed).combine_chunks().to_batches()[0]
        yield TaggedOutput(COUNTS, ("num_item_rows", batch.num_rows))
        rows, rejects = clean_items(batch, file, first_row, self._max_views)
        for table in rejects:
            yield TaggedOutput("rejects", pack(table))
        shards = pa.array([shard_of(i, self._num_shards) for i in rows["item_id"].to_pylist()], pa.int32())
        for shard in sorted(set(shards.to_pylist())):
            yield shard, pack(rows.filter(pc.equal(shards, shard)))


class WriteItems(beam.DoFn):
    """(shard, packed rows) -> files of the shard; gives its ids, packed; tags: "rejects", packed, and ``COUNTS``.

    Args:
        path: Where the items artifact's tables are written, a path or URI.
        images: Root of the references to pictures, or None.
        config: Size of the pictures and number of shards.
    """

    def __init__(self, path: str, images: str | None, config: PrepareConfig) -> None:
        self._path, self._images = path, images
        self._width_px, self._height_px, self._num_shards = config.image_width_px, config.image_height_px, config.num_shards

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        """Merge, decode and write a shard."""
        shard, packed = element
        items, conflicts = merge_items(pa.concat_tables([_ROWS.empty_table(), *(unpack(p) for p in packed if p)]))
        schema = image_schema(self._width_px, self._height_px)
        # The pictures go first: whether an item has one is known after decoding. They are written as they come, so that a
        # shard of large pictures does not have to fit into memory.
        rejects, counts = [conflicts], Counter[str]()
        pictures = self._decode(items, schema, rejects, counts)
        write_ipc(pictures, schema, f"{self._path}/{shard_name('images', shard, self._num_shards, '.arrow')}")
        yield TaggedOutput("rejects", pack(pa.concat_tables(rejects)))
        yield from (TaggedOutput(COUNTS, count) for count in counts.items())
        table = pa.table({f.name: pa.array([item[f.name] for item in items], f.type) for f in ITEMS}, schema=ITEMS)
        write_parquet(table, ITEMS, f"{self._path}/{shard_name('items', shard, self._num_shards)}")
        yield pack(table.select(["item_id"]))

    def _decode(
        self, items: list[dict[str, Any]], schema: pa.Schema, rejects: list[pa.Table], counts: Counter[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the pictures in batches; set has_image and image_problem of every item, and add broken pictures to rejects."""
        ids: list[str] = []
        pixels: list[bytes] = []
        fetched = fetch_pictures([reference for item in items for reference in item["image_references"]], self._images)
        for item in items:
            views = item.pop("images") or item.pop("image_references")
            counts.update(num_images_given=len(views), num_images_left_out=item["num_images_left_out"])
            item["has_image"], item["image_problem"] = False, ABSENT
            problems = []
            for number, view in enumerate(views, start=1):
                try:
                    content = view if isinstance(view, bytes) else next(fetched)
                    if isinstance(content, PictureError):
                        raise content
                    pixels.append(letterbox(content, self._width_px, self._height_px))
                except PictureError as error:
                    problems.append(str(error))
                    shown = f"picture {number} of item {item['item_id']}" if isinstance(view, bytes) else view
                    rejects.append(reject_rows("images", item["file"], [item["row"]], broken_picture(str(error)), [shown]))
                else:
                    item["has_image"] = True
                    ids.append(item["item_id"])
            if item["has_image"]:
                item["image_problem"] = None
            elif problems:
                item["image_problem"] = problems[0]
            while len(ids) >= _PICTURES_A_BATCH:
                yield _picture_batch(ids[:_PICTURES_A_BATCH], pixels[:_PICTURES_A_BATCH], schema)
                del ids[:_PICTURES_A_BATCH], pixels[:_PICTURES_A_BATCH]
        if ids:
            yield _picture_batch(ids, pixels, schema)


def summarise_items(
    items: pa.Table, config: PrepareConfig, reasons: Mapping[str, Mapping[str, int]], counters: Mapping[str, int]
) -> dict[str, Any]:
    """Return the items artifact's statistics.

    Args:
        items: All of them.
        config: Size of the pictures.
        reasons: How many rejects each source has for each reason.
        counters: What the transforms counted.
    """
    tops = Counter(category.split(" > ")[0] for category in items["category"].to_pylist() if category)
    num_broken = sum(reasons["images"].values())
    return {
        "num_items": items.num_rows,
        "num_with_image": sum(items["has_image"].to_pylist()),
        "num_images": counters["num_images_given"] - num_broken,
        "num_undecodable_images": num_broken,
        "num_images_left_out": counters["num_images_left_out"],
        "num_rejects": sum(reasons["items"].values()),
        "image_width_px": config.image_width_px,
        "image_height_px": config.image_height_px,
        "top_categories": dict(tops),
    }


def _find_fault(item_id: str, title: str) -> Reason | None:
    if not item_id:
        return NO_ITEM_ID
    return None if title else NO_TITLE


def _clean_category(category: str) -> str:
    """Return a category path with single blanks around ">" and without empty levels."""
    return " > ".join(level for part in category.split(">") if (level := part.strip()))


def _content(row: Mapping[str, Any]) -> tuple[Any, ...]:
    pictures = tuple(hashlib.sha256(picture).digest() for picture in row["images"])
    return row["title"], row["brand"], row["category"], pictures, tuple(row["image_references"])


def _picture_batch(ids: list[str], pixels: list[bytes], schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([pa.array(ids, schema.field(0).type), pa.array(pixels, schema.field(1).type)], schema=schema)
