import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smar_core.data.fields import check_column_map, find_columns, flag_values, grade_values, parse_time, time_values
from smar_core.errors import UserError

MOMENT = datetime.datetime(2026, 8, 1, 10, 30, 0, 250_000, tzinfo=datetime.UTC)
MICROSECONDS = int(MOMENT.timestamp() * 1_000_000)
CLICK_TYPES = {"query": pa.string(), "item_id": pa.int64(), "timestamp": pa.timestamp("us")}


@pytest.mark.parametrize(
    "values",
    [
        pa.array([MOMENT], pa.timestamp("us", "UTC")),
        pa.array([MOMENT], pa.timestamp("ns", "Asia/Tokyo")),
        pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("ms")),
        pa.array([MICROSECONDS / 1_000_000]),
        pa.array([MICROSECONDS // 1000]),
        pa.array([MICROSECONDS]),
        pa.array(["2026-08-01T10:30:00.25Z"]),
        pa.array(["2026-08-01 10:30:00.250"], pa.large_string()),
        pa.array(["2026-08-01T19:30:00.25+09:00"]).dictionary_encode(),
        pa.array([str(MICROSECONDS // 1000)]),
    ],
    ids=lambda values: str(values.type),
)
def test_one_moment_in_every_notation(values: pa.Array) -> None:
    assert time_values(values).to_pylist() == [MICROSECONDS]


def test_days_and_seconds() -> None:
    day = datetime.date(2026, 8, 1)
    midnight = int(datetime.datetime(2026, 8, 1, tzinfo=datetime.UTC).timestamp()) * 1_000_000
    assert time_values(pa.array([day])).to_pylist() == [midnight]
    assert time_values(pa.array([midnight // 1_000_000, None])).to_pylist() == [midnight, None]


@pytest.mark.parametrize("text", ["", "yesterday", "nan", "inf", "1e30", "2026-13-01", None])
def test_what_is_no_time_is_null(text: str | None) -> None:
    assert parse_time(text) is None


@given(st.datetimes(timezones=st.timezones()))
def test_iso_texts_are_read_exactly(when: datetime.datetime) -> None:
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    try:
        expected = (when - epoch) // datetime.timedelta(microseconds=1)
        offset_is_whole = when.utcoffset() % datetime.timedelta(minutes=1) == datetime.timedelta(0)
    except OverflowError:
        return
    if offset_is_whole:
        is_time = expected > 0 and when.astimezone(datetime.UTC).year <= 2200
        assert parse_time(when.isoformat()) == (expected if is_time else None)


def test_flags() -> None:
    texts = ["true", "FALSE", "1", "0", "1.0", "yes", "no", "2", "", None]
    assert flag_values(pa.array(texts)).to_pylist() == [True, False, True, False, True, True, False, None, None, None]
    assert flag_values(pa.array([1, 0, 5])).to_pylist() == [True, False, None]
    assert flag_values(pa.array([1.0, 0.0, None])).to_pylist() == [True, False, None]
    assert flag_values(pa.array([True, None])).to_pylist() == [True, None]


def test_grades_are_whole_numbers() -> None:
    assert grade_values(pa.array(["3", "2.0", "1.5", "x", None])).to_pylist() == [3, 2, None, None, None]


def test_columns_are_found_by_name_or_map() -> None:
    types = CLICK_TYPES | {"sku": pa.string(), "extra": pa.binary()}
    own = {"query": "query", "item_id": "item_id", "timestamp": "timestamp"}
    assert find_columns("clicks", "f", types, {}) == own
    assert find_columns("clicks", "f", types, {"item_id": "sku"}) == own | {"item_id": "sku"}
    assert find_columns("clicks", "f", types, {"clicks.item_id": "sku"}) == own | {"item_id": "sku"}
    assert find_columns("clicks", "f", types, {"items.item_id": "sku"}) == own
    # The items name it otherwise; the log does not have that column and keeps its own.
    assert find_columns("clicks", "f", types, {"item_id": "product"}) == own


def test_a_missing_column_is_named_with_the_closest_one() -> None:
    types = {"item_id": pa.string(), "titel": pa.string()}
    with pytest.raises(UserError) as caught:
        find_columns("items", "items.csv", types, {})
    message = str(caught.value)
    assert "items.csv has no column 'title'" in message
    assert "--map title=COLUMN" in message and "did you mean 'titel'" in message
    with pytest.raises(UserError, match=r"--map items.title=name names"):
        find_columns("items", "items.csv", types | {"title": pa.string()}, {"items.title": "name"})


@pytest.mark.parametrize(
    ("source", "field", "kind"),
    [
        ("items", "title", pa.int64()),
        ("items", "title", pa.binary()),
        ("items", "item_id", pa.float64()),
        ("items", "image", pa.list_(pa.uint8())),
        ("clicks", "timestamp", pa.bool_()),
        ("clicks", "clicked", pa.timestamp("us")),
        ("clicks", "query", pa.list_(pa.string())),
        ("judgments", "grade", pa.bool_()),
    ],
)
def test_a_wrong_type_is_named(source, field: str, kind: pa.DataType) -> None:
    types = {"query": pa.string(), "item_id": pa.string(), "title": pa.string(), "timestamp": pa.int64(), "grade": pa.int64()}
    with pytest.raises(UserError) as caught:
        find_columns(source, "file.parquet", types | {field: kind}, {})
    message = str(caught.value)
    assert "file.parquet" in message and repr(field) in message and str(kind) in message


@pytest.mark.parametrize(
    ("column_map", "words"),
    [
        ({"titel": "name"}, "names no field; .*did you mean 'title'"),
        ({"title": "nmae"}, "'?nmae'? names a column that items do not have; .*did you mean 'name'"),
        ({"clicks.title": "name"}, "names no field"),
        ({"item_id": "sku"}, "items and clicks do not have"),
    ],
)
def test_a_map_entry_that_would_be_ignored_is_an_error(column_map: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_column_map(column_map, {"items": ["name", "id"], "clicks": ["query", "id"]})


def test_good_map_entries_pass() -> None:
    columns = {"items": ["name", "id"], "clicks": ["query", "product"]}
    check_column_map({"title": "name", "items.item_id": "id", "clicks.item_id": "product", "query": "query"}, columns)


def test_a_map_entry_of_a_source_that_is_not_given_is_an_error() -> None:
    columns = {"items": ["item_id", "title"], "clicks": ["query", "item_id"]}
    for key in ("judgments.grade", "grade"):
        with pytest.raises(UserError, match=f"--map {key}=nope names a field of a source that is not given"):
            check_column_map({key: "nope"}, columns)
    check_column_map({"judgments.grade": "label"}, columns | {"judgments": ["query", "item_id", "label"]})


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["9999-01-01", "2201-01-01", "1969-12-31T23:59:59", "0001-01-01T00:00:00+14:00", "99999999999", "-5"]),
        pa.array([99_999_999_999, -5]),
        pa.array([9e10, -0.5]),
        pa.array([2**62, -1, 253_402_300_800], pa.timestamp("s")),
        pa.array([2**31 - 1, -1, 84_371], pa.date32()),
    ],
    ids=lambda values: str(values.type),
)
def test_times_of_other_centuries_are_null(values: pa.Array) -> None:
    assert time_values(values).null_count == len(values)


def test_the_first_and_the_last_sensible_time() -> None:
    texts = ["1970-01-01T00:00:00.000001", "2200-12-31T23:59:59.999999"]
    last = 7_289_654_400_000_000 - 1
    assert time_values(pa.array(texts)).to_pylist() == [1, last]
    assert time_values(pa.array([1, last], pa.timestamp("us", "UTC"))).to_pylist() == [1, last]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 0.0]),
        pa.array([0]),
        pa.array(["0", "0.0", "1970-01-01", "1970-01-01T01:00:00+01:00"]),
        pa.array([0], pa.timestamp("s")),
        pa.array([0, 999], pa.timestamp("ns", "UTC")),
        pa.array([0], pa.date32()),
    ],
    ids=lambda values: str(values.type),
)
def test_the_epoch_is_no_time(values: pa.Array) -> None:
    """One 0, written where there is no time, stretched the span over 50 years, and all real days were test days."""
    assert time_values(values).null_count == len(values)


def test_eight_digits_are_a_date() -> None:
    midnight = int(datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC).timestamp()) * 1_000_000
    for values in (["20250101"], [20250101], [20250101.0]):
        assert time_values(pa.array(values)).to_pylist() == [midnight]
    assert parse_time("20251301") is None


def test_twelve_digits_are_a_date_and_a_minute() -> None:
    """As milliseconds they were all of 1976, and the log was cut there."""
    noon = int(datetime.datetime(2025, 1, 1, 12, 5, tzinfo=datetime.UTC).timestamp()) * 1_000_000
    for values in (["202501011205"], [202501011205], [202501011205.0]):
        assert time_values(pa.array(values)).to_pylist() == [noon]
    assert parse_time("202501012505") is None


@pytest.mark.parametrize("text", ["9" * 400, "nan", "inf", "-1"])
def test_a_number_without_end_is_no_time(text: str) -> None:
    """Of some hundred digits it ended the stage."""
    assert parse_time(text) is None
