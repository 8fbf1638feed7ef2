"""The click log's half of the preparation: rows to (query, item, clicks) of the training, validation and test days.

Every row has one fate: reject, duplicate, crawler's, not clicked, or click; the five counts add up to the rows.
- A *duplicate* has the timestamp, session, query, item and position of another row; of these one stays, clicked if any was.
  A log without sessions has only the rest to tell events by, so two shoppers' clicks in the same instant become one there.
- A *crawler* is a session with more than ``crawler_max_events`` events, duplicates apart, and a click rate above
  ``crawler_min_click_rate``; a log without ``clicked`` has rate 1 everywhere, so there the events alone decide. Rows without
  a session are never a crawler's.
- The split is by time alone: the span goes from the first to the last parsable timestamp, those of rejects included.
"""

import datetime
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from smar_core.config import PrepareConfig
from smar_core.data.beam_runner import COUNTS, pack, shard_of, unpack
from smar_core.data.fields import flag_values, map_distinct, text_values, time_values
from smar_core.data.rejects import BAD_FLAG, BAD_TIME, NO_CLICKED_ITEM, NO_QUERY, UNKNOWN_ITEM, reject_rows
from smar_core.data.tables import shard_name, write_parquet
from smar_core.schemas import PAIRS, QRELS, QUERIES, SPLITS
from smar_core.text import normalise_query, query_id

EVENTS = pa.schema(
    [
        ("time", pa.int64()),  # microseconds since 1970 UTC
        ("session", pa.string()),  # "" when there is none
        ("query", pa.string()),
        ("item_id", pa.string()),
        ("position", pa.string()),  # only tells events apart
        ("clicked", pa.bool_()),
    ]
)
_CLICKS = pa.schema([EVENTS.field("time"), EVENTS.field("query"), EVENTS.field("item_id")])
_COUNTS = pa.schema([PAIRS.field(name) for name in ("split", "query", "item_id", "num_clicks")])


@dataclass(frozen=True)
class TimeSplit:
    """When the validation and the test days begin; all in microseconds since 1970 UTC.

    Attributes:
        start: First parsable event.
        end: Last parsable event.
        validation_start: First instant of the validation days.
        test_start: First instant of the test days.
    """

    start: int
    end: int
    validation_start: int
    test_start: int

    @classmethod
    def of(cls, start: int, end: int, config: PrepareConfig) -> "TimeSplit":
        """Split a span by the config's shares, in exact arithmetic.

        >>> TimeSplit.of(0, 100, PrepareConfig())
        TimeSplit(start=0, end=100, validation_start=80, test_start=90)
        """
        test, validation = Fraction(str(config.test_share)), Fraction(str(config.validation_share))
        span = end - start
        return cls(start, end, end - math.floor(span * (test + validation)), end - math.floor(span * test))

    def bounds(self, split: str) -> tuple[int, int]:
        """Return the first instant of a split and the end of its time."""
        edges = (self.start, self.validation_start, self.test_start, self.end)
        place = SPLITS.index(split)
        return edges[place], edges[place + 1]

    def describe(self) -> str:
        """Return in words how far the times go and where they are split.

        >>> TimeSplit(0, 10**13, 8 * 10**12, 9 * 10**12).describe()  # doctest: +NORMALIZE_WHITESPACE
        'its times go from 1970-01-01T00:00:00+00:00 to 1970-04-26T17:46:40+00:00, validation begins at
        1970-04-03T14:13:20+00:00, test at 1970-04-15T04:00:00+00:00'
        """
        start, end, validation, test = map(_iso, (self.start, self.end, self.validation_start, self.test_start))
        return f"its times go from {start} to {end}, validation begins at {validation}, test at {test}"

    def assign(self, times: np.ndarray) -> np.ndarray:
        """Return the split, as its place in SPLITS, of each time [N] int64."""
        return np.searchsorted([self.validation_start, self.test_start], times, side="right")


