"""Any TREC run measured against any qrels, beside baselines: measures, intervals and tests of the evaluation stage, from files.

Queries are those of the qrels with a relevant item; one that a run lacks scores 0 and is counted. An item that no judgment
names takes its place in the ranking and counts as irrelevant, as everywhere.

A run is read by score, highest first. Equal scores are where evaluators part: ``rank`` takes the file's own order (its rank
column, then its lines), which is what was shown; ``trec_eval`` takes the item ids downwards, as that program does, whatever the
rank column says, and holds scores as float32, as that program does, so that more of them are equal. SMAR's own run files are
settled by rank. Ids are compared as they stand in the files: SMAR's runs and qrels escape alike, and others not at all. Left
out: grades below 0 (they count as 0), and values for another relevance threshold than 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa

from smar_core.config import EvaluateConfig
from smar_core.errors import UserError
from smar_core.evaluation.measures import Qrels, Values, measure_run
from smar_core.evaluation.runs import RunLine, read_qrels, read_run
from smar_core.evaluation.summary import summarise
from smar_core.retrieval.exact import NO_ITEM, Rows
from smar_core.schemas import PER_QUERY

Ties = Literal["rank", "trec_eval"]
Line = TypeVar("Line")

SLICE = "overall"


@dataclass(frozen=True, eq=False)
class TrecTest:
    """The queries of a qrels file that have a relevant item.

    Attributes:
        query_ids: Sorted.
        row_of_item: Number of each relevant item.
        qrels: Their grades.
        num_without_relevant: Queries of the file without a relevant item; left out.
    """

    query_ids: list[str]
    row_of_item: Mapping[str, int]
    qrels: Qrels
    num_without_relevant: int

    @classmethod
    def read(cls, path: Path) -> "TrecTest":
        """Read a qrels file. Raises UserError when it cannot be read, or holds no relevant item."""
        lines = _read(path, partial(read_qrels, is_escaped=False))
        relevant = [line for line in lines if line.grade > 0]
        if not relevant:
            raise UserError(f"{path} holds no item with a grade above 0", "give qrels with a relevant item")
        query_ids = sorted({line.query_id for line in relevant})
        row_of_item = {item_id: row for row, item_id in enumerate(sorted({line.item_id for line in relevant}))}
        place_of_query = {query_id: place for place, query_id in enumerate(query_ids)}
        qrels = Qrels.build(
            len(query_ids),
            [place_of_query[line.query_id] for line in relevant],
            [row_of_item[line.item_id] for line in relevant],
            [line.grade for line in relevant],
        )
        return cls(query_ids, row_of_item, qrels, len({line.query_id for line in lines}) - len(query_ids))


@dataclass(frozen=True, eq=False)
class TrecRun:
    """A run, laid out over the queries of a test.

    Attributes:
        rows_QK: Numbers of the relevant items by rank; ``NO_ITEM`` for any other item and where none is.
        counts: Queries that the run lacks, queries that the test lacks, and ranked items of the test's queries.
    """

    rows_QK: Rows
    counts: Mapping[str, int]

    @classmethod
    def read(cls, path: Path, test: TrecTest, depth: int, ties: Ties) -> "TrecRun":
        """Read the first ``depth`` places of a run file.

        Raises:
            UserError: It cannot be read, names an item twice for a query, or has no query of the test.
        """
        lines = _read(path, partial(read_run, is_escaped=False, has_ranks=ties == "rank"))
        ranked = order_run(lines, path, ties)
        known = [query_id for query_id in test.query_ids if query_id in ranked]
        if not known:
            raise UserError(f"{path} holds no query id of the qrels", "check that both are of the same test")
        rows_QK = np.full((len(test.query_ids), depth), NO_ITEM, dtype=np.int32)
        for place, query_id in enumerate(test.query_ids):
            rows = [test.row_of_item.get(item_id, NO_ITEM) for item_id in ranked.get(query_id, ())[:depth]]
            rows_QK[place, : len(rows)] = rows
        counts = {
            "num_missing_queries": len(test.query_ids) - len(known),
            "num_unknown_queries": len(ranked) - len(known),
            "num_ranked_items": sum(len(ranked[query_id]) for query_id in known),
        }
        return cls(rows_QK, counts)


def order_run(lines: Sequence[RunLine], path: Path, ties: Ties) -> dict[str, list[str]]:
    """Return each query's items, best first.

    Args:
        lines: Of a run file, in any order.
        path: Of the file, for errors.
        ties: What decides between equal scores.

    Raises:
        UserError: A score is no number, or an item stands twice in a query.
    """
    by_query: dict[str, list[RunLine]] = {}
    for line in lines:
        if math.isnan(line.score):
            raise UserError(
                f"{path} has the score nan for query {line.query_id}, item {line.item_id}", "give every line a number"
            )
        by_query.setdefault(line.query_id, []).append(line)
    ranked = {}
    for query_id, of_query in by_query.items():
        if ties == "trec_eval":
            of_query.sort(key=lambda line: line.item_id.encode(), reverse=True)
            with np.errstate(over="ignore"):  # beyond float32 is infinite there too
                of_query.sort(key=lambda line: -np.float32(line.score))
        else:
            of_query.sort(key=lambda line: (-line.score, line.rank))
        items = [line.item_id for line in of_query]
        if len(set(items)) < len(items):
            twice = next(item for item in items if items.count(item) > 1)
            raise UserError(f"{path} ranks item {twice} twice for query {query_id}", "keep the better one")
        ranked[query_id] = items
    return ranked


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Runs measured on one test.

    Attributes:
        scores: As ``metrics.json``: by run, slice "overall" and measure; ``differences``; and ``queries``, the counts.
        per_query: As ``schemas.PER_QUERY``, source "qrels" and no query text.
    """

    scores: Mapping[str, Any]
    per_query: pa.Table


