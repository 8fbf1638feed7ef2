import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smar_core.config import PrepareConfig
from smar_core.data.click_log import EVENTS, TimeSplit, build_tables, clean_sessions, count_clicks, parse_events, widest_span
from smar_core.schemas import PAIRS, QRELS, QUERIES, SPLITS
from smar_core.text import query_id

CONFIG = PrepareConfig(crawler_max_events=3, crawler_min_click_rate=0.5)
ITEM_IDS = pa.array(["a", "b", "c"])


def batch(**columns: list) -> pa.RecordBatch:
    size = len(columns["query"])
    return pa.RecordBatch.from_pydict({"timestamp": list(range(1, size + 1)), "item_id": ["a"] * size} | columns)


def events(*rows: tuple) -> pa.Table:
    """Rows of (time, session, query, item, position, clicked)."""
    return pa.table(
        [pa.array(column, kind.type) for column, kind in zip(zip(*rows, strict=True), EVENTS, strict=True)], schema=EVENTS
    )


def test_every_fault_is_a_reject_with_its_row() -> None:
    rows = batch(
        query=["Red  Shirt", " ", "red", "red", "red", "red", None],
        item_id=["a", "a", "zz", "", "b", " c ", "a"],
        timestamp=["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", "never", "2026-01-06", "2026-01-07"],
        clicked=["1", "1", "1", "1", "1", "maybe", "1"],
    )
    usable, rejects, times = parse_events(rows, "log.csv", 100, ITEM_IDS)
    assert usable["query"].to_pylist() == ["red shirt"]
    found = {(r["row"], r["field"], r["value"], r["reason"]) for table in rejects for r in table.to_pylist()}
    assert found == {
        (101, "query", " ", "blank query"),
        (102, "item_id", "zz", "unknown item"),
        (103, "item_id", "", "no item_id"),
        (104, "timestamp", "never", "no readable timestamp"),
        (105, "clicked", "maybe", "neither true nor false"),
        (106, "query", None, "blank query"),
    }
    assert times.null_count == 1, "times of rejects count for the span"


def test_a_row_with_two_faults_is_one_reject() -> None:
    _, rejects, _ = parse_events(batch(query=[""], item_id=["zz"]), "log", 0, ITEM_IDS)
    assert [table.num_rows for table in rejects] == [1]


def test_optional_columns_may_be_absent() -> None:
    usable, rejects, _ = parse_events(batch(query=["red", "blue"]), "log", 0, ITEM_IDS)
    assert not rejects
    assert usable.select(["session", "position", "clicked"]).to_pylist() == [{"session": "", "position": "", "clicked": True}] * 2


def test_an_event_logged_twice_counts_once_and_is_clicked_if_any_was() -> None:
    shown, clicked = (5, "s", "red", "a", "1", False), (5, "s", "red", "a", "1", True)
    clicks, counts = clean_sessions(events(shown, clicked, clicked), CONFIG)
    assert clicks.to_pylist() == [{"time": 5, "query": "red", "item_id": "a"}]
    assert (counts.num_duplicates, counts.num_not_clicked) == (2, 0)


@pytest.mark.parametrize(
    "change", [(6, "s", "red", "a", "1"), (5, "t", "red", "a", "1"), (5, "s", "red", "b", "1"), (5, "s", "red", "a", "2")]
)
def test_an_event_that_differs_is_another(change: tuple) -> None:
    clicks, counts = clean_sessions(events((5, "s", "red", "a", "1", True), (*change, True)), CONFIG)
    assert (clicks.num_rows, counts.num_duplicates) == (2, 0)


def session(name: str, num_events: int, num_clicked: int) -> list[tuple]:
    return [(time, name, "red", "a", "", time < num_clicked) for time in range(num_events)]


@pytest.mark.parametrize(
    ("num_events", "num_clicked", "is_crawler"), [(4, 3, True), (4, 2, False), (3, 3, False), (4, 4, True), (100, 50, False)]
)
def test_a_crawler_is_a_long_session_that_clicks_much(num_events: int, num_clicked: int, is_crawler: bool) -> None:
    rows = session("s", num_events, num_clicked) + session("person", 2, 1)
    clicks, counts = clean_sessions(events(*rows), CONFIG)
    assert counts.num_crawler_sessions == is_crawler
    assert counts.num_crawler_rows == (num_events if is_crawler else 0)
    assert clicks.num_rows == 1 + (0 if is_crawler else num_clicked)


def test_duplicates_do_not_make_a_crawler_nor_do_rows_without_session() -> None:
    _, counts = clean_sessions(events(*session("s", 3, 3), *session("s", 3, 3), *session("", 50, 50)), CONFIG)
    assert counts.num_crawler_sessions == 0


