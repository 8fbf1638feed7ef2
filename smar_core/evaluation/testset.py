"""What the systems are tested on: the queries of the evaluated days, their clicked items, and what training knew of them.

The evaluated days are the test days or, while settings are still being chosen, the validation days; "test queries" are the
queries of either. Seen means seen in training for both: the validation days are never trained on.

Graded judgments, where there are any, are applied to the same queries, so that both views speak about the same traffic;
judged queries that nobody asked on the test days are counted and left out.

Shapes: Q queries, N items; rows are places in the bundle's catalogue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from smar_core.artifact import Artifact
from smar_core.digest import digest_json
from smar_core.errors import UserError
from smar_core.evaluation.measures import Qrels
from smar_core.retrieval.exact import Rows
from smar_core.text import normalise_query

Split = Literal["test", "validation"]
"""Days that can be evaluated."""


@dataclass(frozen=True, eq=False)
class ClickTest:
    """The test queries, in the order of their ids, each with a relevant item.

    Attributes:
        query_ids: Q ids.
        queries: Q normalised texts.
        qrels: Items clicked on the evaluated days; the grade is the number of clicks.
        is_seen_query: [Q] bool, the query has a training click.
        num_clicks: [Q] clicks of the query on the evaluated days.
        num_train_clicks: [Q] clicks of the query in training.
        every_train_clicks: Training clicks of every training query, tested or not.
        trained_rows: For each query the items clicked in training.
        trained_clicks: For each query the clicks on them.
        trained_anywhere: Items with any click in training.
        num_excluded: Test queries left out because no clicked item is in the catalogue.
    """

    query_ids: list[str]
    queries: list[str]
    qrels: Qrels
    is_seen_query: NDArray[np.bool_]
    num_clicks: NDArray[np.int64]
    num_train_clicks: NDArray[np.int64]
    every_train_clicks: NDArray[np.int64]
    trained_rows: list[Rows]
    trained_clicks: list[Rows]
    trained_anywhere: Rows
    num_excluded: int


@dataclass(frozen=True, eq=False)
class JudgedTest:
    """Graded judgments of test queries.

    Attributes:
        places: Places of the judged queries among the test queries, ascending.
        qrels: Their grades; every query has an item of grade 1 or more.
        counts: How many judgments, queries and items were used or not, by name.
        digest: Of the judgments that were used: query ids, item ids and grades.
    """

    places: NDArray[np.int64]
    qrels: Qrels
    counts: dict[str, int]
    digest: str


def load_click_test(clicks: Artifact, item_ids: Sequence[str], split: Split) -> ClickTest:
    """Read the evaluated days of a clicks artifact.

    Args:
        clicks: Artifact of kind ``clicks``.
        item_ids: The catalogue in the order of its rows.
        split: Which days are evaluated.

    Raises:
        UserError: Those days hold no click on an item of the catalogue.
    """
    queries = clicks.read_table("queries", ["split", "query_id", "query", "num_clicks", "is_seen_query"])
    asked, trained = _of_split(queries, split).sort_by("query_id"), _of_split(queries, "train")
    judged = _of_split(clicks.read_table("qrels", ["split", "query_id", "item_id", "relevance"]), split)
    entry_rows, entry_queries = _places(judged["item_id"], item_ids), _places(judged["query_id"], asked["query_id"])
    usable = (entry_rows >= 0) & (entry_queries >= 0)
    kept = np.unique(entry_queries[usable])
    if not len(kept):
        raise UserError(
            f"the {split} days hold no click on an item of the catalogue",
            f"give a longer click log or raise prepare.{split}_share",
        )
    qrels = Qrels.build(asked.num_rows, entry_queries[usable], entry_rows[usable], judged["relevance"].to_numpy()[usable]).select(
        kept
    )
    num_asked, asked = asked.num_rows, asked.take(pa.array(kept))
    pairs = _of_split(clicks.read_table("pairs", ["split", "query_id", "item_id", "num_clicks"]), "train")
    trained_rows, trained_clicks = _group_by_query(pairs, asked["query_id"], item_ids)
    train_clicks = trained["num_clicks"].to_numpy().astype(np.int64)
    train_places = _places(asked["query_id"], trained["query_id"])
    return ClickTest(
        query_ids=asked["query_id"].to_pylist(),
        queries=asked["query"].to_pylist(),
        qrels=qrels,
        is_seen_query=asked["is_seen_query"].to_numpy(),
        num_clicks=asked["num_clicks"].to_numpy().astype(np.int64),
        num_train_clicks=np.append(train_clicks, 0)[train_places],
        every_train_clicks=train_clicks,
        trained_rows=trained_rows,
        trained_clicks=trained_clicks,
        trained_anywhere=_known(np.unique(_places(pairs["item_id"], item_ids))),
        num_excluded=num_asked - len(kept),
    )


def load_judged_test(judgments: pa.Table, test: ClickTest, item_ids: Sequence[str]) -> JudgedTest:
    """Apply graded judgments to the test queries.

    Args:
        judgments: Columns query, item_id, grade.
        test: The test queries.
        item_ids: The catalogue in the order of its rows.
    """
    encoded = judgments["query"].combine_chunks().dictionary_encode()
    normalised = [normalise_query(query) for query in encoded.dictionary.to_pylist()]
    place_of_query = {query: place for place, query in enumerate(test.queries)}
    places = np.array([place_of_query.get(query, -1) for query in normalised], dtype=np.int64)
    entry_queries = places[encoded.indices.to_numpy()] if normalised else np.empty(0, dtype=np.int64)
    entry_rows = _places(judgments["item_id"], item_ids)
    grades = judgments["grade"].to_numpy()
    usable = (entry_queries >= 0) & (entry_rows >= 0)
    everything = Qrels.build(len(test.queries), entry_queries[usable], entry_rows[usable], grades[usable])
    judged_places = np.flatnonzero(everything.num_relevant)
    unknown = judgments["item_id"].filter(pa.array(entry_rows < 0))
    asked = {query for query in normalised if query in place_of_query}
    counts = {
        "num_judgments": judgments.num_rows,
        "num_judgments_used": len(everything.query_E),
        "num_judgments_on_unknown_items": len(unknown),
        "num_unknown_items": len(unknown.unique()),
        "num_judged_queries": len(set(normalised)),
        "num_judged_queries_not_in_test": len(set(normalised)) - len(asked),
        "num_judged_queries_without_relevant": len(asked) - len(judged_places),
        "num_test_queries_without_judgment": len(test.queries) - len(asked),
    }
    return JudgedTest(judged_places, everything.select(judged_places), counts, _digest(everything, test.query_ids, item_ids))


def drop_trained(qrels: Qrels, trained_rows: Sequence[Rows]) -> Qrels:
    """Return qrels without the entries whose item is among its query's rows."""
    is_trained_E = np.zeros(len(qrels.row_E), dtype=bool)
    ends = np.cumsum(qrels.num_relevant)
    for rows, start, end in zip(trained_rows, ends - qrels.num_relevant, ends, strict=True):
        is_trained_E[start:end] = np.isin(qrels.row_E[start:end], rows)
    return qrels.drop(is_trained_E)


