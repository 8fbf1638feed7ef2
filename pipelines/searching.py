"""``smar search``: a bundle asked from the command line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from smar_core.errors import UserError
from smar_core.retrieval.bundle import Bundle, Hit
from smar_core.retrieval.search import read_queries, search_file
from smar_core.text import normalise_query

Mode = Literal["routed", "text", "multimodal"]


def search_one(bundle: Path, query: str, top_k: int, mode: Mode) -> None:
    """Print the hits of one query: a table on a terminal, else tab-separated rank, score, item id, title, brand, category.

    A blank query is a warning and no rows.
    """
    opened = Bundle.open(bundle)
    if not normalise_query(query):
        _warn("the query is blank")
        return
    (hits,) = opened.search([query], top_k, mode)
    console = Console()
    if console.is_terminal:
        console.print(_table(hits))
        return
    for hit in hits:
        print(hit.rank, f"{hit.score:.4f}", hit.item_id, hit.title, hit.brand, hit.category, sep="\t")


def search_queries(bundle: Path, queries: Path, out: Path, top_k: int, mode: Mode) -> None:
    """Write the run of a file of queries; each blank one is a warning and has no rows.

    Raises:
        UserError: The bundle or the file cannot be read, or the run cannot be written.
    """
    asked = read_queries(queries)
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise UserError(f"{out} is no file that can be written", "name a file in a folder that is there")
    opened = Bundle.open(bundle)
    try:
        with _written_whole(out) as partial:
            blank = search_file(opened, asked, partial, top_k, mode)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror})", "free some space or name another file") from None
    for query_id in blank:
        _warn(f"query {query_id} is blank")


@contextmanager
def _written_whole(out: Path) -> Iterator[Path]:
    """Give a name to write to, which replaces ``out`` when the block ends well; what is no plain file is written itself."""
    if out.exists() and not out.is_file():
        yield out
        return
    place = out.resolve()
    partial = place.with_name(f".{place.name}.partial")
    try:
        yield partial
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _warn(what: str) -> None:
    print(f"smar: warning: {what}, no rows", file=sys.stderr)


def _table(hits: list[Hit]) -> Table:
    table = Table("rank", "score", "item", "title", "brand", "category", box=None, header_style="bold")
    for hit in hits:
        table.add_row(str(hit.rank), f"{hit.score:.4f}", hit.item_id, hit.title, hit.brand, hit.category)
    return table