EVENT = st.tuples(
    st.integers(0, 5),
    st.sampled_from(["", "s", "t"]),
    st.sampled_from(["q", "r"]),
    st.sampled_from(["a", "b"]),
    st.just(""),
    st.booleans(),
)


@given(st.lists(EVENT, min_size=1, max_size=40))
def test_every_event_has_one_fate(rows: list[tuple]) -> None:
    clicks, counts = clean_sessions(events(*rows), CONFIG)
    assert clicks.num_rows + counts.num_duplicates + counts.num_crawler_rows + counts.num_not_clicked == len(rows)


@given(st.integers(-(10**15), 10**16), st.integers(0, 10**15), st.lists(st.integers(0, 1000), max_size=20))
def test_splits_are_disjoint_in_time(start: int, length: int, places: list[int]) -> None:
    split = TimeSplit.of(start, start + length, PrepareConfig())
    times = np.array(sorted(start + length * place // 1000 for place in places), dtype=np.int64)
    assigned = split.assign(times)
    assert (np.diff(assigned) >= 0).all()
    for time, number in zip(times, assigned, strict=True):
        first, end = split.bounds(SPLITS[number])
        assert first <= time <= end
    assert split.start <= split.validation_start <= split.test_start <= split.end


def test_the_last_tenth_is_for_testing() -> None:
    split = TimeSplit.of(1000, 2000, PrepareConfig())
    assert split.assign(np.array([1000, 1799, 1800, 1899, 1900, 2000])).tolist() == [0, 0, 1, 1, 2, 2]


def test_each_share_is_that_of_its_own_days() -> None:
    split = TimeSplit.of(0, 100, PrepareConfig(test_share=0.2, validation_share=0.1))
    assert (split.validation_start, split.test_start) == (70, 80)


def test_clicks_are_counted_by_split_query_and_item() -> None:
    clicks = pa.table({"time": [0, 1, 85, 95, 95], "query": ["q", "q", "q", "q", "r"], "item_id": ["a", "a", "a", "a", "a"]})
    counts = count_clicks(clicks, TimeSplit.of(0, 100, PrepareConfig()))
    found = {(r["split"], r["query"], r["item_id"]): r["num_clicks"] for r in counts.to_pylist()}
    assert found == {("train", "q", "a"): 2, ("validation", "q", "a"): 1, ("test", "q", "a"): 1, ("test", "r", "a"): 1}


def test_tables_by_hand() -> None:
    rows = [
        ("test", "q", "b", 4),
        ("test", "q", "a", 2),
        ("test", "r", "c", 1),
        ("train", "q", "a", 3),
        ("validation", "q", "c", 1),
    ]
    counts = pa.table(
        [
            pa.array(column, PAIRS.field(name).type)
            for column, name in zip(zip(*rows, strict=True), ("split", "query", "item_id", "num_clicks"), strict=True)
        ],
        names=["split", "query", "item_id", "num_clicks"],
    )
    pairs, queries, qrels = build_tables(counts, train_items=pa.array(["a", "c"]))
    assert (pairs.schema, queries.schema, qrels.schema) == (PAIRS, QUERIES, QRELS)
    seen = ("is_seen_query", "is_seen_item", "is_seen_pair")
    assert [(r["split"], r["query"], r["item_id"], r["num_clicks"], *(r[s] for s in seen)) for r in pairs.to_pylist()] == [
        ("train", "q", "a", 3, True, True, True),
        ("validation", "q", "c", 1, True, True, False),
        ("test", "q", "a", 2, True, True, True),
        ("test", "q", "b", 4, True, False, False),
        ("test", "r", "c", 1, False, True, False),
    ]
    assert [tuple(r.values()) for r in queries.to_pylist()] == [
        ("train", query_id("q"), "q", 3, 1, True),
        ("validation", query_id("q"), "q", 1, 1, True),
        ("test", query_id("q"), "q", 6, 2, True),
        ("test", query_id("r"), "r", 1, 1, False),
    ]
    assert [tuple(r.values()) for r in qrels.to_pylist()] == [
        ("validation", query_id("q"), "c", 1, False),
        ("test", query_id("q"), "a", 2, True),
        ("test", query_id("q"), "b", 4, False),
        ("test", query_id("r"), "c", 1, False),
    ]


def test_times_with_a_zone_are_compared_as_moments() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=9))
    when = datetime.datetime(2026, 1, 1, 9, tzinfo=zone)
    rows = batch(query=["q", "q"], timestamp=[when.isoformat(), "2026-01-01T00:00:00Z"])
    usable, rejects, _ = parse_events(rows, "log", 0, ITEM_IDS)
    assert usable["time"].to_pylist() == [int(when.timestamp()) * 1_000_000] * 2
    assert not rejects


def test_the_widest_span_of_nothing_is_none() -> None:
    assert widest_span([]) is None
