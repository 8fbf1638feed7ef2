"""Searching for a file of queries: ``query_id<TAB>query`` a line in, a TREC run out."""

from collections.abc import Iterator
from pathlib import Path

from smar_core.errors import UserError
from smar_core.evaluation.runs import RunLine, write_lines
from smar_core.retrieval.bundle import Bundle, Mode
from smar_core.text import normalise_query

CHUNK = 1024
"""Queries searched at a time, so that a long file needs no more memory than a short one."""


def read_queries(path: Path) -> list[tuple[str, str]]:
    """Read (query_id, query) from a file of ``query_id<TAB>query`` lines; empty lines are skipped.

    Raises:
        UserError: The file cannot be read, or a line has no tab, a blank or repeated id, or white space in its id.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})", "name a text file in UTF-8") from None
    queries: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip("\r"):
            continue
        query_id, tab, query = line.partition("\t")
        if not tab:
            raise UserError(f"{path} line {number} has no tab", "write query_id<TAB>query")
        if not query_id or query_id.split() != [query_id]:
            raise UserError(
                f"{path} line {number}: the query id {query_id!r} is blank or holds white space", "give it another id"
            )
        if query_id in queries:
            raise UserError(f"{path} line {number}: the query id {query_id!r} was used before", "give each query its own id")
        queries[query_id] = query
    return list(queries.items())


def search_file(bundle: Bundle, queries: list[tuple[str, str]], output: Path, top_k: int, mode: Mode = "routed") -> list[str]:
    """Write the run of many queries.

    Args:
        bundle: Where to search.
        queries: What ``read_queries`` returned.
        output: The run file; its folder exists.
        top_k: Most items a query.
        mode: See ``Bundle.search``; also the run's tag, behind ``smar-``.

    Returns:
        The ids of blank queries, which have no rows.
    """
    write_lines(output, _lines(bundle, queries, top_k, mode))
    return [query_id for query_id, query in queries if not normalise_query(query)]


def _lines(bundle: Bundle, queries: list[tuple[str, str]], top_k: int, mode: Mode) -> Iterator[RunLine]:
    for start in range(0, len(queries), CHUNK):
        chunk = queries[start : start + CHUNK]
        for (query_id, _), hits in zip(chunk, bundle.search([query for _, query in chunk], top_k, mode), strict=True):
            for hit in hits:
                yield RunLine(query_id, hit.item_id, hit.rank, hit.score, f"smar-{mode}")
