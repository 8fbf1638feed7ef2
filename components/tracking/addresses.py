"""Tracking stores: where the default one is, and whether one can be used."""

import os
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

from components.surroundings import TRACKING_URI
from smar_core.errors import UserError

_TIMEOUT_SECONDS = 5


def default_uri(folder: Path) -> str:
    """Return the tracking URI of a store in a folder: a SQLite file, since MLflow 3 refuses the plain file store."""
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def check_uri(uri: str) -> None:
    """Fail now, not after an hour of training, when the tracking store cannot be used.

    Args:
        uri: Without credentials.

    Raises:
        UserError: The server does not answer, or the file is none of SQLite's, or the URI is of no kind that works.
    """
    scheme, _, rest = uri.partition("://")
    if scheme in {"http", "https"}:
        _check_server(uri)
    elif scheme == "sqlite":
        _check_sqlite(uri, Path(rest.removeprefix("/")))
    elif scheme in {"", "file"} or not rest:
        raise UserError(
            f"tracking URI {uri!r} is a plain folder, which MLflow 3 refuses", "use sqlite:///mlflow.db or a server's URL"
        )


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_SECONDS):
            return
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"the MLflow server {uri} does not answer ({reason})", f"start it, or unset {TRACKING_URI} for a local store"
        ) from None


def _check_sqlite(uri: str, path: Path) -> None:
    if not path.exists() and os.access(path.parent, os.W_OK):
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_TIMEOUT_SECONDS)) as database:
            database.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error as error:
        raise UserError(
            f"the tracking store {uri} cannot be opened ({error})", "name a SQLite file in a folder that you may write"
        ) from None
