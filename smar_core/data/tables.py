"""Writing tables so that equal rows give equal bytes: fixed shard names, fixed Parquet options, one chunk a column."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smar_core.artifact import table_files
from smar_core.data.filesystems import create_file


def shard_name(table: str, shard: int, num_shards: int, suffix: str = ".parquet") -> str:
    """Return the name of a shard's file.

    >>> shard_name("items", 3, 8)
    'items-00003-of-00008.parquet'
    """
    return f"{table}-{shard:05d}-of-{num_shards:05d}{suffix}"


def write_parquet(table: pa.Table, schema: pa.Schema, path: str) -> None:
    """Write a table, whose rows are already in their order, as Parquet of a schema, to a path or URI."""
    rows = table.select(schema.names).cast(schema).combine_chunks()
    with create_file(path) as handle:
        pq.write_table(rows, handle, compression="zstd", row_group_size=65_536)


def write_ipc(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: str) -> None:
    """Write record batches as one uncompressed Arrow IPC file, which readers map into memory, to a path or URI."""
    with create_file(path) as handle, pa.ipc.new_file(handle, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_shards(path: Path, name: str) -> pa.Table:
    """Read a Parquet table back from a folder that is no artifact yet."""
    return pa.concat_tables([pq.read_table(shard) for shard in table_files(path, name)])
