"""What the columns of the input mean: fields, how columns are found for them, and how values become our own types.

Columns are found by the field's name unless ``column_map`` says otherwise, as ``title=product_name`` for every source that
has that column or ``clicks.item_id=sku`` for one. Of values, only what is without doubt is converted; the rest becomes null,
which the caller turns into a reject.

Times outside the years 1970 to 2200 are none: they come from a broken clock or unit, and a single one would stretch the span
by which the days are split. Nor is the first instant of 1970 a time: 0 is the usual default where there is none. Eight digits
are a date (20250101): as seconds they would lie between 1970 and 1973.
"""

import datetime
import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from smar_core.errors import UserError

FieldKind = Literal["id", "text", "time", "flag", "number", "image"]
SourceName = Literal["items", "clicks", "judgments"]
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Field:
    """A field of a source."""

    name: str
    kind: FieldKind
    is_required: bool = False


FIELDS: Mapping[SourceName, tuple[Field, ...]] = {
    "items": (
        Field("item_id", "id", True),
        Field("title", "text", True),
        Field("brand", "text"),
        Field("category", "text"),
        Field("image", "image"),
    ),
    "clicks": (
        Field("query", "text", True),
        Field("item_id", "id", True),
        Field("timestamp", "time", True),
        Field("session_id", "id"),
        Field("position", "number"),
        Field("clicked", "flag"),
    ),
    "judgments": (Field("query", "text", True), Field("item_id", "id", True), Field("grade", "number", True)),
}

LIST_FIELDS = frozenset(field.name for fields in FIELDS.values() for field in fields if field.kind == "image")
"""Fields of which a row may hold a list."""

MULTILINE_FIELDS = frozenset({"title"})
"""Fields of which a value may have several lines."""

