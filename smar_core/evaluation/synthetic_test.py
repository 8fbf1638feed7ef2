"""Held-out synthetic queries: substrings of items that no model was trained on, as a test beside the true queries.

They tell how well a model does on what pre-training was made of, so that a gap to the true queries is the price of their being
different. Drawn as ``smar_core.data.substrings`` draws, one an item, from items chosen at random; a query is held out when it is
neither among the training synthetic queries nor a true query of any day. Relevant is every item whose text holds all its words,
which is the rule by which training takes items for no negatives (``smar_core.training.negatives``); a query that fits more
than ``MAX_RELEVANT`` items is drawn again. The words of every relevant item are those of the query, so these are queries that
text can answer: no test of what pictures bring. At a high ratio training saw most short substrings, so the held-out ones are
longer than those; they are not a sample of them. Left out: drawing by the lengths and fields of true queries.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smar_core.artifact import Artifact
from smar_core.config import EvaluateConfig, SyntheticConfig
from smar_core.data.substrings import ITEM_WORDS, ItemWords, WordIndex, draw_substrings
from smar_core.evaluation.measures import Qrels, measure_run
from smar_core.evaluation.systems import EncodedTest, rank_systems
from smar_core.evaluation.testset import ClickTest
from smar_core.evaluation.views import Measured
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import Rows
from smar_core.text import query_id

MAX_RELEVANT = 50
"""As many as R@50 can find."""

ITEMS_A_QUERY = 4
"""Items that are drawn from for each query wanted, since some have nothing left that training did not see."""

DRAWS = range(10**6, 10**6 + 20)
"""Numbers of an item's draws, far from those of training."""

MAX_REDRAWS = 8
NO_ROWS: Rows = np.empty(0, dtype=np.int32)


def draw_synthetic_test(items: Artifact, clicks: Artifact, synthetic: Artifact, config: EvaluateConfig) -> ClickTest:
    """Draw ``config.num_synthetic_queries`` queries, or as many as there are.

    Args:
        items: The catalogue.
        clicks: Its queries of all days are left out.
        synthetic: The synthetic queries of training; theirs are left out, and no query is longer than their longest.
        config: How many, and the seed.

    Returns:
        Queries that nobody asked, in the order of their ids: no clicks, unseen, grade 1 for every relevant item.
    """
    table = items.read_table("items", ["item_id", "title", "brand", "category"]).sort_by("item_id")
    catalogue = [ItemWords.of(**row) for row in table.to_pylist()]
    index = WordIndex([pa.Table.from_pylist([vars(item) for item in catalogue], ITEM_WORDS)])
    trained = synthetic.read_table("synthetic", ["query", "num_words"])
    longest = pc.max(trained["num_words"]).as_py() or SyntheticConfig().max_words
    num_items = ITEMS_A_QUERY * config.num_synthetic_queries
    chosen = np.random.default_rng([config.seed, 2]).permutation(len(catalogue))[:num_items].tolist()
    drawn = [_draw(catalogue[row], index, longest, config.seed) for row in chosen]
    known = _known(drawn, [trained["query"], clicks.read_table("queries", ["query"])["query"]])
    queries: dict[str, None] = {}
    for candidates in drawn:
        if len(queries) < config.num_synthetic_queries:
            queries |= dict.fromkeys([query for query in candidates if query not in known and query not in queries][:1])
    return _as_test(sorted(queries, key=query_id), index)


def split_encoded(encoded: EncodedTest, num_first: int) -> tuple[EncodedTest, EncodedTest]:
    """Return the parts of the first queries and of the others, which were encoded together to encode the catalogue once."""
    first, others = (
        replace(
            encoded,
            query_QD=encoded.query_QD[part],
            pretrained_query_QD=encoded.pretrained_query_QD[part],
            probabilities=encoded.probabilities[part],
            route=encoded.route[part],
        )
        for part in (slice(None, num_first), slice(num_first, None))
    )
    return first, others


def measure_synthetic(bundle: Bundle, encoded: EncodedTest, test: ClickTest, config: EvaluateConfig) -> list[Measured]:
    """Rank and measure held-out synthetic queries; places are among these. No view where there is no query."""
    if not test.queries:
        return []
    rankings = rank_systems(bundle, encoded, test, max(config.cutoffs))
    return [
        Measured(
            source="synthetic",
            places=np.arange(len(test.queries)),
            slices={"synthetic": np.ones(len(test.queries), dtype=bool)},
            values={system: measure_run(ranking.rows_QK, test.qrels, config.cutoffs) for system, ranking in rankings.items()},
        )
    ]


def _draw(item: ItemWords, index: WordIndex, longest: int, seed: int) -> list[str]:
    found = draw_substrings(item, DRAWS, index, seed=seed, max_words=longest, max_items=MAX_RELEVANT, max_redraws=MAX_REDRAWS)
    return [substring.query for substring in found if substring is not None]


def _known(drawn: list[list[str]], columns: list[pa.ChunkedArray]) -> set[str]:
    """Return which of the drawn queries stand in a column; the columns may be far longer than what was drawn."""
    candidates = pa.array(sorted({query for of_item in drawn for query in of_item}), pa.string())
    return {query for column in columns for query in column.filter(pc.is_in(column, value_set=candidates)).to_pylist()}


def _as_test(queries: list[str], index: WordIndex) -> ClickTest:
    relevant = [_items_with_all(query, index) for query in queries]
    places = np.repeat(np.arange(len(queries)), [len(rows) for rows in relevant])
    rows = np.concatenate([NO_ROWS, *relevant])
    nothing = np.zeros(len(queries), dtype=np.int64)
    return ClickTest(
        query_ids=[query_id(query) for query in queries],
        queries=queries,
        qrels=Qrels.build(len(queries), places, rows, np.ones(len(rows))),
        is_seen_query=nothing.astype(bool),
        num_clicks=nothing,
        num_train_clicks=nothing,
        every_train_clicks=nothing[:0],
        trained_rows=[NO_ROWS] * len(queries),
        trained_clicks=[NO_ROWS] * len(queries),
        trained_anywhere=NO_ROWS,
        num_excluded=0,
    )


def _items_with_all(query: str, index: WordIndex) -> Rows:
    first, *others = (index.items_with(word) for word in set(query.split()))
    for rows in others:
        first = np.intersect1d(first, rows, assume_unique=True)
    return first.astype(np.int32)