def parse_events(
    batch: pa.RecordBatch, file: str, first_row: int, item_ids: pa.Array
) -> tuple[pa.Table, list[pa.Table], pa.Array]:
    """Interpret a batch of the click log.

    Args:
        batch: A column for each field that is there.
        file: Name of the file.
        first_row: The batch's first row within the file.
        item_ids: Every id of the catalogue.

    Returns:
        The usable events, the rejects, and all times, null where unparsable.
    """
    size, names = batch.num_rows, set(batch.schema.names)
    blank = pa.array([""] * size, pa.string())
    times = time_values(batch.column("timestamp"))
    queries = map_distinct(batch.column("query"), normalise_query, pa.string())
    ids = _stripped(batch.column("item_id"))
    sessions = _stripped(batch.column("session_id")) if "session_id" in names else blank
    positions = _stripped(batch.column("position")) if "position" in names else blank
    clicked = flag_values(batch.column("clicked")) if "clicked" in names else pa.array([True] * size)
    faults = (
        (BAD_TIME, times.is_null()),
        (NO_QUERY, pc.equal(queries, "")),
        (NO_CLICKED_ITEM, pc.equal(ids, "")),
        (BAD_FLAG, clicked.is_null()),
        (UNKNOWN_ITEM, pc.invert(pc.is_in(ids, value_set=item_ids))),
    )
    usable = np.ones(size, dtype=bool)
    rejects = []
    for reason, is_bad in faults:
        places = np.flatnonzero(usable & is_bad.to_numpy(zero_copy_only=False))
        if len(places):
            values = batch.column(reason.field).take(pa.array(places)).to_pylist()
            rejects.append(reject_rows("clicks", file, [first_row + int(p) for p in places], reason, values))
            usable[places] = False
    events = pa.table([times, sessions, queries, ids, positions, clicked], schema=EVENTS)
    return events.filter(pa.array(usable)), rejects, times


@dataclass(frozen=True)
class SessionCounts:
    """What cleaning took out of some events."""

    num_duplicates: int
    num_crawler_sessions: int
    num_crawler_rows: int
    num_not_clicked: int


def clean_sessions(events: pa.Table, config: PrepareConfig) -> tuple[pa.Table, SessionCounts]:
    """Take out duplicates, crawlers, and what was not clicked.

    Args:
        events: Events of whole sessions, in any order.
        config: What makes a crawler.

    Returns:
        The clicks, in any order, and what was taken out.
    """
    keys = [name for name in EVENTS.names if name != "clicked"]
    distinct = events.group_by(keys, use_threads=False).aggregate([("clicked", "any")])
    sessions = distinct.group_by("session", use_threads=False).aggregate([("clicked_any", "count"), ("clicked_any", "sum")])
    sizes = sessions["clicked_any_count"].to_numpy()
    rates = sessions["clicked_any_sum"].to_numpy() / np.maximum(sizes, 1)
    has_id = pc.not_equal(sessions["session"], "").to_numpy()
    is_crawler = has_id & (sizes > config.crawler_max_events) & (rates > config.crawler_min_click_rate)
    crawlers = sessions["session"].filter(pa.array(is_crawler)).combine_chunks()
    human = distinct.filter(pc.invert(pc.is_in(distinct["session"], value_set=crawlers)))
    clicks = human.filter(human["clicked_any"]).select(_CLICKS.names)
    counts = SessionCounts(
        events.num_rows - distinct.num_rows,
        int(is_crawler.sum()),
        distinct.num_rows - human.num_rows,
        human.num_rows - clicks.num_rows,
    )
    return clicks, counts


def count_clicks(clicks: pa.Table, split: TimeSplit) -> pa.Table:
    """Aggregate clicks to a row a (split, query, item), in any order."""
    splits = pa.array(SPLITS).take(pa.array(split.assign(clicks["time"].to_numpy())))
    table = pa.table({"split": splits, "query": clicks["query"], "item_id": clicks["item_id"]})
    counts = table.group_by(["split", "query", "item_id"], use_threads=False).aggregate([([], "count_all")])
    return counts.rename_columns({"count_all": "num_clicks"}).select(_COUNTS.names).cast(_COUNTS)


