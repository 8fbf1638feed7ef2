"""Two bundles, each of its own catalogue, on the same queries.

Relevant are only items that are in both catalogues: one that left cannot be found, and that is the shop's doing and no fault of
the new bundle; one that came cannot be found by the champion. A query without a relevant item in both is left out. Items that
left or came are counted and said. Two comparisons answer two questions.

* *Like for like*: both bundles rank the items that are in both, exactly. Nothing differs but what happened to those items, so
  this is what the paired test is made on, and a title that was lost or a picture that was swapped shows at once. As served it
  would not do: a catalogue that grows makes every item harder to find, and with thousands of queries the smallest growth is
  significant, so that no growing shop would ever be promoted.
* *As served*: each bundle ranks its whole catalogue through its own gate and approximate index, as shoppers would get it. This
  bounds the harm, whatever it comes from: items that crowd others out, or an index that misses.

Shapes: Q queries, D embed_dim, K places of a ranking.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from smar_core.config import EvaluateConfig
from smar_core.evaluation.measures import Qrels, Values, measure_run
from smar_core.evaluation.significance import Comparison, paired_comparison
from smar_core.evaluation.systems import route
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import Floats, Rows, exact_search

CHAMPION, REFRESHED = "champion", "refreshed"


@dataclass(frozen=True, eq=False)
class View:
    """The two bundles on one kind of relevance.

    Attributes:
        source: "clicks" or "judgments".
        queries: Q normalised texts.
        num_left_out: Queries without a relevant item in both catalogues.
        champion_Q: R@K of the champion, like for like.
        refreshed_Q: R@K of the new bundle, like for like.
        comparison: Of the two.
        served: Mean R@K as served, of either, and ``refreshed_with_new_items``: of the new bundle with relevant items that came.
    """

    source: str
    queries: Sequence[str]
    num_left_out: int
    champion_Q: Values
    refreshed_Q: Values
    comparison: Comparison
    served: Mapping[str, float]


def compare_bundles(
    source: str, table: pa.Table, champion: Bundle, refreshed: Bundle, cutoff: int, config: EvaluateConfig
) -> View | None:
    """Compare two bundles on the same queries.

    Args:
        source: "clicks" or "judgments".
        table: Relevant items: query (normalised), item_id, grade (above 0).
        champion: What is served now.
        refreshed: What might be.
        cutoff: K of the R@K.
        config: Resamples, confidence and seed.

    Returns:
        None where no query has a relevant item in both catalogues.
    """
    common = sorted(set(champion.item_ids) & set(refreshed.item_ids))
    both, in_new = (table.filter(pc.is_in(table["item_id"], value_set=_strings(ids))) for ids in (common, refreshed.item_ids))
    queries = sorted(set(both["query"].to_pylist()))
    if not queries:
        return None
    alike: dict[str, Values] = {}
    runs: dict[str, Rows] = {}
    served: dict[str, float] = {}
    for system, bundle in ((CHAMPION, champion), (REFRESHED, refreshed)):
        query_QD, route_Q = bundle.encode(queries), bundle.gate.route(bundle.probabilities(queries))
        alike[system] = _recall(_rank_common(bundle, common, query_QD, route_Q, cutoff), both, queries, common, cutoff)
        runs[system] = _rank_served(bundle, query_QD, route_Q, cutoff)
        served[system] = float(_recall(runs[system], both, queries, bundle.item_ids, cutoff).mean())
    asked = in_new.filter(pc.is_in(in_new["query"], value_set=_strings(queries)))
    served["refreshed_with_new_items"] = float(_recall(runs[REFRESHED], asked, queries, refreshed.item_ids, cutoff).mean())
    comparison = paired_comparison(
        alike[REFRESHED],
        alike[CHAMPION],
        num_samples=config.num_bootstrap_samples,
        confidence=config.confidence,
        seed=config.seed,
    )
    num_left_out = len(table["query"].unique()) - len(queries)
    return View(source, queries, num_left_out, alike[CHAMPION], alike[REFRESHED], comparison, served)


def count_items(champion: Sequence[str], refreshed: Sequence[str]) -> dict[str, Any]:
    """Count the items that stayed, left and came.

    >>> count_items(["a", "b"], ["b", "c", "d"])["left_share"]
    0.5
    """
    before, after = set(champion), set(refreshed)
    return {
        "num_champion": len(before),
        "num_refreshed": len(after),
        "num_in_both": len(before & after),
        "num_left": len(before - after),
        "num_came": len(after - before),
        "left_share": len(before - after) / len(before),
    }


def count_clicks(clicks: pa.Table, champion: Sequence[str], refreshed: Sequence[str]) -> dict[str, int]:
    """Count reference clicks by where their items are.

    Args:
        clicks: item_id, and grade: the number of clicks.
        champion: Ids of the champion's items.
        refreshed: Ids of the new catalogue's.
    """
    in_old, in_new = (pc.is_in(clicks["item_id"], value_set=_strings(ids)) for ids in (champion, refreshed))
    masks = {"both": pc.and_(in_old, in_new), "left": pc.and_(in_old, pc.invert(in_new)), "came": pc.invert(in_old)}
    return {name: pc.sum(clicks.filter(mask)["grade"]).as_py() or 0 for name, mask in masks.items()}


def _rank_common(bundle: Bundle, common: Sequence[str], query_QD: Floats, route_Q: NDArray[np.int64], top_k: int) -> Rows:
    """Return places among the common items [Q, K]: exact, each query on the representation that the bundle's gate chooses."""
    rows = pc.index_in(_strings(common), value_set=_strings(bundle.item_ids)).to_numpy()
    rankings = [exact_search(query_QD, bundle.embeddings(modality)[rows], top_k) for modality in bundle.indexed]
    return route(rankings, route_Q).rows_QK


def _rank_served(bundle: Bundle, query_QD: Floats, route_Q: NDArray[np.int64], top_k: int) -> Rows:
    """Return catalogue rows [Q, K] as the bundle serves them: each query from the index that the gate chooses."""
    rankings = [bundle.rank(query_QD, modality, top_k, exact=False) for modality in bundle.indexed]
    return route(rankings, route_Q).rows_QK


def _recall(run_QK: Rows, table: pa.Table, queries: Sequence[str], item_ids: Sequence[str], cutoff: int) -> Values:
    """Return R@K [Q] of a run over rows of ``item_ids``."""
    places, rows = (
        pc.index_in(table[name], value_set=_strings(known)).to_numpy()
        for name, known in (("query", queries), ("item_id", item_ids))
    )
    qrels = Qrels.build(len(queries), places, rows, table["grade"].to_numpy())
    return measure_run(run_QK, qrels, [cutoff])[f"R@{cutoff}"]


def _strings(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string())
