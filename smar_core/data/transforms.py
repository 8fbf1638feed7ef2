"""The Beam transforms that every data stage is built of: read a source, clean and write the catalogue, write the rejects.

A stage adds them to its own pipeline. What only training needs, the click log's splits and counts, is in ``click_log``.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from smar_core.config import PrepareConfig
from smar_core.data.beam_runner import COUNTS, pack, shard_of, unpack
from smar_core.data.catalogue import CleanItems, WriteItems
from smar_core.data.exchange import check_shared, read_note, write_note
from smar_core.data.fields import SourceName, find_columns
from smar_core.data.files import FilePart, find_data_files, read_columns, read_part, split_file
from smar_core.data.filesystems import list_files
from smar_core.data.rejects import write_rejects
from smar_core.data.sources import Sources
from smar_core.digest import digest_json
from smar_core.errors import UserError

_ITEM_BATCH_ROWS = 256  # few, since a row may hold a large picture
_FAILURE = "failure"


class WrittenItems(NamedTuple):
    """What ``write_catalogue`` added to a pipeline.

    Attributes:
        ids: Every id of the catalogue, in packed tables.
        rejects: Packed rejects, of rows and of pictures.
        counts: What the transforms counted, for ``write_counts``.
    """

    ids: beam.PCollection[bytes]
    rejects: tuple[beam.PCollection[bytes], beam.PCollection[bytes]]
    counts: tuple[beam.PCollection[tuple[str, int]], beam.PCollection[tuple[str, int]]]


def every_shard(pipeline: beam.Pipeline, num_shards: int) -> beam.PCollection[tuple[int, bytes]]:
    """Return an empty element for each shard, so that even an empty one is written."""
    return pipeline | "shards" >> beam.Create([(shard, b"") for shard in range(num_shards)])


def read_source(
    pipeline: beam.Pipeline, source: SourceName, path: str, sources: Sources, batch_rows: int, notes: str
) -> beam.PCollection[tuple[str, int, bytes]]:
    """Read a catalogue or a click log.

    Args:
        pipeline: What the transforms are added to.
        source: Which of the two.
        path: Its file or folder.
        sources: Columns by field.
        batch_rows: Rows of an element.
        notes: Where damaged files are noted, for ``raise_failure``.

    Returns:
        (name of the file, first row, packed batch).
    """
    parts = [part for file in find_data_files(path) for part in split_file(file)]
    return (
        pipeline
        | f"parts of {source}" >> beam.Create(parts)
        | f"spread parts of {source}" >> beam.Reshuffle()
        | f"read {source}" >> beam.ParDo(_ReadPart(source, sources.column_map, batch_rows, notes))
        | f"spread {source}" >> beam.Reshuffle()
    )


def write_catalogue(
    pipeline: beam.Pipeline,
    sources: Sources,
    output: str,
    config: PrepareConfig,
    shards: beam.PCollection[tuple[int, bytes]],
    notes: str,
) -> WrittenItems:
    """Clean the catalogue, decode its pictures, and write both.

    Args:
        pipeline: What the transforms are added to.
        sources: Where the catalogue and its pictures are.
        output: Where the tables of kind ``items`` are written, a path or URI.
        config: Size of the pictures and number of shards.
        shards: What ``every_shard`` returned.
        notes: As for ``read_source``.
    """
    rows = read_source(pipeline, "items", sources.items, sources, _ITEM_BATCH_ROWS, notes)
    items = rows | "clean items" >> beam.ParDo(CleanItems(config)).with_outputs("rejects", COUNTS, main="rows")
    by_shard = (items.rows, shards) | "item rows" >> beam.Flatten() | "items by shard" >> beam.GroupByKey()
    writer = WriteItems(output, sources.images, config)
    written = by_shard | "write items" >> beam.ParDo(writer).with_outputs("rejects", COUNTS, main="ids")
    return WrittenItems(written.ids, (items.rejects, written.rejects), (items[COUNTS], written[COUNTS]))


def write_reject_tables(
    rejects: Iterable[beam.PCollection[bytes]], output: str, num_shards: int, shards: beam.PCollection[tuple[int, bytes]]
) -> None:
    """Write packed rejects.

    Args:
        rejects: From wherever they come.
        output: Where the table of kind ``rejects`` is written, a path or URI.
        num_shards: Files that they are written to.
        shards: What ``every_shard`` returned.
    """
    _ = (
        (
            (tuple(rejects) | "rejects" >> beam.Flatten()) | "rejects by shard" >> beam.FlatMap(_partition_rejects, num_shards),
            shards,
        )
        | "rejects and shards" >> beam.Flatten()
        | "group rejects" >> beam.GroupByKey()
        | "write rejects" >> beam.ParDo(_WriteRejects(output, num_shards))
    )


def raise_failure(notes: str) -> None:
    """Raise the ``UserError`` that a damaged file left a note of, if there is one: Beam would lose the error's kind."""
    for name, note in list_files(notes).items():
        if PurePosixPath(name).match(f"{_FAILURE}-*.json"):
            raise UserError(**read_note(note))


class _ReadPart(beam.DoFn):
    """A part of a file -> (file's name, first row, packed batch).

    The name is the path below the folder: base names repeat in partitioned folders, and rejects are told apart by it.
    """

    def __init__(self, source: SourceName, column_map: Mapping[str, str], batch_rows: int, notes: str) -> None:
        self._source, self._column_map, self._batch_rows, self._notes = source, dict(column_map), batch_rows, notes

    def process(self, part: FilePart) -> Iterator[tuple[str, int, bytes]]:
        """Read a part."""
        check_shared(self._notes)
        try:
            columns = find_columns(self._source, part.file.name, read_columns(part.file), self._column_map)
            for first_row, batch in read_part(part, columns, self._batch_rows):
                yield part.file.name, first_row, pack(pa.Table.from_batches([batch]))
        except UserError as error:
            note = {"problem": error.problem, "remedy": error.remedy}
            write_note(f"{self._notes}/{_FAILURE}-{digest_json(note)}.json", note)


class _WriteRejects(beam.DoFn):
    """(shard, packed rejects) -> a file."""

    def __init__(self, path: str, num_shards: int) -> None:
        self._path, self._num_shards = path, num_shards

    def process(self, element: tuple[int, Iterable[bytes]]) -> None:
        """Write a shard."""
        shard, packed = element
        write_rejects([unpack(p) for p in packed if p], self._path, shard, self._num_shards)


def _partition_rejects(packed: bytes, num_shards: int) -> Iterator[tuple[int, bytes]]:
    table = unpack(packed)
    names = zip(table["file"].to_pylist(), table["row"].to_pylist(), strict=True)
    shards = pa.array([shard_of(f"{file}:{row}", num_shards) for file, row in names], pa.int32())
    for shard in sorted(shards.unique().to_pylist()):
        yield shard, pack(table.filter(pc.equal(shards, shard)))