def compare_runs(run: Path, baselines: Sequence[Path], qrels: Path, config: EvaluateConfig, ties: Ties) -> RunComparison:
    """Measure a run, and its paired difference to each baseline; Holm's correction is over the baselines, measure by measure.

    Args:
        run: TREC run file.
        baselines: Others, to compare it with.
        qrels: TREC qrels file.
        config: Cutoffs, resamples, confidence and seed.
        ties: What decides between equal scores.

    Raises:
        UserError: A file cannot be read or does not fit the others.
    """
    test = TrecTest.read(qrels)
    names = name_runs([run, *baselines])
    runs = {
        name: TrecRun.read(path, test, max(config.cutoffs), ties) for name, path in zip(names, [run, *baselines], strict=True)
    }
    values = {name: measure_run(of.rows_QK, test.qrels, config.cutoffs) for name, of in runs.items()}
    every_query = {SLICE: np.ones(len(test.query_ids), dtype=bool)}
    scores, differences = summarise(values, every_query, [(names[0], other) for other in names[1:]], config)
    queries = {
        "num_test": len(test.query_ids) + test.num_without_relevant,
        "num_excluded": test.num_without_relevant,
        "runs": {name: dict(of.counts) for name, of in runs.items()},
    }
    return RunComparison({**scores, "differences": differences, "queries": queries}, _per_query(values, test))


def name_runs(paths: Sequence[Path]) -> list[str]:
    """Return a name for each run: its file name without the ending, or the whole path where that name is taken.

    Raises:
        UserError: A path is given twice.

    >>> name_runs([Path("a/run.trec"), Path("b/run.trec"), Path("b/bm25.trec")])
    ['a/run.trec', 'b/run.trec', 'bm25']
    """
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise UserError(f"{path} is given twice", "name every run once")
    stems = [path.stem for path in paths]
    taken = {"differences", "queries", *(stem for stem in stems if stems.count(stem) > 1)}
    return [str(path) if stem in taken else stem for path, stem in zip(paths, stems, strict=True)]


def _per_query(values: Mapping[str, Mapping[str, Values]], test: TrecTest) -> pa.Table:
    num_queries = len(test.query_ids)
    blocks = []
    for name, of in values.items():
        for measure, value_Q in of.items():
            columns = [
                pa.repeat(name, num_queries),
                pa.repeat("qrels", num_queries),
                pa.array(test.query_ids),
                pa.repeat("", num_queries),
                pa.repeat(measure, num_queries),
                pa.array(value_Q),
            ]
            blocks.append(pa.Table.from_arrays(columns, schema=PER_QUERY))
    return pa.concat_tables(blocks)


def _read(path: Path, reader: Callable[[Path], list[Line]]) -> list[Line]:
    try:
        return reader(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "name a file that is there") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no UTF-8 text", "give an uncompressed TREC file") from None
