"""Artifact directories: complete, checked and known by the digest of their content.

A directory is an artifact once its ``manifest.json`` is there, written last and atomically. The manifest holds nothing that
differs between two equal runs, and a digest of itself; times, host and ids go to ``provenance.json`` beside it, which no digest
covers. Verifying reads every byte (about 1 GB/s here), a price paid once an artifact and stage for never training on half a
file.
"""

import json
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smar_core import __version__
from smar_core.digest import digest_file, digest_files, digest_json
from smar_core.errors import ArtifactError
from smar_core.schemas import KINDS, SCHEMA_VERSION, SchemaOfSize

MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Artifact:
    """A complete artifact directory.

    Attributes:
        path: The directory.
        kind: A key of ``smar_core.schemas.KINDS``.
        digest: Digest of its content (kind, schema version and every file).
        config_digest: Digest of the config that made it.
        parents: Digests of the artifacts and inputs it was made from, by name.
        counts: Rows of each table.
    """

    path: Path
    kind: str
    digest: str
    config_digest: str
    parents: Mapping[str, str]
    counts: Mapping[str, int]

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read all shards of a table, in shard order; IPC tables are mapped into memory, not copied."""
        shards = table_files(self.path, name)
        if not shards:
            raise ArtifactError(f"{self.path} holds no table {name!r}")
        if shards[0].suffix == ".arrow":
            tables = [pa.ipc.open_file(pa.memory_map(str(shard))).read_all() for shard in shards]
            tables = [t.select(columns) for t in tables] if columns else tables
        else:
            tables = [pq.read_table(shard, columns=columns) for shard in shards]
        return pa.concat_tables(tables)

    def read_json(self, name: str) -> Any:
        """Read one of the JSON files."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))


@contextmanager
def create_artifact(
    path: Path, kind: str, *, config_digest: str, parents: Mapping[str, str], provenance: Mapping[str, Any] | None = None
) -> Iterator[Path]:
    """Fill a directory in the block; when the block ends without an error, check it and write its manifest.

    What stood there before is removed first. If the block raises, the directory is removed: no half an artifact stays.

    Args:
        path: The directory to make.
        kind: A key of ``KINDS``.
        config_digest: Digest of the config sections that shaped the content.
        parents: Digest of each artifact or input file it is made from, by name.
        provenance: What may differ between equal runs (ids, seconds); host and time are added.

    Raises:
        ArtifactError: The content does not fit the kind's schema.
    """
    if path.is_dir():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    started = time.time()
    try:
        yield path
        counts = _check_content(path, kind)
        files = {str(f.relative_to(path).as_posix()): digest_file(f) for f in _content_files(path)}
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    content = {"kind": kind, "schema_version": SCHEMA_VERSION, "counts": counts, "files": files}
    manifest = content | {
        "content_digest": digest_files(files | {"": f"{kind}/{SCHEMA_VERSION}"}),
        "config_digest": config_digest,
        "parents": dict(parents),
    }
    manifest["manifest_digest"] = digest_json(manifest)
    notes = {
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.time() - started, 3),
        "host": platform.node(),
        "python": platform.python_version(),
        "smar": __version__,
    }
    write_json(path / PROVENANCE, notes | dict(provenance or {}))
    write_json(path / MANIFEST, manifest)


def open_artifact(path: Path, kind: str, *, verify: bool = True) -> Artifact:
    """Open an artifact after checking that it is complete, unaltered and of the kind asked for.

    Args:
        path: The directory.
        kind: The kind that the caller needs.
        verify: Also read every file and compare its digest, and check the tables against their schemas.

    Raises:
        ArtifactError: It is none, of another kind or schema version, or its manifest or content changed; the message says which.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise ArtifactError(f"{path} is not a complete artifact: it has no {MANIFEST}")
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        manifest_digest = manifest.pop("manifest_digest")
        found, version, files = manifest["kind"], manifest["schema_version"], manifest["files"]
        artifact = Artifact(
            path, found, manifest["content_digest"], manifest["config_digest"], manifest["parents"], manifest["counts"]
        )
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{manifest_path} is not a manifest ({type(error).__name__}: {error})") from None
    if found != kind:
        raise ArtifactError(f"{path} is an artifact of kind {found!r}, not {kind!r}")
    if version != SCHEMA_VERSION:
        raise ArtifactError(f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}: run its stage again")
    if manifest_digest != digest_json(manifest):
        raise ArtifactError(f"{manifest_path} was altered: its digest does not fit what it says")
    if artifact.digest != digest_files(files | {"": f"{kind}/{version}"}):
        raise ArtifactError(f"{manifest_path} was altered: its content digest does not fit its files")
    present = {str(f.relative_to(path).as_posix()) for f in _content_files(path)}
    if present != set(files):
        odd = sorted(present ^ set(files))[0]
        raise ArtifactError(f"{path} was altered: {odd} is {'missing' if odd in files else 'not in the manifest'}")
    if verify:
        for name, digest in files.items():
            if digest_file(path / name) != digest:
                raise ArtifactError(f"{path} was altered: the content of {name} changed")
        _check_content(path, kind)
    return artifact


def table_files(path: Path, name: str) -> list[Path]:
    """Return a table's files, in shard order."""
    return sorted(f for f in path.iterdir() if f.suffix in {".parquet", ".arrow"} and f.stem.partition("-")[0] == name)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys sorted, one a line, so that equal values give equal bytes."""
    temporary = path.with_name(path.name + ".tmp")
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def _content_files(path: Path) -> list[Path]:
    return sorted(f for f in path.rglob("*") if f.is_file() and f.relative_to(path).as_posix() not in {MANIFEST, PROVENANCE})


def _check_content(path: Path, kind: str) -> dict[str, int]:
    """Check a directory against its kind and return the rows of each table."""
    expected = KINDS[kind]
    for name in expected.files:
        if not (path / name).is_file():
            raise ArtifactError(f"an artifact of kind {kind!r} needs {name}, which was not written to {path}")
    counts = {}
    for name, schema in expected.tables.items():
        shards = table_files(path, name)
        if not shards:
            raise ArtifactError(f"an artifact of kind {kind!r} needs the table {name!r}, which was not written to {path}")
        counts[name] = sum(_check_table(shard, schema) for shard in shards)
    return counts


def _check_table(path: Path, expected: pa.Schema | SchemaOfSize) -> int:
    """Check one file against its schema and return its rows."""
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            found, num_rows = reader.schema, sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
    else:
        meta = pq.read_metadata(path)
        found, num_rows = meta.schema.to_arrow_schema(), meta.num_rows
    try:
        schema = expected if isinstance(expected, pa.Schema) else expected(found)
    except (KeyError, AttributeError, ValueError) as error:
        raise ArtifactError(f"{path.name} has the schema [{_describe(found)}], which names no size ({error})") from None
    if not found.equals(schema):
        raise ArtifactError(f"{path.name} has the schema [{_describe(found)}], not [{_describe(schema)}]")
    return num_rows


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{f.name} {f.type}{'?' if f.nullable else ''}" for f in schema)
