"""Every artifact kind and the Arrow schema of each of its tables: the one place where the shape of data is said.

A *kind* is a directory with a ``manifest.json`` (see ``smar_core.artifact``). A *table* of it is one Parquet or Arrow IPC file
``NAME.EXT`` or shards ``NAME-00003-of-00008.EXT``. IPC (``.arrow``, uncompressed) is used where training maps the column
into memory; Parquet everywhere else. Ids are strings everywhere. A change of a schema raises ``SCHEMA_VERSION``.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from smar_core.config import ItemTower

SCHEMA_VERSION = 1

SPLITS = ("train", "validation", "test")


def _table(*columns: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    """Build a schema; a column may be null only when its third part is True."""
    return pa.schema([pa.field(c[0], c[1], nullable=len(c) == 3) for c in columns])


ITEMS = _table(
    ("item_id", pa.string()),
    ("title", pa.string()),
    ("brand", pa.string()),  # "" when absent
    ("category", pa.string()),  # "A > B > C", "" when absent
    ("has_image", pa.bool_()),
    ("image_problem", pa.string(), True),  # why there is no picture: "absent", or what the decoder said
)
"""The catalogue, cleaned. Sorted by shard, then item_id."""


def image_schema(width_px: int, height_px: int) -> pa.Schema:
    """Schema of the pictures: uint8 RGB, row-major (H, W, 3); every item with has_image has one row or, with several views, more.

    Rows are in the items' order and, within an item, in that of its list: those of an item stand side by side.
    """
    return _table(("item_id", pa.string()), ("pixels", pa.binary(width_px * height_px * 3))).with_metadata(
        {"width_px": str(width_px), "height_px": str(height_px)}
    )


PAIRS = _table(
    ("split", pa.string()),  # train | validation | test
    ("query_id", pa.string()),
    ("query", pa.string()),  # normalised
    ("item_id", pa.string()),
    ("num_clicks", pa.int32()),
    ("is_seen_query", pa.bool_()),  # the query has a training click; True in train
    ("is_seen_item", pa.bool_()),
    ("is_seen_pair", pa.bool_()),
)
"""Clicks aggregated to (split, query, item)."""

QUERIES = _table(
    ("split", pa.string()),
    ("query_id", pa.string()),
    ("query", pa.string()),
    ("num_clicks", pa.int32()),
    ("num_items", pa.int32()),
    ("is_seen_query", pa.bool_()),
)
"""One row a (split, query) with at least one usable click."""

QRELS = _table(
    ("split", pa.string()),  # validation | test
    ("query_id", pa.string()),
    ("item_id", pa.string()),
    ("relevance", pa.int32()),  # clicks
    ("is_seen_pair", pa.bool_()),
)
"""Relevance by clicks of the validation and test days."""

REFERENCE = _table(
    ("query_id", pa.string()),
    ("query", pa.string()),  # normalised
    ("item_id", pa.string()),  # in the champion's catalogue or the new one
    ("num_clicks", pa.int32()),
)
"""Clicks of reference queries, all of one log: nothing is trained on them, so they have no split."""

REJECTS = _table(
    ("source", pa.string()),  # items | clicks | images: one picture of an item, which itself stays
    ("file", pa.string()),  # path of the file below the folder that was given; the file's own name if it was given itself
    ("row", pa.int64()),  # from 0 within the file
    ("field", pa.string()),
    ("value", pa.string(), True),  # at most 200 characters
    ("reason", pa.string()),
)
"""Rows that could not be used, and why."""

SYNTHETIC = _table(
    ("query", pa.string()),
    ("item_id", pa.string()),
    ("fields", pa.string()),  # fields that the words come from: title, brand, category, joined by "+"
    ("start_word", pa.int32()),  # place of the first word in the item's text
    ("num_words", pa.int32()),
    ("draw", pa.int32()),  # number of the query within its item
    ("num_redraws", pa.int32()),  # draws thrown away before it
)
"""Synthetic queries with their provenance."""

CURVE = _table(
    ("step", pa.int32()),
    ("name", pa.string()),  # loss, loss_text, loss_image, loss_multimodal, learning_rate, grad_norm, validation_R@50_text, ...
    ("value", pa.float64()),
)
"""What training logged, in long form: values of one step, but of ``grad_norm`` the largest since the row before.

No times: they differ between equal runs.
"""

GATE_QUERIES = _table(
    ("split", pa.string()),
    ("query_id", pa.string()),
    ("num_clicks", pa.int32()),
    ("label", pa.float64()),  # click-weighted share of clicks on visual items, or how much the picture helps
    ("probability", pa.float64()),  # P(q)
)
"""The gate's labels and answers for every true query; without a row where P looks at items."""

