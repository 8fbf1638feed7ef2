"""Whether a new catalogue may take the champion's place: two bundles, each over its own catalogue, on the same queries.

What is compared is what shoppers would get: each bundle answers through its own gate and its own approximate index, out of its
own whole catalogue. Relevant are only items that are in both: one that left cannot be found, and that is the shop's doing and no
fault of the new bundle; one that came cannot be found by the champion. So a query without a clicked item in both is left out.
Items that left or came are counted and said, and the recall of the new bundle over all that is in its catalogue stands beside.
A catalogue that grows makes every item harder to find, which R@K counts against it: shoppers feel it too.

The new bundle is refused when its R@K is significantly lower (two-sided paired randomisation test; with judgments there are two
tests, corrected by Holm), or lower by more than ``max_drop``, since few queries make few drops significant; when fewer than
``min_queries`` queries are left to tell by; and when too many of the champion's items are gone, as after a catalogue that
was cut off in transfer, which the items in both cannot show. Without a champion nothing can be worse, and it is promoted.

Shapes: Q queries, K places of a ranking.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.config import EvaluateConfig, PromotionConfig, RuntimeConfig
from smar_core.data.judgments import read_judgments
from smar_core.evaluation.measures import Qrels, Values, measure_run
from smar_core.evaluation.significance import Comparison, holm, paired_comparison
from smar_core.evaluation.systems import route
from smar_core.model.device import resolve_device
from smar_core.report.decision import render_decision
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import Rows
from smar_core.schemas import PER_QUERY
from smar_core.stage import StageContext
from smar_core.text import query_id

Verdict = Literal["promote", "keep"]
CHAMPION, REFRESHED = "champion", "refreshed"


@dataclass(frozen=True, eq=False)
class View:
    """The two bundles on one kind of relevance.

    Attributes:
        source: "clicks" or "judgments".
        queries: Q normalised texts.
        champion_Q: R@K of the champion.
        refreshed_Q: R@K of the new bundle, over the same relevant items.
        comparison: Of the new bundle with the champion.
        num_left_out: Queries without a relevant item in both catalogues.
        all_refreshed: Mean R@K of the new bundle where every relevant item of its catalogue counts, those that came too.
    """

    source: str
    queries: Sequence[str]
    champion_Q: Values
    refreshed_Q: Values
    comparison: Comparison
    num_left_out: int
    all_refreshed: float


def decide_promotion(
    champion: Artifact,
    bundle: Artifact,
    reference: Artifact,
    judgments: str | None,
    output: Path,
    config: PromotionConfig,
    measuring: EvaluateConfig,
    runtime: RuntimeConfig,
    context: StageContext,
    *,
    has_champion: bool,
    column_map: Mapping[str, str] | None = None,
) -> tuple[Verdict, dict[str, float]]:
    """Compare two bundles and say whether the new one is to be promoted.

    Args:
        champion: Bundle that is served now.
        bundle: Bundle of the new catalogue.
        reference: Artifact of kind ``reference``.
        judgments: File or folder of graded judgments, a path or URI; None for none.
        output: Folder of the artifact of kind ``decision``.
        config: What is refused.
        measuring: Resamples, confidence, seed and batch size.
        runtime: Device and threads.
        context: Surroundings of the stage.
        has_champion: Whether ``champion`` is one; else it is only there to compare with.
        column_map: Columns of the judgments, by ``field`` or ``judgments.field``.

    Returns:
        The verdict, and its figures.

    Raises:
        UserError: The judgments cannot be read.
    """
    torch.set_num_threads(runtime.num_threads)
    device = resolve_device(runtime)
    old, new = (Bundle.open(a.path, batch_size=measuring.batch_size, device=device) for a in (champion, bundle))
    clicks = reference.read_table("reference", ["query", "item_id", "num_clicks"]).rename_columns({"num_clicks": "grade"})
    given = {"clicks": clicks}
    if judgments is not None:
        graded = read_judgments(judgments, column_map)
        given["judgments"] = graded.filter(pc.greater(graded["grade"], 0))
    views = []
    for done, (source, table) in enumerate(given.items()):
        context.progress.update("rank and compare", done, len(given))
        view = _compare(source, table, old, new, config.cutoff, measuring)
        views += [view] if view is not None else []
    context.progress.update("rank and compare", len(given), len(given))
    catalogues = count_items(old.item_ids, new.item_ids)
    p_values = holm([view.comparison.p_value for view in views])
    reasons = find_objections(views, p_values, catalogues, config, 1.0 - measuring.confidence)
    verdict: Verdict = "keep" if has_champion and reasons else "promote"
    decision = {
        "verdict": verdict,
        "has_champion": "yes" if has_champion else "no",
        "objections": reasons,
        "measure": f"R@{config.cutoff}",
        "catalogues": catalogues,
        "clicks_on_items": _count_clicks(clicks, old.item_ids, new.item_ids),
        "views": {view.source: _describe(view, p) for view, p in zip(views, p_values, strict=True)},
        "digests": {CHAMPION: champion.digest, REFRESHED: bundle.digest},
        "settings": config.model_dump(mode="json"),
    }
    with create_artifact(output, "decision", config_digest=context.config_digest, parents=context.parents) as folder:
        write_json(folder / "decision.json", decision)
        pq.write_table(_per_query(views, f"R@{config.cutoff}"), folder / "per_query.parquet")
        (folder / "page.html").write_text(render_decision(decision), encoding="utf-8")
    return verdict, _figures(decision)


def find_objections(
    views: Sequence[View], p_values: Sequence[float], catalogues: Mapping[str, Any], config: PromotionConfig, level: float
) -> list[str]:
    """Return why the new bundle may not take the champion's place, a sentence each; none if it may.

    Args:
        views: On clicks and on judgments, those that have a query.
        p_values: Of the views, corrected for their number.
        catalogues: What ``count_items`` returned.
        config: What is refused.
        level: P-value below which a drop is significant.
    """
    found = []
    num_queries = next((len(view.queries) for view in views if view.source == "clicks"), 0)
    if num_queries < config.min_queries:
        found.append(
            f"only {num_queries} reference queries have a clicked item in both catalogues, "
            f"and promotion.min_queries is {config.min_queries}"
        )
    if catalogues["left_share"] > config.max_left_share:
        found.append(
            f"{catalogues['num_left']} of the champion's {catalogues['num_champion']} items are not in the new catalogue, "
            f"more than promotion.max_left_share ({config.max_left_share:g}) allows"
        )
    for view, p_value in zip(views, p_values, strict=True):
        drop = -view.comparison.difference.value
        told = f"R@{config.cutoff} on {view.source} fell by {drop:.3f}"
        if drop > 0 and p_value < level:
            found.append(f"{told}, which is significant (p = {p_value:.4f})")
        if drop > config.max_drop:
            found.append(f"{told}, more than promotion.max_drop ({config.max_drop:g}) allows")
    return found


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


def _compare(source: str, table: pa.Table, old: Bundle, new: Bundle, cutoff: int, measuring: EvaluateConfig) -> View | None:
    """Compare two bundles on (query, item_id, grade); None where no query has a relevant item in both."""
    in_old, in_new = (pc.is_in(table["item_id"], value_set=pa.array(b.item_ids, pa.string())) for b in (old, new))
    both, everything = table.filter(pc.and_(in_old, in_new)), table.filter(in_new)
    queries = sorted(set(both["query"].to_pylist()))
    if not queries:
        return None
    run_of_old, run_of_new = (_rank(bundle, queries, cutoff) for bundle in (old, new))
    champion_Q = _recall(run_of_old, both, queries, old, cutoff)
    refreshed_Q = _recall(run_of_new, both, queries, new, cutoff)
    everything = everything.filter(pc.is_in(everything["query"], value_set=pa.array(queries, pa.string())))
    comparison = paired_comparison(
        refreshed_Q,
        champion_Q,
        num_samples=measuring.num_bootstrap_samples,
        confidence=measuring.confidence,
        seed=measuring.seed,
    )
    num_left_out = len(table["query"].unique()) - len(queries)
    all_refreshed = float(_recall(run_of_new, everything, queries, new, cutoff).mean())
    return View(source, queries, champion_Q, refreshed_Q, comparison, num_left_out, all_refreshed)


def _rank(bundle: Bundle, queries: Sequence[str], top_k: int) -> Rows:
    """Return catalogue rows [Q, K] as the bundle serves them: each query from the index that the gate chooses."""
    query_QD = bundle.encode(queries)
    rankings = [bundle.rank(query_QD, modality, top_k, exact=False) for modality in bundle.indexed]
    return route(rankings, bundle.gate.route(bundle.probabilities(queries))).rows_QK


def _recall(run_QK: Rows, table: pa.Table, queries: Sequence[str], bundle: Bundle, cutoff: int) -> Values:
    """Return R@K [Q] of a run over a bundle's rows."""
    places, rows = (
        pc.index_in(table[name], value_set=pa.array(known, pa.string())).to_numpy()
        for name, known in (("query", queries), ("item_id", bundle.item_ids))
    )
    qrels = Qrels.build(len(queries), places, rows, table["grade"].to_numpy())
    return measure_run(run_QK, qrels, [cutoff])[f"R@{cutoff}"]


