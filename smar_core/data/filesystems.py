"""Files by path or by URI: on a local disk, or where Arrow reaches them (``s3://``, ``gs://``, ``abfs://``, ``hdfs://``).

Arrow's file systems and not Beam's: they come with pyarrow, they take endpoint, region and credentials from the environment
in workers just as here (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, a pod's own identity, ...), and they keep their
connections. Beam builds a client for each object: against a local S3 server 0.82 s to read a picture, and Arrow 0.024 s.
What follows ``scheme://bucket/`` is a key as it stands: "%20" in it is no blank. ``hdfs://`` needs Hadoop's own libraries.
"""

import contextlib
import functools
import hashlib
import io
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from smar_core.digest import digest_file
from smar_core.errors import UserError

FILE_ERRORS = (OSError, pa.ArrowException)
"""What opening and reading raises."""

_BUFFER_BYTES = 1 << 20
_CHECKSUMS = ("md5Hash", "ETag", "etag")


def is_uri(path: str) -> bool:
    """Return whether a path is a URI.

    >>> is_uri("s3://shop/items.csv"), is_uri("/shop/items.csv")
    (True, False)
    """
    return "://" in path


def without_file_scheme(path: str) -> str:
    """Return the plain path of a ``file://`` URI; anything else as it is.

    >>> without_file_scheme("file:///shop/my%20items.csv"), without_file_scheme("gs://shop/items.csv")
    ('/shop/my items.csv', 'gs://shop/items.csv')
    >>> without_file_scheme("file://localhost/shop/items.csv")
    '/shop/items.csv'
    """
    if not path.startswith("file://"):
        return path
    place = path.removeprefix("file://")
    return unquote(place.removeprefix("localhost") if place.startswith("localhost/") else place)


def list_files(path: str) -> dict[str, str]:
    """Return every file at a path, hidden ones left out: its path or URI by its name, sorted by name.

    Args:
        path: A file or a folder, local or a URI. For a file, its name is its last part; for files of a folder, the path below it.

    Raises:
        UserError: There is nothing, no such file system, or no right to list it.
    """
    path = without_file_scheme(path)
    if not is_uri(path):
        return _list_local(Path(path), path)
    try:
        found = _list_remote(path)
    except FILE_ERRORS as error:
        raise UserError(
            f"{path} cannot be listed ({first_line(error)})", "check the path, the endpoint, and the rights to read it"
        ) from None
    if not found:
        raise UserError(f"{path} does not exist", "correct the path")
    return {name: found[name] for name in sorted(found) if not _is_hidden(name)}


def check_no_password(uri: str) -> None:
    """Refuse a URI with a password in it, which would stand in parameters, records and logs; the message does not repeat it.

    A user alone is none: ``abfs://container@account`` names a place so. Without "@" before the first "/", what follows ":" is a
    port or, where it is no number, a password with a "/" of its own.

    Raises:
        UserError: There is one.

    >>> check_no_password("abfs://shop@account.dfs.example/items"), check_no_password("hdfs://host:8020/items@2")
    (None, None)
    """
    authority, _, _ = uri.partition("://")[2].partition("/")
    user, at, _ = authority.rpartition("@")
    _, _, port = authority.rpartition("]")[2].partition(":")
    if ":" in user or (not at and port and not port.isdecimal()):
        raise UserError("a URI of the input has a password in it", "take it out, and give it as an environment variable")


@contextlib.contextmanager
def open_stored(path: str) -> Iterator[BinaryIO]:
    """Open a path or URI for reading, its bytes as they are stored; raises ``FILE_ERRORS``."""
    path = without_file_scheme(path)
    if not is_uri(path):
        with Path(path).open("rb") as handle:
            yield handle
        return
    system, key = _locate(path)
    with io.BufferedReader(system.open_input_file(key), _BUFFER_BYTES) as handle:
        yield handle


@contextlib.contextmanager
def create_file(path: str) -> Iterator[BinaryIO]:
    """Open a path or URI for writing; it is there, whole, once the block has ended.

    Two writers of one path, as when a worker is given up too early, leave the bytes of one of them. A block that raises leaves
    nothing at a path, and at a URI what it had written: whoever reads that has to know of the failure.
    """
    if is_uri(path):
        system, key = _locate(path)
        with system.open_output_stream(key) as handle:
            yield handle
        return
    temporary = Path(path).with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as handle:
            yield handle
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def exists(path: str) -> bool:
    """Return whether there is a file or a folder at a path or URI."""
    if not is_uri(path):
        return Path(path).exists()
    system, key = _locate(path)
    return bool(system.get_file_info(key).type != fs.FileType.NotFound)


def make_folder(path: str) -> None:
    """Make a local folder, with those above it; that of a URI comes with its first file."""
    if not is_uri(path):
        Path(path).mkdir(parents=True, exist_ok=True)


def delete_folder(path: str) -> None:
    """Delete a folder, by path or URI, with all that is in it."""
    if not is_uri(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    system, key = _locate(path)
    # On gs:// a folder is no object unless somebody made one: Arrow misses it once the files are gone.
    with contextlib.suppress(FileNotFoundError):
        system.delete_dir(key)


def digest_stored(path: str) -> str:
    """Return a digest of a file's content; raises ``FILE_ERRORS``.

    A local file is read. Of any other, the checksum that its store keeps is taken (S3's entity tag), without reading the file;
    where the store keeps none, it is read too. One content therefore has one digest on a disk and another in a bucket, and in
    a bucket another one after an upload in other parts: a stage then runs once more than it had to.
    """
    if not is_uri(path):
        return digest_file(Path(path))
    system, key = _locate(path)
    with system.open_input_stream(key) as stream:
        known: dict[str, Any] = stream.metadata() or {}
        for name in _CHECKSUMS:
            if name in known:
                return hashlib.sha256(known[name]).hexdigest()
        digest = hashlib.sha256()
        while block := stream.read(_BUFFER_BYTES):
            digest.update(block)
        return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened; its kind if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@functools.lru_cache
def _connect(root: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of ``scheme://authority``, and the key of its root."""
    system, base = fs.FileSystem.from_uri(root)
    return system, base.rstrip("/")


def _locate(path: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a URI and the key within it."""
    scheme, _, rest = path.partition("://")
    authority, _, key = rest.partition("/")
    check_no_password(path)
    system, base = _connect(f"{scheme}://{authority}")
    return system, f"{base}/{key}".rstrip("/")


def _list_remote(path: str) -> dict[str, str]:
    system, key = _locate(path)
    info = system.get_file_info(key)
    if info.type == fs.FileType.File:
        return {PurePosixPath(path).name: path}
    if info.type == fs.FileType.NotFound:
        return {}
    root = path.rstrip("/")
    inside = system.get_file_info(fs.FileSelector(key, recursive=True))
    names = [found.path[len(key) + 1 :] for found in inside if found.type == fs.FileType.File]
    return {name: f"{root}/{name}" for name in names}


def _list_local(root: Path, path: str) -> dict[str, str]:
    if root.is_file():
        return {root.name: str(root)}
    if not root.is_dir():
        raise UserError(f"{path} does not exist", "correct the path")
    names = sorted(f.relative_to(root).as_posix() for f in _walk(root) if f.is_file())
    return {name: str(root / name) for name in names if not _is_hidden(name)}


def _walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield every file below a folder, also behind links to folders, unless one leads back to a folder that it lies in."""
    inside = above | {folder.resolve()}
    for path in folder.iterdir():
        if not path.is_dir():
            yield path
        elif path.resolve() not in inside:
            yield from _walk(path, inside)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
