"""What the pipeline is given by its user, and the quick look at it before any stage runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from smar_core.data.fields import FIELDS, SourceName, check_column_map, find_columns, flag_values, time_values, view_values
from smar_core.data.files import DataFile, digest_inputs, find_data_files, list_files, read_columns, read_file
from smar_core.data.judgments import read_judgments
from smar_core.errors import UserError

_SAMPLE_ROWS = 1024


@dataclass(frozen=True)
class Sources:
    """Where the input is.

    Attributes:
        items: File or folder of the catalogue, a path or URI.
        clicks: File or folder of the click log.
        images: Folder against which references to pictures are read; None if they are bytes, absolute, or absent. Pictures at
            absolute places, and those below it whose path has a part that begins with "." or "_", are in no digest: to
            replace one is not noticed.
        column_map: Column by ``field`` or ``source.field``.
    """

    items: str
    clicks: str
    images: str | None = None
    column_map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PrepareOutputs:
    """Folders of the artifacts that ``prepare_data`` writes."""

    items: Path
    clicks: Path
    tokenizer: Path
    rejects: Path


def check_inputs(sources: Sources, judgments: str | None = None) -> dict[str, str]:
    """Find in seconds what is wrong with the input as a whole; single rows are judged by ``prepare_data``.

    Args:
        sources: Catalogue, click log and pictures.
        judgments: File or folder of graded judgments.

    Returns:
        Digest of names and contents of "items", "clicks" and, where given, "judgments" and "images".

    Raises:
        UserError: A path, file, column, type or the column map is wrong, files of a source differ in their fields, or there is
            no row or no click at all.
    """
    paths: dict[SourceName, str] = {"items": sources.items, "clicks": sources.clicks}
    if judgments is not None:
        paths["judgments"] = judgments
    files = {source: find_data_files(path) for source, path in paths.items()}
    types = {source: {f.name: read_columns(f) for f in found} for source, found in files.items()}
    check_column_map(
        sources.column_map, {s: [c for columns in by_file.values() for c in columns] for s, by_file in types.items()}
    )
    for source, found in files.items():
        columns = {f.name: find_columns(source, f.name, types[source][f.name], sources.column_map) for f in found}
        _check_files_agree(source, columns)
    _check_items(sources, files["items"])
    _check_clicks(sources, files["clicks"])
    if judgments is not None:
        read_judgments(judgments, sources.column_map)
    digests: dict[str, str] = {source: digest_inputs(path) for source, path in paths.items()}
    if sources.images is not None:
        if not list_files(sources.images):
            raise UserError(f"folder {sources.images} holds no file", "name the folder of the pictures with --images")
        digests["images"] = digest_inputs(sources.images)
    return digests


def _check_files_agree(source: SourceName, columns: Mapping[str, Mapping[str, str]]) -> None:
    """Check that all files of a source have the same fields: without "clicked", every row of a file would be a click.

    Args:
        source: What the files belong to.
        columns: Column by field, by the file's name.
    """
    for name in (f.name for f in FIELDS[source]):
        lacking = [file for file, found in columns.items() if name not in found]
        having = [(file, found[name]) for file, found in columns.items() if name in found]
        if lacking and having:
            file, column = having[0]
            raise UserError(
                f"{lacking[0]} has no column for field {name!r}, which {file} has as {column!r}",
                f"write it in all files of {source} or in none",
            )


def _check_items(sources: Sources, files: list[DataFile]) -> None:
    head = _head("items", files, sources.column_map)
    if not head:
        raise UserError(f"catalogue {sources.items} holds no row", "give a catalogue with items")
    for file, batch in head:
        if "image" not in batch.schema.names:
            continue
        for row, views in enumerate(view_values(batch.column("image"))):
            for view in views:
                if isinstance(view, str):
                    _check_reference(view, f"row {row} of {file.name}", sources)


def _check_reference(reference: str, where: str, sources: Sources) -> None:
    """Refuse a reference to a picture that no other of the catalogue will fare better than."""
    if reference.strip().startswith(("http://", "https://")):
        raise UserError(
            f"{where} has the web address {reference!r} for a picture, and pictures are not fetched from the web",
            "copy them to a folder or a bucket once, and give their paths below it, with --images",
        )
    if sources.images is None and "://" not in reference and not reference.startswith("/"):
        raise UserError(f"{where} has the relative image path {reference!r}", "name the pictures' folder with --images")


def _check_clicks(sources: Sources, files: list[DataFile]) -> None:
    head = _head("clicks", files, sources.column_map)
    if not head:
        raise UserError(f"click log {sources.clicks} holds no row", "give a log with clicks")
    for file, batch in head:
        times = batch.column("timestamp")
        if time_values(times).null_count == len(times):
            example = times[0].as_py()
            raise UserError(
                f"field 'timestamp' of {file.name} holds no readable time, for example {example!r} in row 0",
                "write ISO 8601, or seconds or milliseconds since 1970, or map another column with --map timestamp=COLUMN",
            )
    if not any(_has_click(file, sources.column_map) for file in files):
        raise UserError(
            f"click log {sources.clicks} holds no click: field 'clicked' is true in no row",
            "give a log with clicks, or map another column with --map clicked=COLUMN",
        )


def _has_click(file: DataFile, column_map: Mapping[str, str]) -> bool:
    """Look at the "clicked" column alone, only as far as the first click."""
    columns = find_columns("clicks", file.name, read_columns(file), column_map)
    if "clicked" not in columns:
        return any(True for _ in read_file(file, {"query": columns["query"]}))
    batches = read_file(file, {"clicked": columns["clicked"]})
    return any(True in flag_values(batch.column("clicked")).to_pylist() for _, batch in batches)


def _head(source: SourceName, files: list[DataFile], column_map: Mapping[str, str]) -> list[tuple[DataFile, pa.RecordBatch]]:
    """Return the first rows of each file that has any."""
    found = []
    for file in files:
        columns = find_columns(source, file.name, read_columns(file), column_map)
        for _, batch in read_file(file, columns, _SAMPLE_ROWS):
            if batch.num_rows:
                found.append((file, batch))
                break
    return found