def _count_clicks(clicks: pa.Table, champion: Sequence[str], refreshed: Sequence[str]) -> dict[str, int]:
    """Count reference clicks by where their items are."""
    in_old, in_new = (pc.is_in(clicks["item_id"], value_set=pa.array(ids, pa.string())) for ids in (champion, refreshed))
    masks = {"both": pc.and_(in_old, in_new), "left": pc.and_(in_old, pc.invert(in_new)), "came": pc.invert(in_old)}
    return {name: pc.sum(clicks.filter(mask)["grade"]).as_py() or 0 for name, mask in masks.items()}


def _describe(view: View, p_holm: float) -> dict[str, Any]:
    return {
        "num_queries": len(view.queries),
        "num_queries_left_out": view.num_left_out,
        CHAMPION: float(view.champion_Q.mean()),
        REFRESHED: float(view.refreshed_Q.mean()),
        "refreshed_with_new_items": view.all_refreshed,
        "difference": view.comparison.difference.as_json(),
        "p": view.comparison.p_value,
        "p_holm": p_holm,
    }


def _per_query(views: Sequence[View], measure: str) -> pa.Table:
    """Return the values of both bundles, by view and query."""
    rows = [
        {"system": system, "source": view.source, "query_id": query_id(query), "query": query, "measure": measure, "value": value}
        for view in views
        for system, value_Q in ((CHAMPION, view.champion_Q), (REFRESHED, view.refreshed_Q))
        for query, value in zip(view.queries, np.asarray(value_Q).tolist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=PER_QUERY)


def _figures(decision: Mapping[str, Any]) -> dict[str, float]:
    """Return the few figures that refreshes are compared by."""
    figures: dict[str, float] = {name: float(value) for name, value in decision["catalogues"].items()}
    for source, view in decision["views"].items():
        prefix = "" if source == "clicks" else f"{source}_"
        figures |= {
            f"{prefix}{decision['measure']}": view[REFRESHED],
            f"{prefix}{decision['measure']}_champion": view[CHAMPION],
            f"{prefix}p": view["p_holm"],
        }
    return figures
