"""The stage that says how good the exported model is, on clicks of the evaluated days and on graded judgments.

Every system ranks the whole catalogue exactly; what the approximate index loses is reported apart (``ann``), so that a weak
index is never mistaken for a weak model. Nothing is tuned here. ``scores.json`` is the run's ``metrics.json``:
``{system: {slice: {"num_queries": n, measure: {"value", "low", "high"}}}}`` (``slices`` names them), and beside the systems

* ``differences``: of pairs of systems, by slice and measure; value, low, high, ``relative_percent``, ``p`` and ``p_holm``.
* ``traffic``: systems and differences once more, each query weighted by its clicks.
* ``judged``: systems, differences and counts on graded judgments; the counts alone where no judged query was asked.
* ``attainable``: what a ranking by the grades themselves would reach on the clicks (``attainable``).
* ``ann``, ``gate``, ``exclusive``, ``reliance`` (``diagnosis``), ``signatures`` (a list).
* ``queries``: which days, how many queries were used, and what pictures their relevant items have.

A slice without a query is left out.

Judged queries that nobody asked on the evaluated days are counted and left out: both views then speak about the same traffic,
and a difference between them comes from the judging, not from other queries. The price is that most of a large set of
judgments may go unused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.config import EvaluateConfig, RuntimeConfig
from smar_core.data.judgments import read_judgments
from smar_core.errors import ArtifactError
from smar_core.evaluation.attainable import summarise_attainable
from smar_core.evaluation.click_views import classify_relevant, click_slices, measure_clicks, measure_pairs
from smar_core.evaluation.diagnosis import diagnose
from smar_core.evaluation.distinctiveness import count_classes
from smar_core.evaluation.examples import build_examples, build_matches
from smar_core.evaluation.runs import qrels_lines, ranking_lines, write_lines
from smar_core.evaluation.shelf import Shelf
from smar_core.evaluation.signatures import find_signatures
from smar_core.evaluation.slices import Mask
from smar_core.evaluation.synthetic_test import draw_synthetic_test, measure_synthetic, split_encoded
from smar_core.evaluation.systems import encode_test, rank_ann, rank_systems
from smar_core.evaluation.testset import ClickTest, JudgedTest, load_click_test, load_judged_test
from smar_core.evaluation.views import (
    Measured,
    measure_ann,
    measure_judged,
    per_query_table,
    slice_table,
    summarise_traffic,
    summarise_views,
)
from smar_core.model.device import resolve_device
from smar_core.report.data import Example, Match, ReportData
from smar_core.report.page import render_report
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import Ranking
from smar_core.stage import StageContext

WRITTEN_RUNS = ("model", "text_only", "multimodal")
"""Systems whose runs are written as TREC files."""

PAGE_TITLE = "SMAR: what the pictures bring"
SUMMARY_MEASURES = ("R@50", "P@50", "F1@50", "nDCG@10", "RR@10", "P@10")


def evaluate(
    items: Artifact,
    clicks: Artifact,
    synthetic: Artifact,
    pretrained: Artifact,
    gate: Artifact,
    finetuned: Artifact,
    bundle: Artifact,
    judgments: str | Path | None,
    output: Path,
    config: EvaluateConfig,
    runtime: RuntimeConfig,
    context: StageContext,
    column_map: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Measure the exported model and its relatives, and write figures, runs and the page.

    Args:
        items, clicks, synthetic, pretrained, gate, finetuned, bundle: Artifacts of those kinds, of one run.
        judgments: File or folder of graded judgments, a path or URI; None for none.
        output: Folder of the evaluation.
        config: Cutoffs, intervals, examples.
        runtime: Device and threads.
        context: Surroundings of the stage.
        column_map: Columns of the judgments, by ``field`` or ``judgments.field``.

    Returns:
        The measures of the summary, overall and on fashion or not, of ``model`` and ``text_only``.

    Raises:
        ArtifactError: The bundle was exported from other artifacts than these.
        UserError: There is nothing to test on, or the judgments cannot be read.
    """
    _check_origin(bundle, {"items": items, "model": finetuned, "gate": gate})
    torch.set_num_threads(runtime.num_threads)
    device = resolve_device(runtime)
    opened = Bundle.open(bundle.path, batch_size=config.batch_size, device=device)
    test = load_click_test(clicks, opened.item_ids, config.split)
    graded = None if judgments is None else load_judged_test(read_judgments(str(judgments), column_map), test, opened.item_ids)
    held_out = draw_synthetic_test(items, clicks, synthetic, config)
    queries = [*test.queries, *held_out.queries]
    together = encode_test(
        opened, pretrained, items, queries, batch_size=config.batch_size, device=device, progress=context.progress
    )
    encoded, encoded_held_out = split_encoded(together, len(test.queries))
    context.progress.update("rank and measure", 0, 4)
    depth = max(config.cutoffs)
    picture_class = classify_relevant(test, opened, items)
    slices = click_slices(test, opened, picture_class, config)
    rankings = rank_systems(opened, encoded, test, depth)
    clicks_view = measure_clicks(test, rankings, slices, config)
    context.progress.update("rank and measure", 1, 4)
    click_views = [clicks_view, *measure_pairs(opened, encoded, test, config)]
    synthetic_views = measure_synthetic(opened, encoded_held_out, held_out, config)
    context.progress.update("rank and measure", 3, 4)

    views, scores = list(click_views), summarise_views([*click_views, *synthetic_views], config)
    scores["traffic"] = summarise_traffic(clicks_view, test.num_clicks, config)
    scores["ann"] = measure_ann(rank_ann(opened, encoded, depth), rankings, test.qrels, slices, config)
    scores["queries"] = {
        "split": config.split,
        "num_test": len(test.queries) + test.num_excluded,
        "num_excluded": test.num_excluded,
        "relevant_pictures": count_classes(picture_class[np.unique(test.qrels.row_E)]),
    }
    if graded is not None:
        judged_scores, judged_views = _measure_judgments(graded, test, rankings, clicks_view, slices, config)
        scores |= judged_scores
        views += judged_views
    context.progress.update("rank and measure", 4, 4)
    scores |= diagnose(
        test,
        encoded,
        rankings,
        clicks_view,
        opened.gate.threshold,
        finetuned=finetuned,
        items=items,
        config=config,
        device=device,
        progress=context.progress,
    )
    curves = {"pretrain": pretrained.read_table("curve"), "finetune": finetuned.read_table("curve")}
    scores["signatures"] = [signature.as_json() for signature in find_signatures(scores, curves)]

    stages = {
        "items": items,
        "clicks": clicks,
        "synthetic": synthetic,
        "pretrained": pretrained,
        "gate": gate,
        "finetuned": finetuned,
    }
    shelf = Shelf(items)
    recalls = {system: of["R@50"] for system, of in clicks_view.values.items()}
    examples = build_examples(test, encoded, rankings, recalls, shelf, config.num_examples)
    matches = build_matches(test, encoded, rankings, shelf, config.num_examples)
    page = render_report(_report_data(scores, curves, stages, opened, examples, matches))
    with create_artifact(output, "evaluation", config_digest=context.config_digest, parents=context.parents) as folder:
        write_json(folder / "scores.json", scores)
        per_query = [per_query_table(views, test), per_query_table(synthetic_views, held_out)]
        pq.write_table(pa.concat_tables(per_query), folder / "per_query.parquet")
        slice_tables = [slice_table(click_views, test), slice_table(synthetic_views, held_out)]
        pq.write_table(pa.concat_tables(slice_tables), folder / "slices.parquet")
        _write_trec_files(folder, test, opened.item_ids, rankings)
        (folder / "page.html").write_text(page, encoding="utf-8")
    return summary_figures(scores)


