"""The files that a stage and the workers of its Beam pipeline hand each other.

The embedded runner's workers see the stage's own disk: they read and write the artifacts' folders themselves. Workers of
another runner see none of it, and everything goes through a folder of its own below ``beam.shared_folder``: the stage puts
there what they read, they write tables and notes there, the stage fetches the tables and deletes the folder. That copies each
table once, which is little beside computing it. A stage that is killed leaves its folder behind: ``smar-`` and a number.
"""

import contextlib
import json
import logging
import platform
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smar_core.config import BeamConfig
from smar_core.data.filesystems import (
    FILE_ERRORS,
    create_file,
    delete_folder,
    exists,
    first_line,
    list_files,
    make_folder,
    open_stored,
    without_file_scheme,
)
from smar_core.errors import UserError

NOT_SHARED = "beam.shared_folder is not the stage's"
"""Part of the message with which a worker fails that does not see what the stage put there."""

_TOKEN = "token.json"
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\..+")
_REMEDY = "name a URI, or a path on a volume that the stage and all workers mount there"


class Exchange:
    """What a stage and its workers hand each other.

    Attributes:
        notes: Folder of small files that workers write beside the tables, a path or a URI.
    """

    def __init__(self, notes: str, root: str | None) -> None:
        self.notes = notes
        self._root = root
        self._outputs: dict[str, Path] = {}

    def lend(self, path: Path) -> str:
        """Return where workers find a file of the stage, for them to read."""
        if self._root is None:
            return str(path)
        make_folder(f"{self._root}/inputs")
        place = f"{self._root}/inputs/{path.name}"
        with path.open("rb") as source, create_file(place) as sink:
            shutil.copyfileobj(source, sink)
        return place

    def output(self, folder: Path) -> str:
        """Return where workers write the shards that are to lie in a folder of the stage; ``fetch`` brings them there."""
        if self._root is None:
            return str(folder)
        place = f"{self._root}/outputs-{len(self._outputs)}"
        make_folder(place)
        self._outputs[place] = folder
        return place

    def fetch(self) -> None:
        """Bring every table to the folder that it is meant for.

        Raises:
            UserError: A shard is missing there.
        """
        for place, folder in self._outputs.items():
            files = list_files(place) if exists(place) else {}
            if not files:
                raise UserError("no shard came to beam.shared_folder", _REMEDY)
            found = Counter(match.groups() for name in files if (match := _SHARD.fullmatch(name)))
            for (table, total), count in found.items():
                if count < int(total):
                    raise UserError(f"only {count} of {int(total)} shards of {table} came to beam.shared_folder", _REMEDY)
            for name, path in files.items():
                with open_stored(path) as source, (folder / name).open("wb") as sink:
                    shutil.copyfileobj(source, sink)


@contextlib.contextmanager
def open_exchange(runner: BeamConfig, scratch: Path) -> Iterator[Exchange]:
    """Give a stage and its workers what they hand files over by, and clear it away when the block ends.

    Args:
        runner: Says whether workers see the stage's disk, and if not, which folder they share with it.
        scratch: Folder of the stage for notes, if they see its disk.

    Raises:
        UserError: The shared folder cannot be written.
    """
    if runner.shared_folder is None:
        exchange = Exchange(str(scratch), None)
        write_note(f"{exchange.notes}/{_TOKEN}", {})
        yield exchange
        return
    root = f"{without_file_scheme(runner.shared_folder).rstrip('/')}/smar-{uuid.uuid4().hex}"
    exchange = Exchange(f"{root}/notes", root)
    try:
        make_folder(exchange.notes)
        write_note(f"{exchange.notes}/{_TOKEN}", {})
    except FILE_ERRORS as error:
        raise UserError(f"beam.shared_folder {runner.shared_folder} cannot be written ({first_line(error)})", _REMEDY) from None
    try:
        yield exchange
    finally:
        try:
            delete_folder(root)
        except FILE_ERRORS as error:
            logging.getLogger(__name__).warning("%s could not be deleted (%s)", root, first_line(error))


def check_shared(notes: str) -> None:
    """Check, in a worker, that it sees what the stage put into the shared folder, before it works for nothing.

    Raises:
        RuntimeError: It does not; ``run_pipeline`` knows it by its message.
    """
    try:
        why = "" if exists(f"{notes}/{_TOKEN}") else "it is not there"
    except FILE_ERRORS as error:
        why = first_line(error)
    if why:
        raise RuntimeError(f"{NOT_SHARED} on worker {platform.node()}: {why}")


def not_shared(runner: BeamConfig) -> UserError:
    """Return what is wrong when a worker has failed with ``NOT_SHARED``."""
    return UserError(f"a worker does not see what this stage wrote to beam.shared_folder {runner.shared_folder}", _REMEDY)


def write_note(place: str, value: Any) -> None:
    """Write a small JSON value to a path or URI."""
    with create_file(place) as handle:
        handle.write(json.dumps(value, sort_keys=True).encode())


def read_note(place: str) -> Any:
    """Read what ``write_note`` wrote."""
    with open_stored(place) as handle:
        return json.loads(handle.read())
