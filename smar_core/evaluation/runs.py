"""TREC run and qrels files: what trec_eval, pytrec_eval, ir_measures and ranx read.

A run line is ``query_id Q0 item_id rank score tag``, a qrels line ``query_id 0 item_id grade``; single spaces, rank from 1,
scores with 9 significant digits, which is enough to get every float32 back. White space inside an item id would break the
format after hours of training, so it is escaped as in URLs (``%20``), and so is a ``%`` that would read as an escape; every
other id stands as it is. Other programs escape nothing, so ids of their files are read as they stand. Left out: compressed files.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from smar_core.errors import UserError
from smar_core.evaluation.measures import Qrels
from smar_core.retrieval.exact import NO_ITEM, Ranking

_NEEDS_ESCAPE = re.compile(r"\s|%(?=[0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True)
class RunLine:
    """An item in a run; where its rank was not read, ``rank`` is the number of its line."""

    query_id: str
    item_id: str
    rank: int
    score: float
    tag: str

    def __str__(self) -> str:
        return f"{self.query_id} Q0 {escape_id(self.item_id)} {self.rank} {self.score:.9g} {self.tag}"


@dataclass(frozen=True)
class QrelsLine:
    """A judged item."""

    query_id: str
    item_id: str
    grade: int

    def __str__(self) -> str:
        return f"{self.query_id} 0 {escape_id(self.item_id)} {self.grade}"


def escape_id(item_id: str) -> str:
    """Return an id without white space.

    >>> escape_id("blue shirt"), escape_id("50%off"), escape_id("a%20b")
    ('blue%20shirt', '50%off', 'a%2520b')
    """
    return _NEEDS_ESCAPE.sub(lambda found: quote(found.group(), safe=""), item_id)


def unescape_id(escaped: str) -> str:
    """Undo ``escape_id``.

    >>> unescape_id("blue%20shirt"), unescape_id("50%off"), unescape_id("a%2520b")
    ('blue shirt', '50%off', 'a%20b')
    """
    return _ESCAPE.sub(lambda found: unquote(found.group()), escaped)


def ranking_lines(query_ids: Sequence[str], item_ids: Sequence[str], ranking: Ranking, tag: str) -> Iterator[RunLine]:
    """Return the lines of a ranking over catalogue rows, query by query."""
    for query_id, rows, scores in zip(query_ids, ranking.rows_QK.tolist(), ranking.scores_QK.tolist(), strict=True):
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1):
            if row != NO_ITEM:
                yield RunLine(query_id, item_ids[row], rank, score, tag)


def qrels_lines(query_ids: Sequence[str], item_ids: Sequence[str], qrels: Qrels) -> Iterator[QrelsLine]:
    """Return the lines of qrels over catalogue rows, query by query."""
    for query, row, grade in zip(qrels.query_E.tolist(), qrels.row_E.tolist(), qrels.grade_E.tolist(), strict=True):
        yield QrelsLine(query_ids[query], item_ids[row], int(grade))


def write_lines(path: Path, lines: Iterator[RunLine] | Iterator[QrelsLine]) -> int:
    """Write a run or qrels file and return its number of lines."""
    num_lines = 0
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for line in lines:
            out.write(f"{line}\n")
            num_lines += 1
    return num_lines


def read_run(path: Path, *, is_escaped: bool = True, has_ranks: bool = True) -> list[RunLine]:
    """Read a run file.

    Args:
        path: The file.
        is_escaped: Whether its ids are escaped, as SMAR's own are.
        has_ranks: Whether its rank column is read; trec_eval takes any word there.

    Raises:
        UserError: A line is none of a run; the message names it.
    """
    lines = []
    for number, fields in _read_fields(path, 6):
        query_id, _, item_id, rank, score, tag = fields
        try:
            known_id, known_rank = _read_id(item_id, is_escaped), int(rank) if has_ranks else number
            lines.append(RunLine(query_id, known_id, known_rank, float(score), tag))
        except ValueError:
            raise _bad_line(path, number, "rank or score is no number" if has_ranks else "the score is no number") from None
    return lines


def read_qrels(path: Path, *, is_escaped: bool = True) -> list[QrelsLine]:
    """Read a qrels file.

    Args:
        path: The file.
        is_escaped: Whether its ids are escaped, as SMAR's own are.

    Raises:
        UserError: A line is none of qrels; the message names it.
    """
    lines = []
    for number, (query_id, _, item_id, grade) in _read_fields(path, 4):
        try:
            lines.append(QrelsLine(query_id, _read_id(item_id, is_escaped), int(grade)))
        except ValueError:
            raise _bad_line(path, number, f"the grade {grade!r} is no whole number") from None
    return lines


def _read_id(item_id: str, is_escaped: bool) -> str:
    return unescape_id(item_id) if is_escaped else item_id


def _read_fields(path: Path, num_fields: int) -> Iterator[tuple[int, list[str]]]:
    """Return number and fields of each line that is not blank; a mark of the byte order before the first is none of its own."""
    with path.open(encoding="utf-8-sig", newline="\n") as source:
        for number, line in enumerate(source, 1):
            fields = line.split()
            if not fields:
                continue
            if len(fields) != num_fields:
                raise _bad_line(path, number, f"{len(fields)} fields instead of {num_fields}")
            yield number, fields


def _bad_line(path: Path, number: int, problem: str) -> UserError:
    return UserError(f"{path} line {number}: {problem}", "write TREC's format, single spaces between fields")