_TYPE_NAMES: Mapping[FieldKind, str] = {
    "id": "text or a whole number",
    "text": "text",
    "time": "a timestamp, an ISO 8601 text, or seconds or milliseconds since 1970, of the years 1970 to 2200",
    "flag": "true or false, or 1 or 0",
    "number": "a whole number",
    "image": "bytes, or a path or URI as text, or a list of either",
}
_TRUE, _FALSE = frozenset({"true", "t", "yes", "1", "1.0"}), frozenset({"false", "f", "no", "0", "0.0"})
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_END = (datetime.datetime(2201, 1, 1, tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND  # first instant that is too late
_UNITS_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SMALLEST_DATE, _LARGEST_DATE = 10_000_000, 99_999_999  # whole numbers of eight digits
_SMALLEST_MINUTE, _LARGEST_MINUTE = 1970_01_01_00_00, 2200_12_31_23_59  # whole numbers of twelve; as milliseconds, 1976
_LARGEST_SECONDS = 10**11  # the year 5138; as milliseconds, March 1973
_LARGEST_MILLISECONDS = 10**14
_LARGEST_MICROSECONDS = 10**17


def find_columns(
    source: SourceName, file_name: str, types: Mapping[str, pa.DataType | None], column_map: Mapping[str, str]
) -> dict[str, str]:
    """Return the column of each field that a file has, and check the types.

    Args:
        source: Which fields to look for.
        file_name: For messages.
        types: The file's columns; the type is None where the format has none.
        column_map: Column by ``field`` or ``source.field``.

    Raises:
        UserError: A required column is missing, a mapped one is missing, or a type does not fit.
    """
    found = {}
    for field in FIELDS[source]:
        column = _find_column(source, field, file_name, types, column_map)
        if column is not None:
            _check_type(field, column, types[column], file_name)
            found[field.name] = column
    return found


def check_column_map(column_map: Mapping[str, str], columns: Mapping[SourceName, Iterable[str]]) -> None:
    """Check that every entry of a map names a field that there is and a column that some source has.

    Args:
        column_map: Column by ``field`` or ``source.field``.
        columns: Columns of each source.

    Raises:
        UserError: An entry would be ignored.
    """
    known = {field.name for fields in FIELDS.values() for field in fields}
    for key, column in column_map.items():
        source, dot, name = key.rpartition(".")
        fields = {f.name for s, fs in FIELDS.items() if s == source for f in fs} if dot else known
        if name not in fields:
            raise UserError(
                f"--map {key}={column} names no field",
                f"choose one of {', '.join(sorted(fields or known))}{_close(name, fields or known)}",
            )
        users = [s for s, fs in FIELDS.items() if s in columns and (source == s if dot else name in {f.name for f in fs})]
        available = sorted({c for s in users for c in columns[s]})
        if not users:
            raise UserError(
                f"--map {key}={column} names a field of a source that is not given", "give that source or leave the entry out"
            )
        if column not in available:
            raise UserError(
                f"--map {key}={column} names a column that {' and '.join(users)} do not have",
                f"choose one of {', '.join(available)}{_close(column, available)}",
            )


def fields_beside(names: Collection[str]) -> frozenset[str]:
    """Return the names of all fields of those sources that have the given fields.

    >>> sorted(fields_beside(["query", "grade"]))
    ['grade', 'item_id', 'query']
    """
    sources = [{field.name for field in fields} for fields in FIELDS.values()]
    return frozenset().union(*(fields for fields in sources if fields.issuperset(names)))


def text_values(values: pa.Array) -> pa.Array:
    """Return a column as strings; nulls stay."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def map_distinct(values: pa.Array, function: Callable[[str | None], _Value], into: pa.DataType) -> pa.Array:
    """Apply a function to each distinct string (null included) of a column and return the column of results."""
    encoded = text_values(values).dictionary_encode(null_encoding="encode")
    results = pa.array([function(v) for v in encoded.dictionary.to_pylist()], into)
    return results.take(encoded.indices)


def time_values(values: pa.Array) -> pa.Array:
    """Return a column as int64 microseconds since 1970 UTC; null where it is 0 or none of the years 1970 to 2200.

    A time without a zone is taken as UTC. Numbers are seconds, or milliseconds (microseconds) when too large for that; whole
    numbers of eight digits are dates.
    """
    kind = values.type
    if pa.types.is_date(kind):
        values = values.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(values.type):
        return _timestamp_microseconds(values)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = [_microseconds(float(v) if isinstance(v, float) else v) if v is not None else None for v in values.to_pylist()]
        return pa.array(numbers, pa.int64())
    return map_distinct(values, parse_time, pa.int64())


def parse_time(text: str | None) -> int | None:
    """Return microseconds since 1970 UTC of an ISO 8601 text or a number, or None; see ``time_values``.

    >>> parse_time("1970-01-01T00:00:01Z"), parse_time("1970-01-01 01:00:01+01:00"), parse_time("noon")
    (1000000, 1000000, None)
    >>> parse_time("1700000000") == parse_time("1700000000000")
    True
    >>> parse_time("20250101") == parse_time("2025-01-01"), parse_time("9999-01-01"), parse_time("0")
    (True, None, None)
    """
    text = (text or "").strip()
    try:
        return _microseconds(int(text))
    except ValueError:
        pass
    try:
        return _microseconds(float(text))
    except ValueError:
        pass
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return _if_sensible(((when if when.tzinfo else when.replace(tzinfo=datetime.UTC)) - _EPOCH) // _MICROSECOND)


def flag_values(values: pa.Array) -> pa.Array:
    """Return a column as bool; null where it is neither true nor false."""
    return values if pa.types.is_boolean(values.type) else map_distinct(values, _parse_flag, pa.bool_())


def grade_values(values: pa.Array) -> pa.Array:
    """Return a column as int32; null where it is no whole number."""
    return map_distinct(values, _parse_whole, pa.int32())


def view_values(values: pa.Array) -> list[list[bytes | str]]:
    """Return the pictures of each row in their order, as bytes or as references; blank ones are left out.

    >>> view_values(pa.array([["front.jpg", None, " back.jpg "], None])), view_values(pa.array([b"JPEG", b""]))
    ([['front.jpg', 'back.jpg'], []], [[b'JPEG'], []])
    """
    rows = (row if isinstance(row, list) else [row] for row in values.to_pylist())
    return [[view for entry in row if entry and (view := entry.strip() if isinstance(entry, str) else entry)] for row in rows]


def _find_column(
    source: SourceName, field: Field, file_name: str, types: Mapping[str, pa.DataType | None], column_map: Mapping[str, str]
) -> str | None:
    own, shared = column_map.get(f"{source}.{field.name}"), column_map.get(field.name)
    if own is not None:
        if own not in types:
            raise UserError(
                f"{file_name} has no column {own!r}, which --map {source}.{field.name}={own} names",
                f"choose one of {', '.join(types)}{_close(own, types)}",
            )
        return own
    if shared is not None and shared in types:
        return shared
    if field.name in types:
        return field.name
    if field.is_required:
        close = _close(shared or field.name, types)
        raise UserError(
            f"{file_name} has no column {shared or field.name!r}",
            f"add it or name another with --map {field.name}=COLUMN; the columns are {', '.join(types)}{close}",
        )
    return None


def _check_type(field: Field, column: str, kind: pa.DataType | None, file_name: str) -> None:
    if kind is None:
        return
    given = kind
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if pa.types.is_dictionary(kind) or (is_list and field.name in LIST_FIELDS):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    is_whole, is_number = pa.types.is_integer(kind), pa.types.is_integer(kind) or pa.types.is_floating(kind)
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    fits = {
        "id": is_text or is_whole,
        "text": is_text,
        "time": is_text or is_number or pa.types.is_timestamp(kind) or pa.types.is_date(kind),
        "flag": is_text or is_number or pa.types.is_boolean(kind),
        "number": is_text or is_number,
        "image": is_text or is_bytes,
    }
    # A column of nothing but nulls has no type to be wrong; its rows are judged one by one.
    if not (fits[field.kind] or pa.types.is_null(kind)):
        raise UserError(
            f"column {column!r} of {file_name}, read as field {field.name!r}, has the type {given}",
            f"write {_TYPE_NAMES[field.kind]}",
        )


def _microseconds(number: float) -> int | None:
    if not 0 <= number < _LARGEST_MICROSECONDS:  # nor what is no number
        return None
    if _SMALLEST_DATE <= number <= _LARGEST_DATE and number == int(number):
        return _written_microseconds(int(number), "%Y%m%d")
    if _SMALLEST_MINUTE <= number <= _LARGEST_MINUTE and number == int(number):
        return _written_microseconds(int(number), "%Y%m%d%H%M")
    if number < _LARGEST_SECONDS:
        return _if_sensible(round(number * 1_000_000))
    return _if_sensible(round(number * 1000) if number < _LARGEST_MILLISECONDS else round(number))


def _written_microseconds(digits: int, form: str) -> int | None:
    """Return the time of a number whose digits are a date, or a date and a time of the day."""
    try:
        time = datetime.datetime.strptime(str(digits), form).replace(tzinfo=datetime.UTC)
    except ValueError:
        return None
    return _if_sensible((time - _EPOCH) // _MICROSECOND)


def _if_sensible(microseconds: int) -> int | None:
    return microseconds if 0 < microseconds < _END else None


def _timestamp_microseconds(values: pa.Array) -> pa.Array:
    """Return timestamps as ``time_values`` does; judged in their own unit, since a cast of those far away would wrap around."""
    units = _UNITS_A_SECOND[values.type.unit]
    counts = values.cast(pa.int64())
    first = max(units // 10**6, 1)  # a microsecond, or the unit where that is longer
    is_sensible = pc.and_(pc.greater_equal(counts, first), pc.less(counts, _END // 10**6 * units))
    known = pc.if_else(is_sensible, counts, pa.scalar(None, pa.int64()))
    return pc.divide(known, units // 10**6) if units > 10**6 else pc.multiply(known, 10**6 // units)


def _parse_flag(text: str | None) -> bool | None:
    word = (text or "").strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _parse_whole(text: str | None) -> int | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < 2**31 else None


def _close(word: str, choices: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