GATE_ITEMS = _table(
    ("item_id", pa.string()),
    ("num_clicks", pa.int32()),  # on the training days
    ("label", pa.float64(), True),  # as in GATE_QUERIES; absent without a training click
    ("probability", pa.float64()),  # P(s)
)
"""The same for every item, in the catalogue's order, where P looks at items; only such a gate has it."""


EMBEDDINGS: tuple[ItemTower, ...] = ("text", "multimodal", "image")
"""Embeddings that an exported item may have, in the order of their columns."""


def embedding_schema(embed_dim: int, towers: Collection[str] = EMBEDDINGS) -> pa.Schema:
    """Schema of the exported items: metadata for display and L2-normalised float32 embeddings of the model's item towers.

    Of an item without a picture ``multimodal`` equals ``text``, and ``image`` is all zeros: pyarrow 25 cannot read a null of
    a fixed-size list back from Parquet.
    """
    vector = pa.list_(pa.field("element", pa.float32(), nullable=False), embed_dim)
    return _table(
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("category", pa.string()),
        ("has_image", pa.bool_()),
        *((tower, vector) for tower in EMBEDDINGS if tower in towers),
    )


PER_QUERY = _table(
    ("system", pa.string()),  # model, text_only, ...
    ("source", pa.string()),  # clicks | clicks_unseen_pairs, _unseen_items, _seen_items | synthetic | judgments
    ("query_id", pa.string()),
    ("query", pa.string()),
    ("measure", pa.string()),  # R@50, P@50, nDCG@10, RR@10, ...
    ("value", pa.float64()),
)
"""One value a system, query and measure."""

SLICES = _table(("slice", pa.string()), ("query_id", pa.string()))
"""Queries of each slice."""


SchemaOfSize = Callable[[pa.Schema], pa.Schema]


def _images_of_size(found: pa.Schema) -> pa.Schema:
    """Return the schema of pictures of the size that a table's metadata names."""
    metadata = found.metadata or {}
    return image_schema(int(metadata[b"width_px"]), int(metadata[b"height_px"]))


def _embeddings_of_size(found: pa.Schema) -> pa.Schema:
    """Return the schema of the embeddings that a table has, as long as the first of them."""
    towers = [name for name in EMBEDDINGS if name in found.names]
    if not towers:
        raise ValueError("no embedding")
    return embedding_schema(found.field(towers[0]).type.list_size, towers)


@dataclass(frozen=True)
class Kind:
    """What a directory of one artifact kind holds.

    Attributes:
        tables: Schema of each table. Where it depends on a size, a function instead: given the schema found, it returns the one
            that a table of that size must have, or raises KeyError, AttributeError or ValueError when no size can be told.
        files: Other files that must be there.
    """

    tables: Mapping[str, pa.Schema | SchemaOfSize] = field(default_factory=dict)
    files: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "items": Kind({"items": ITEMS, "images": _images_of_size}, ("statistics.json",)),
    "clicks": Kind({"pairs": PAIRS, "queries": QUERIES, "qrels": QRELS}, ("statistics.json",)),
    "tokenizer": Kind(files=("tokenizer.json",)),
    "rejects": Kind({"rejects": REJECTS}, ("reasons.json",)),
    "synthetic": Kind({"synthetic": SYNTHETIC}, ("drift.json",)),
    "model": Kind({"curve": CURVE}, ("config.json", "model.safetensors", "tokenizer.json", "training.json")),
    "gate": Kind(
        {"gate_queries": GATE_QUERIES}, ("gate.json", "gate.safetensors", "config.json", "model.safetensors", "gate_report.json")
    ),
    "bundle": Kind(
        {"embeddings": _embeddings_of_size},
        ("bundle.json", "tokenizer.json", "query_tower/config.json", "query_tower/model.safetensors", "gate/gate.json"),
    ),
    "evaluation": Kind({"per_query": PER_QUERY, "slices": SLICES}, ("scores.json", "page.html")),
    "reference": Kind({"reference": REFERENCE}, ("statistics.json",)),
    "decision": Kind({"per_query": PER_QUERY}, ("decision.json", "page.html")),
    "trial": Kind(files=("evidence.json", "queries.json")),
    "experiment": Kind(files=("experiment.json", "report.html", "table.md")),
}
"""Every artifact kind of the pipeline."""
