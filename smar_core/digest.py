"""SHA-256 digests of files, folders and JSON values: the names by which content is known everywhere."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def digest_json(value: Any) -> str:
    """Return the digest of a JSON value, whatever the order of its keys.

    >>> digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_files(files: Mapping[str, str]) -> str:
    """Return one digest for a set of files, given each one's relative path and digest."""
    return digest_json(dict(files))