def build_tables(counts: pa.Table, train_items: pa.Array) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return the pairs, queries and qrels of some whole queries, sorted by split, query and item.

    Args:
        counts: Rows (split, query, item, clicks), each once.
        train_items: Items with a training click, of all queries.
    """
    order = pa.array([SPLITS.index(s) for s in counts["split"].to_pylist()], pa.int8())
    counts = counts.append_column("order", order).sort_by([(name, "ascending") for name in ("order", "query", "item_id")])
    train = counts.filter(pc.equal(counts["split"], "train"))
    seen_pairs = set(zip(train["query"].to_pylist(), train["item_id"].to_pylist(), strict=True))
    pairs = list(zip(counts["query"].to_pylist(), counts["item_id"].to_pylist(), strict=True))
    columns = {
        "split": counts["split"],
        "query_id": map_distinct(counts["query"].combine_chunks(), lambda q: query_id(q or ""), pa.string()),
        "query": counts["query"],
        "item_id": counts["item_id"],
        "num_clicks": counts["num_clicks"],
        "is_seen_query": pc.is_in(counts["query"], value_set=train["query"].combine_chunks()),
        "is_seen_item": pc.is_in(counts["item_id"], value_set=train_items),
        "is_seen_pair": pa.array([pair in seen_pairs for pair in pairs], pa.bool_()),
    }
    pair_table = pa.table(columns)
    held_out = pair_table.filter(pc.not_equal(pair_table["split"], "train"))
    qrels = held_out.rename_columns({"num_clicks": "relevance"})
    keys = ["split", "query_id", "query", "is_seen_query"]
    # Without threads, groups come in the order of their first row: that of the pairs.
    queries = pair_table.group_by(keys, use_threads=False).aggregate([("num_clicks", "sum"), ("item_id", "count")])
    queries = queries.rename_columns({"num_clicks_sum": "num_clicks", "item_id_count": "num_items"})
    return pair_table.cast(PAIRS), queries.select(QUERIES.names).cast(QUERIES), qrels.select(QRELS.names).cast(QRELS)


class ParseClicks(beam.DoFn):
    """(file, first row, packed batch) -> (session's shard, packed events).

    Tags: "rejects" (packed), "span" (start, end) and ``COUNTS``.
    """

    def __init__(self, num_shards: int) -> None:
        self._num_shards = num_shards

    def process(self, element: tuple[str, int, bytes], packed_ids: Sequence[bytes]) -> Iterator[Any]:
        """Interpret a batch; ``packed_ids`` hold every id of the catalogue."""
        file, first_row, packed = element
        batch = unpack(packed).combine_chunks().to_batches()[0]
        item_ids = pa.concat_tables([unpack(p) for p in packed_ids])["item_id"].combine_chunks()
        events, rejects, times = parse_events(batch, file, first_row, item_ids)
        yield TaggedOutput(COUNTS, ("num_click_rows", batch.num_rows))
        for table in rejects:
            yield TaggedOutput("rejects", pack(table))
        span = pc.min_max(times)
        if span["min"].is_valid:
            yield TaggedOutput("span", (span["min"].as_py(), span["max"].as_py()))
        # Rows without a session meet their duplicates by the query.
        keys = pc.if_else(pc.equal(events["session"], ""), events["query"], events["session"])
        yield from _partition(events, keys, self._num_shards)


class CleanSessions(beam.DoFn):
    """(session's shard, packed events) -> (query's shard, packed clicks); tag ``COUNTS``."""

    def __init__(self, config: PrepareConfig) -> None:
        self._config = config

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        """Take out duplicates, crawlers, and what was not clicked."""
        events = pa.concat_tables([EVENTS.empty_table(), *(unpack(p) for p in element[1])])
        clicks, counts = clean_sessions(events, self._config)
        counted = vars(counts) | {"num_clicks": clicks.num_rows}
        yield from (TaggedOutput(COUNTS, count) for count in counted.items())
        yield from _partition(clicks, clicks["query"], self._config.num_shards)


class CountClicks(beam.DoFn):
    """(query's shard, packed clicks) -> (shard, packed counts); tag "train_items" (packed)."""

    def __init__(self, config: PrepareConfig) -> None:
        self._config = config

    def process(self, element: tuple[int, Iterable[bytes]], span: tuple[int, int] | None) -> Iterator[Any]:
        """Assign splits and count; ``span`` is the time of the first and last parsable event, if there is one."""
        shard, packed = element
        clicks = pa.concat_tables([_CLICKS.empty_table(), *(unpack(p) for p in packed if p)])
        counts = count_clicks(clicks, TimeSplit.of(*(span or (0, 0)), self._config))
        train = counts.filter(pc.equal(counts["split"], "train"))
        yield TaggedOutput("train_items", pack(pa.table({"item_id": train["item_id"].unique()})))
        yield shard, pack(counts)


class WriteClicks(beam.DoFn):
    """(shard, packed counts) -> files of the shard."""

    def __init__(self, path: str, num_shards: int) -> None:
        self._path, self._num_shards = path, num_shards

    def process(self, element: tuple[int, bytes], packed_train_items: Sequence[bytes]) -> None:
        """Write pairs, queries and qrels; ``packed_train_items`` hold every item with a training click."""
        shard, packed = element
        train_items = pa.concat_tables([unpack(p) for p in packed_train_items])["item_id"].combine_chunks()
        tables = build_tables(unpack(packed), train_items)
        for name, schema, table in zip(("pairs", "queries", "qrels"), (PAIRS, QUERIES, QRELS), tables, strict=True):
            write_parquet(table, schema, f"{self._path}/{shard_name(name, shard, self._num_shards)}")


def summarise_clicks(
    pairs: pa.Table, queries: pa.Table, counters: Mapping[str, int], num_rejects: int, split: TimeSplit
) -> dict[str, Any]:
    """Return the clicks artifact's statistics.

    Args:
        pairs: All pairs.
        queries: All queries.
        counters: What the transforms counted.
        num_rejects: Rejected rows.
        split: Times of the splits.
    """
    splits = {}
    for name in SPLITS:
        of_pairs, of_queries = (t.filter(pc.equal(t["split"], name)) for t in (pairs, queries))
        start, end = (_iso(time) for time in split.bounds(name))
        splits[name] = {
            "num_queries": of_queries.num_rows,
            "num_pairs": of_pairs.num_rows,
            "num_clicks": sum(of_pairs["num_clicks"].to_pylist()),
            "start": start,
            "end": end,
            "num_seen_queries": sum(of_queries["is_seen_query"].to_pylist()),
            "num_seen_pairs": sum(of_pairs["is_seen_pair"].to_pylist()),
        }
    names = ("num_duplicates", "num_crawler_sessions", "num_crawler_rows", "num_not_clicked", "num_clicks")
    counts = {name: counters[name] for name in names}
    return {"num_rows": counters["num_click_rows"], "num_rejects": num_rejects, **counts, "splits": splits}


def widest_span(spans: Iterable[tuple[int, int] | None]) -> tuple[int, int] | None:
    """Return the span that covers all spans, None if there is none.

    >>> widest_span([(2, 5), None, (1, 3)])
    (1, 5)
    """
    known = [span for span in spans if span is not None]
    return (min(s[0] for s in known), max(s[1] for s in known)) if known else None


def _iso(time: int) -> str:
    return (datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=time)).isoformat()


def _stripped(values: pa.Array) -> pa.Array:
    return pc.fill_null(pc.utf8_trim_whitespace(text_values(values)), "")


def _partition(table: pa.Table, keys: pa.ChunkedArray, num_shards: int) -> Iterator[tuple[int, bytes]]:
    shards = pa.chunked_array(
        [map_distinct(chunk, lambda key: shard_of(key or "", num_shards), pa.int32()) for chunk in keys.chunks], pa.int32()
    )
    for shard in sorted(shards.unique().to_pylist()):
        yield shard, pack(table.filter(pc.equal(shards, shard)))