def _of_split(table: pa.Table, split: str) -> pa.Table:
    return table.filter(pc.equal(table["split"], split))


def _places(values: pa.ChunkedArray, known: Sequence[str] | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the place of each value among known, distinct ones; -1 where it is not there."""
    value_set = known.combine_chunks() if isinstance(known, pa.ChunkedArray) else pa.array(known, type=pa.string())
    found = pc.index_in(values.cast(pa.string()), value_set=value_set)
    return np.asarray(pc.fill_null(found, -1)).astype(np.int64)


def _digest(qrels: Qrels, query_ids: Sequence[str], item_ids: Sequence[str]) -> str:
    entries = zip(qrels.query_E.tolist(), qrels.row_E.tolist(), qrels.grade_E.tolist(), strict=True)
    return digest_json([[query_ids[query], item_ids[row], grade] for query, row, grade in entries])


def _known(places: NDArray[np.int64]) -> Rows:
    return places[places >= 0].astype(np.int32)


def _group_by_query(pairs: pa.Table, query_ids: pa.ChunkedArray, item_ids: Sequence[str]) -> tuple[list[Rows], list[Rows]]:
    """Return for each query its items and their clicks."""
    queries, rows = _places(pairs["query_id"], query_ids), _places(pairs["item_id"], item_ids)
    usable = np.flatnonzero((queries >= 0) & (rows >= 0))
    usable = usable[np.argsort(queries[usable], kind="stable")]
    ends = np.searchsorted(queries[usable], np.arange(len(query_ids)), side="right")
    clicks = pairs["num_clicks"].to_numpy()
    return (
        np.split(rows[usable].astype(np.int32), ends[:-1]),
        np.split(clicks[usable].astype(np.int32), ends[:-1]),
    )