def summary_figures(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the few figures that runs are compared by.

    >>> summary_figures({"model": {"fashion": {"num_queries": 2, "R@50": {"value": 0.5, "low": 0.0, "high": 1.0}}}})
    {'R@50_fashion': 0.5}
    """
    figures: dict[str, float] = {}
    for source, prefix in ((scores, ""), (scores.get("judged", {}), "judged_")):
        for system, name in (("model", prefix), ("text_only", f"{prefix}text_only_")):
            for slice_name, end in (("overall", ""), ("fashion", "_fashion"), ("not_fashion", "_not_fashion")):
                measures = source.get(system, {}).get(slice_name, {})
                for measure in SUMMARY_MEASURES:
                    if measure in measures:
                        figures[f"{name}{measure}{end}"] = measures[measure]["value"]
    return figures


def _measure_judgments(
    graded: JudgedTest,
    test: ClickTest,
    rankings: Mapping[str, Ranking],
    clicks_view: Measured,
    slices: Mapping[str, Mask],
    config: EvaluateConfig,
) -> tuple[dict[str, Any], list[Measured]]:
    """Return the entries of ``scores.json`` that graded judgments give, and the views behind them."""
    if not len(graded.places):
        return {"judged": dict(graded.counts)}, []
    view = measure_judged(graded, rankings, slices, config)
    attainable = summarise_attainable(test.qrels, clicks_view.values["model"]["R@50"], graded, slices, config)
    return {"judged": graded.counts | summarise_views([view], config), "attainable": attainable}, [view]


def _check_origin(bundle: Artifact, used: Mapping[str, Artifact]) -> None:
    recorded = bundle.read_json("bundle.json")["digests"]
    for name, artifact in used.items():
        if recorded[name] != artifact.digest:
            raise ArtifactError(f"{bundle.path} was exported from another {name} artifact than {artifact.path}: export it again")


def _write_trec_files(folder: Path, test: ClickTest, item_ids: Sequence[str], rankings: Mapping[str, Ranking]) -> None:
    write_lines(folder / "qrels.trec", qrels_lines(test.query_ids, item_ids, test.qrels))
    for system in [system for system in WRITTEN_RUNS if system in rankings]:
        write_lines(folder / f"run-{system}.trec", ranking_lines(test.query_ids, item_ids, rankings[system], system))


def _report_data(
    scores: Mapping[str, Any],
    curves: Mapping[str, pa.Table],
    stages: Mapping[str, Artifact],
    bundle: Bundle,
    examples: Sequence[Example],
    matches: Sequence[Match],
) -> ReportData:
    """Gather what the page is made of from the run's artifacts, by stage name."""
    training = {"pretrain": stages["pretrained"], "finetune": stages["finetuned"]}
    looked_at = stages["gate"].read_table("gate_queries", ["split", "label", "probability"])
    looked_at = looked_at.filter(pc.equal(looked_at["split"], "validation"))
    return ReportData(
        title=PAGE_TITLE,
        scores=scores,
        curves=curves,
        training={stage: artifact.read_json("training.json") for stage, artifact in training.items()},
        gate_report=stages["gate"].read_json("gate_report.json"),
        gate_probabilities=looked_at["probability"].to_pylist(),
        gate_is_visual=pc.greater(looked_at["label"], 0.5).to_pylist(),
        statistics={name: stages[name].read_json("statistics.json") for name in ("items", "clicks")},
        drift=stages["synthetic"].read_json("drift.json"),
        bundle=bundle.settings,
        examples=examples,
        matches=matches,
    )
