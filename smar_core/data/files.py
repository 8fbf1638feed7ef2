"""Reading a file or a folder of Parquet, CSV or JSON lines, by path or URI.

Parquet keeps its column types; CSV and JSON lines are read as text and interpreted later (``smar_core.data.fields``), so that
all formats go through one set of conversions. JSON lines are parsed by Python, at about 400,000 rows a second, because an
error then names its line and a column may mix numbers and text. Rows are counted from 0 within a file; a header is no row.

In CSV, a quotation mark that nothing closes swallows all rows up to the next one. It is noticed by a line break in a field
that holds a single line, or at the end of the file; not where the next one stands in a title or a column that is not read.
"""

import bz2
import contextlib
import gzip
import itertools
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from smar_core.data.fields import LIST_FIELDS, MULTILINE_FIELDS, fields_beside
from smar_core.data.filesystems import (
    FILE_ERRORS,
    digest_stored,
    first_line,
    is_uri,
    list_files,
    open_stored,
    without_file_scheme,
)
from smar_core.digest import digest_files
from smar_core.errors import UserError

Format = Literal["parquet", "csv", "jsonl"]

BATCH_ROWS = 16_384
_FORMATS: Mapping[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_JSON_HEAD = 1000
_CSV_END = "\x04 end of file"  # no value of any shop
_DIGEST_THREADS = 32  # a request to a store waits some 20 ms for its answer
_UNPACK: Mapping[str, Callable[[BinaryIO], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_KNOWN = "Parquet (.parquet), CSV (.csv) or JSON lines (.jsonl)"


@dataclass(frozen=True)
class DataFile:
    """A file of rows.

    Attributes:
        path: Path or URI.
        name: Path below the folder that was asked for; the file's own name if it was asked for itself.
        format: How it is read.
    """

    path: str
    name: str
    format: Format


@dataclass(frozen=True)
class FilePart:
    """What one worker reads at a time: a file, or a row group of a Parquet file.

    Attributes:
        first_row: Row of the file with which the part begins.
    """

    file: DataFile
    row_group: int | None
    first_row: int


def find_data_files(path: str) -> list[DataFile]:
    """Return the data files at a path.

    Args:
        path: A file of any name, or a folder, of which the files with a known ending count.

    Raises:
        UserError: Nothing is there, a folder holds no data file, or a file's format cannot be told.
    """
    path = without_file_scheme(path)
    files = list_files(path)
    is_file = list(files.values()) == [path] if is_uri(path) else Path(path).is_file()
    found = []
    for name, location in files.items():
        file_format = _format_of(name)
        if file_format is None and is_file:
            file_format = _sniff(location, name)
        if file_format is not None:
            found.append(DataFile(location, name, file_format))
    if not found:
        raise UserError(f"folder {path} holds no data file", f"put files of {_KNOWN} there or name another path")
    return found


@contextlib.contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Open a path or URI for reading; what its ending says is packed comes unpacked."""
    with open_stored(path) as packed:
        unpack = _UNPACK.get(PurePosixPath(path).suffix.lower())
        if unpack is None:
            yield packed
        else:
            with unpack(packed) as handle:
                yield handle


def digest_inputs(path: str) -> str:
    """Return the digest of the names and contents of all files at a path.

    A local disk is read at about 1 GB/s; of other stores the checksums are asked for, some hundreds a second.
    """
    files = list_files(path)
    with ThreadPoolExecutor(_DIGEST_THREADS) as pool:
        return digest_files(dict(zip(files, pool.map(_digest_file, files, files.values()), strict=True)))


def read_columns(file: DataFile) -> dict[str, pa.DataType | None]:
    """Return a file's columns and, for Parquet, their types; of JSON lines, the first thousand are looked at.

    Raises:
        UserError: The file is empty, truncated or of another format.
    """
    with _explained(file.name):
        if file.format == "jsonl":
            return {name: None for _, record in _read_json_lines(file, limit=_JSON_HEAD) for name in record}
        with open_file(file.path) as handle:
            is_parquet = file.format == "parquet"
            reader = _open_parquet(handle, file.name) if is_parquet else _open_csv(handle, file.name)
            schema = reader.schema_arrow if is_parquet else reader.schema
        names = schema.names  # decoded here, where a header that is not UTF-8 is explained
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{file.name} has several columns {name!r}", "rename all but one")
    return {field.name: field.type if is_parquet else None for field in schema}


def split_file(file: DataFile) -> list[FilePart]:
    """Return the parts of a file that can be read apart."""
    if file.format != "parquet":
        return [FilePart(file, None, 0)]
    with _explained(file.name), open_file(file.path) as handle:
        meta = _open_parquet(handle, file.name).metadata
        parts, first_row = [], 0
        for group in range(meta.num_row_groups):
            parts.append(FilePart(file, group, first_row))
            first_row += meta.row_group(group).num_rows
        return parts


def read_part(part: FilePart, columns: Mapping[str, str], batch_rows: int = BATCH_ROWS) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Read a part.

    Args:
        part: What to read.
        columns: Column of the file by the field it becomes.
        batch_rows: Rows of a batch, at most.

    Yields:
        The batch's first row within the file, and the batch with a column for each field.

    Raises:
        UserError: The file turns out to be damaged.
    """
    read = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_json}[part.file.format]
    with _explained(part.file.name):
        first_row = part.first_row
        for batch in read(part, columns, batch_rows):
            yield first_row, batch
            first_row += batch.num_rows


def read_file(file: DataFile, columns: Mapping[str, str], batch_rows: int = BATCH_ROWS) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Read all parts of a file in order; see ``read_part``."""
    for part in split_file(file):
        yield from read_part(part, columns, batch_rows)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what libraries raise at a damaged or unreadable file into a UserError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{name} is not there", "put it back; workers elsewhere need a URI, or the same mount as here") from None
    except PermissionError:
        raise UserError(f"{name} may not be read", "give yourself the right to read it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text ({error})", "save it as UTF-8") from None
    except (*FILE_ERRORS, EOFError, zlib.error, lzma.LZMAError) as error:
        if "invalid UTF8" in str(error):
            raise UserError(f"{name} is not UTF-8 text ({first_line(error)})", "save it as UTF-8") from None
        is_csv = isinstance(error, pa.ArrowInvalid) and _format_of(name) == "csv"
        hint = "quote values that hold a comma, close every quotation mark, or " if is_csv else ""
        raise UserError(f"{name} is damaged or truncated ({first_line(error)})", f"{hint}write the file again") from None


def _digest_file(name: str, path: str) -> str:
    with _explained(name):
        return digest_stored(path)


def _format_of(name: str) -> Format | None:
    path = PurePosixPath(name.lower())
    suffix = PurePosixPath(path.stem).suffix if path.suffix in _UNPACK else path.suffix
    return _FORMATS.get(suffix)


def _sniff(path: str, name: str) -> Format:
    with _explained(name), open_file(path) as handle:
        start = handle.read(4)
    if start == b"PAR1":
        return "parquet"
    raise UserError(f"the format of {name} cannot be told from its name", f"name it as {_KNOWN}")


def _open_parquet(handle: BinaryIO, name: str) -> pq.ParquetFile:
    start = handle.read(4)
    if not start:
        raise UserError(f"{name} is empty", "give a file with rows")
    if start != b"PAR1":
        raise UserError(f"{name} is not a Parquet file", f"write it as Parquet, or name it by its format: {_KNOWN}")
    handle.seek(0)
    return pq.ParquetFile(handle)


def _read_parquet(part: FilePart, columns: Mapping[str, str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    fields = list(columns)
    with open_file(part.file.path) as handle:
        parquet = _open_parquet(handle, part.file.name)
        names = [columns[field] for field in fields]
        for batch in parquet.iter_batches(batch_rows, row_groups=[part.row_group], columns=sorted(set(names)), use_threads=False):
            yield pa.RecordBatch.from_arrays([batch.column(name) for name in names], names=fields)


class _WithEnd:
    """The bytes of a CSV file and, after them, a row of its own, which a quotation mark that nothing closes swallows."""

    closed = False  # PythonFile asks for it

    def __init__(self, handle: BinaryIO, num_columns: int) -> None:
        self._handle = handle
        self._end = f"\n{','.join([_CSV_END] * num_columns)}\n".encode()

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""
        wanted = size - len(self._end)
        block = self._handle.read(wanted)
        if len(block) < wanted:
            # With the last bytes, not after them: Arrow takes a block of nothing but the "\n" of "\r\n" for the end.
            block += self._end
            self._end = b""
        return block


def _open_csv(handle: BinaryIO | _WithEnd, name: str, columns: Sequence[str] = ()) -> pa.csv.CSVStreamingReader:
    try:
        return pa.csv.open_csv(
            pa.PythonFile(handle, mode="r"),
            read_options=pa.csv.ReadOptions(use_threads=False),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=sorted(set(columns)) or None
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            raise UserError(f"{name} is empty", "give a file with rows, and close every quotation mark") from None
        raise


def _read_csv(part: FilePart, columns: Mapping[str, str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    name, num_rows, is_whole = part.file.name, 0, False
    num_columns = len(read_columns(part.file))
    with open_file(part.file.path) as handle:
        for block in _open_csv(_WithEnd(handle, num_columns), name, list(columns.values())):
            is_whole = block.num_rows > 0 and block.column(0)[-1].as_py() == _CSV_END
            rows = block.slice(0, block.num_rows - is_whole)
            for start in range(0, rows.num_rows, batch_rows):
                chosen = rows.slice(start, batch_rows)
                batch = pa.RecordBatch.from_arrays([chosen.column(c) for c in columns.values()], names=list(columns))
                _check_lines(batch, name, num_rows + start)
                yield batch
            num_rows += rows.num_rows
    if not is_whole:
        raise UserError(f"row {num_rows - 1} of {name} has a quotation mark that nothing closes", "close it or take it out")


def _check_lines(batch: pa.RecordBatch, name: str, first_row: int) -> None:
    """Check that no value that swallowed the rows after it is in a field that holds a single line."""
    for field, values in zip(batch.schema.names, batch.columns, strict=True):
        if field in MULTILINE_FIELDS:
            continue
        has_break = pc.match_substring(values, "\n")
        if pc.any(has_break).as_py():
            place = pc.index(has_break, True).as_py()
            start = values[place].as_py().splitlines()[0][:60]
            raise UserError(
                f"row {first_row + place} of {name} has a line break in field {field!r}, after {start!r}",
                "close the quotation mark before that value or take it out, or write the value in one line",
            )


def _read_json(part: FilePart, columns: Mapping[str, str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    rows: list[list[str | list[str | None] | None]] = []
    schema = pa.schema([(field, pa.list_(pa.string()) if field in LIST_FIELDS else pa.string()) for field in columns])

    def batch() -> pa.RecordBatch:
        arrays = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), schema.types, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    for line, record in _with_known_fields(_read_json_lines(part.file), columns, part.file.name):
        rows.append(
            [
                (_as_texts if field in LIST_FIELDS else _as_text)(record.get(column), part.file.name, line, column)
                for field, column in columns.items()
            ]
        )
        if len(rows) == batch_rows:
            yield batch()
            rows.clear()
    if rows:
        yield batch()


def _with_known_fields(
    records: Iterator[tuple[int, dict[str, Any]]], columns: Mapping[str, str], name: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Pass records on and refuse a field that ``read_columns`` could not see, since only later records have it."""
    head: set[str] = set()
    for line, record in itertools.islice(records, _JSON_HEAD):
        head.update(record)
        yield line, record
    unseen = fields_beside(columns).difference(head, columns)
    for line, record in records:
        if not unseen.isdisjoint(record):
            raise UserError(
                f"line {line} of {name} is the first with the field {min(unseen.intersection(record))!r}",
                f"write it in one of the first {_JSON_HEAD} records too, null where it has no value",
            )
        yield line, record


def _read_json_lines(file: DataFile, limit: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's number, from 1, and record; blank lines are skipped."""
    with open_file(file.path) as handle:
        num_records = 0
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except UnicodeDecodeError as error:
                raise UserError(f"line {number} of {file.name} is not UTF-8 text ({error})", "save it as UTF-8") from None
            except ValueError as error:
                raise UserError(
                    f"line {number} of {file.name} is not JSON ({first_line(error)})", "write one record a line"
                ) from None
            if not isinstance(record, dict):
                raise UserError(f"line {number} of {file.name} is not a JSON object", "write one record a line")
            yield number, record
            num_records += 1
            if num_records == limit:
                return
        if not num_records:
            raise UserError(f"{file.name} is empty", "give a file with rows")


def _as_text(value: Any, name: str, line: int, column: str) -> str | None:
    if isinstance(value, str):
        if not value.isascii():
            _check_encodable(value, name, line, column)
        return value
    if value is None:
        return None
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise UserError(f"column {column!r} in line {line} of {name} holds a list or an object", "write text or a number")


def _check_encodable(value: str, name: str, line: int, column: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"column {column!r} in line {line} of {name} is not UTF-8 text: {value[error.start]!r} is half a character",
            "save it as UTF-8, with whole characters",
        ) from None


def _as_texts(value: Any, name: str, line: int, column: str) -> list[str | None]:
    return [_as_text(entry, name, line, column) for entry in (value if isinstance(value, list) else [value])]
