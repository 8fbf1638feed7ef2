"""Whether a new catalogue may take the champion's place (``catalogues`` says how the two are compared).

The new bundle is refused when R@K is significantly lower like for like (two-sided paired randomisation test; with judgments there
are two tests, corrected by Holm); when it is lower by more than ``max_drop`` in either comparison, since few queries make few
drops significant; when fewer than ``min_queries`` queries are left to tell by; and when too many of the champion's items are
gone, as after a transfer that was cut off, which the items in both cannot show. Without a champion nothing can be worse, and the
new bundle is promoted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.config import EvaluateConfig, PromotionConfig, RuntimeConfig
from smar_core.data.judgments import read_judgments
from smar_core.evaluation.catalogues import CHAMPION, REFRESHED, View, compare_bundles, count_clicks, count_items
from smar_core.evaluation.significance import holm
from smar_core.model.device import resolve_device
from smar_core.report.decision import render_decision
from smar_core.retrieval.bundle import Bundle
from smar_core.schemas import PER_QUERY
from smar_core.stage import StageContext
from smar_core.text import query_id

Verdict = Literal["promote", "keep"]


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
        view = compare_bundles(source, table, old, new, config.cutoff, measuring)
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
        "clicks_on_items": count_clicks(clicks, old.item_ids, new.item_ids),
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
        drops = {
            "like for like": -view.comparison.difference.value,
            "as served": view.served[CHAMPION] - view.served[REFRESHED],
        }
        told = f"R@{config.cutoff} on {view.source} fell by {{:.3f}} {{}}"
        if drops["like for like"] > 0 and p_value < level:
            found.append(f"{told.format(drops['like for like'], 'like for like')}, which is significant (p = {p_value:.4f})")
        found += [
            f"{told.format(drop, how)}, more than promotion.max_drop ({config.max_drop:g}) allows"
            for how, drop in drops.items()
            if drop > config.max_drop
        ]
    return found


def _describe(view: View, p_holm: float) -> dict[str, Any]:
    return {
        "num_queries": len(view.queries),
        "num_queries_left_out": view.num_left_out,
        CHAMPION: float(view.champion_Q.mean()),
        REFRESHED: float(view.refreshed_Q.mean()),
        "difference": view.comparison.difference.as_json(),
        "p": view.comparison.p_value,
        "p_holm": p_holm,
        "served": dict(view.served),
    }


def _per_query(views: Sequence[View], measure: str) -> pa.Table:
    """Return the values of both bundles, by view and query."""
    rows = [
        {"system": system, "source": view.source, "query_id": query_id(query), "query": query, "measure": measure, "value": value}
        for view in views
        for system, value_Q in ((CHAMPION, view.champion_Q), (REFRESHED, view.refreshed_Q))
        for query, value in zip(view.queries, value_Q.tolist(), strict=True)
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
