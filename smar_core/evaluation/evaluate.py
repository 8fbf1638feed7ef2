"""The stage that says how good the exported model is, on clicks of the test days and on graded judgments.

Every system ranks the whole catalogue exactly; what the approximate index loses is reported apart (``ann``), so that a weak
index is never mistaken for a weak model. Nothing is tuned here. ``scores.json`` is the run's ``metrics.json``:
``{system: {slice: {"num_queries": n, measure: {"value", "low", "high"}}}}``, with ``judged`` of the same form plus counts,
``ann``, ``differences`` (paired) and ``queries`` (how many were used). A slice without a query is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.config import EvaluateConfig, RuntimeConfig
from smar_core.data.judgments import read_judgments
from smar_core.errors import ArtifactError
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.examples import build_examples
from smar_core.evaluation.measures import Qrels, Values, measure_run
from smar_core.evaluation.runs import qrels_lines, ranking_lines, write_lines
from smar_core.evaluation.slices import query_slices, visual_items
from smar_core.evaluation.summary import Scores, summarise
from smar_core.evaluation.systems import COMPARED, encode_test, rank_ann, rank_systems
from smar_core.evaluation.testset import ClickTest, JudgedTest, drop_trained, load_click_test, load_judged_test
from smar_core.model.device import resolve_device
from smar_core.report.page import Example, ReportData, render_report
from smar_core.retrieval.bundle import INDEXED, Bundle
from smar_core.retrieval.exact import NO_ITEM, Ranking, Rows
from smar_core.schemas import PER_QUERY, SLICES
from smar_core.stage import StageContext

WRITTEN_RUNS = ("model", "text_only", "multimodal")
"""Systems whose runs are written as TREC files."""

ANN_CUTOFF = 50
EXACT_SYSTEM = {"text": "text_only", "multimodal": "multimodal"}
PAGE_TITLE = "SMAR: what the pictures bring"
SUMMARY_MEASURES = ("R@50", "P@50", "F1@50", "nDCG@10", "RR@10", "P@10")


@dataclass(frozen=True, eq=False)
class Measured:
    """One view of the systems: queries, their slices, and the values by system and measure.

    Attributes:
        source: As in ``schemas.PER_QUERY``.
        places: Places of its queries among the test queries.
        slices: Mask over its queries by name.
        values: Values of its queries by system and measure.
    """

    source: str
    places: NDArray[np.int64]
    slices: Mapping[str, NDArray[np.bool_]]
    values: Mapping[str, Mapping[str, Values]]


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
    test = load_click_test(clicks, opened.item_ids)
    graded = None if judgments is None else load_judged_test(read_judgments(str(judgments), column_map), test, opened.item_ids)
    encoded = encode_test(
        opened, pretrained, items, test.queries, batch_size=config.batch_size, device=device, progress=context.progress
    )
    context.progress.update("rank and measure", 0, 4)
    depth = max(config.cutoffs)
    is_visual = visual_items(opened.categories, opened.gate.visual_categories)
    rankings = rank_systems(opened, encoded, test, depth)
    clicks_view = _measure_clicks(test, rankings, is_visual, config)
    slices, click_views = clicks_view.slices, [clicks_view]
    context.progress.update("rank and measure", 1, 4)
    for slice_name, excluded in (
        ("unseen_pair", test.trained_rows),
        ("unseen_item", [test.trained_anywhere] * len(test.queries)),
    ):
        ranked = rank_systems(opened, encoded, test, depth, excluded)
        click_views.append(_measure_unseen(slice_name, test, ranked, excluded, config))
    context.progress.update("rank and measure", 3, 4)

    views, scores = list(click_views), _summarise_views(click_views, config)
    scores["ann"] = _measure_ann(rank_ann(opened, encoded, depth), rankings, test, slices, config)
    scores["queries"] = {"num_test": len(test.queries) + test.num_excluded, "num_excluded": test.num_excluded}
    if graded is not None:
        judged_view = _measure_judged(graded, rankings, slices, config)
        scores["judged"] = _summarise_views([judged_view], config) | graded.counts
        views.append(judged_view)
    context.progress.update("rank and measure", 4, 4)

    recalls = {system: of["R@50"] for system, of in clicks_view.values.items()}
    examples = build_examples(test, encoded, rankings, recalls, items, config.num_examples)
    stages = {
        "items": items,
        "clicks": clicks,
        "synthetic": synthetic,
        "pretrained": pretrained,
        "gate": gate,
        "finetuned": finetuned,
    }
    page = render_report(_report_data(scores, stages, opened, examples))
    with create_artifact(output, "evaluation", config_digest=context.config_digest, parents=context.parents) as folder:
        write_json(folder / "scores.json", scores)
        pq.write_table(_per_query_table(views, test), folder / "per_query.parquet")
        pq.write_table(_slice_table(click_views, test), folder / "slices.parquet")
        write_lines(folder / "qrels.trec", qrels_lines(test.query_ids, opened.item_ids, test.qrels))
        for system in WRITTEN_RUNS:
            lines = ranking_lines(test.query_ids, opened.item_ids, rankings[system], system)
            write_lines(folder / f"run-{system}.trec", lines)
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


def _check_origin(bundle: Artifact, used: Mapping[str, Artifact]) -> None:
    recorded = bundle.read_json("bundle.json")["digests"]
    for name, artifact in used.items():
        if recorded[name] != artifact.digest:
            raise ArtifactError(f"{bundle.path} was exported from another {name} artifact than {artifact.path}: export it again")


def _measure_clicks(
    test: ClickTest, rankings: Mapping[str, Ranking], is_visual_N: NDArray[np.bool_], config: EvaluateConfig
) -> Measured:
    return Measured(
        source="clicks",
        places=np.arange(len(test.queries)),
        slices=query_slices(test.qrels, is_visual_N, test.is_seen_query),
        values={system: measure_run(ranking.rows_QK, test.qrels, config.cutoffs) for system, ranking in rankings.items()},
    )


def _measure_unseen(
    slice_name: str,
    test: ClickTest,
    rankings: Mapping[str, Ranking],
    excluded: Sequence[Rows],
    config: EvaluateConfig,
) -> Measured:
    """Measure rankings without the excluded rows against relevant items without them."""
    remaining = drop_trained(test.qrels, excluded)
    places = np.flatnonzero(remaining.num_relevant)
    qrels = remaining.select(places)
    return Measured(
        source=f"clicks_{slice_name}s",
        places=places,
        slices={slice_name: np.ones(len(places), dtype=bool)},
        values={system: measure_run(ranking.rows_QK[places], qrels, config.cutoffs) for system, ranking in rankings.items()},
    )


def _measure_judged(
    graded: JudgedTest, rankings: Mapping[str, Ranking], slices: Mapping[str, NDArray[np.bool_]], config: EvaluateConfig
) -> Measured:
    """Measure against grades; a query is in the same slices as on clicks, so that both views can be laid side by side."""
    return Measured(
        source="judgments",
        places=graded.places,
        slices={name: mask[graded.places] for name, mask in slices.items()},
        values={
            system: measure_run(ranking.rows_QK[graded.places], graded.qrels, config.cutoffs)
            for system, ranking in rankings.items()
        },
    )


def _summarise_views(views: Iterable[Measured], config: EvaluateConfig) -> dict[str, Any]:
    """Merge the slices of several views under their systems, and their differences under ``differences``."""
    merged: Scores = {}
    differences: Scores = {}
    for view in views:
        for target, part in zip((merged, differences), summarise(view.values, view.slices, COMPARED, config), strict=True):
            for name, slices in part.items():
                target.setdefault(name, {}).update(slices)
    return {**merged, "differences": differences}


def _measure_ann(
    ann: Mapping[str, Ranking],
    exact: Mapping[str, Ranking],
    test: ClickTest,
    slices: Mapping[str, NDArray[np.bool_]],
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Return how much of the exact top 50 each index finds, and how good the routed search is with them."""
    measures = {"model": measure_run(ann["model"].rows_QK, test.qrels, config.cutoffs)}
    result: dict[str, Any] = {"model": summarise(measures, slices, (), config)[0]["model"]}
    for modality in INDEXED:
        system = EXACT_SYSTEM[modality]
        recall_Q = ann_recall(ann[modality].rows_QK, exact[system].rows_QK, ANN_CUTOFF)
        samples = resample_means(recall_Q[:, None], config.num_bootstrap_samples, config.seed)[:, 0]
        interval = percentile_interval(float(recall_Q.mean()), samples, config.confidence)
        result[modality] = {f"recall@{ANN_CUTOFF}": interval.as_json()}
    return result


def ann_recall(ann_QK: Rows, exact_QK: Rows, cutoff: int) -> Values:
    """Return the share of the exact top ``cutoff`` that an approximate top ``cutoff`` holds [Q].

    >>> ann_recall(np.array([[7, 2, 5]]), np.array([[7, 5, 3]]), 2).tolist()
    [0.5]
    """
    query, rank = np.nonzero(exact_QK[:, :cutoff] != NO_ITEM)
    wanted = Qrels.build(len(exact_QK), query, exact_QK[query, rank], np.ones(len(query)))
    return (wanted.grades_of(ann_QK[:, :cutoff]) > 0).sum(axis=1) / wanted.num_relevant


def _per_query_table(views: Iterable[Measured], test: ClickTest) -> pa.Table:
    query_ids, queries = pa.array(test.query_ids), pa.array(test.queries)
    blocks = []
    for view in views:
        places = pa.array(view.places)
        for system, of in view.values.items():
            for measure, values in of.items():
                same = [pa.repeat(name, len(values)) for name in (system, view.source, measure)]
                columns = [same[0], same[1], query_ids.take(places), queries.take(places), same[2], pa.array(values)]
                blocks.append(pa.Table.from_arrays(columns, schema=PER_QUERY))
    return pa.concat_tables(blocks)


def _slice_table(views: Iterable[Measured], test: ClickTest) -> pa.Table:
    query_ids = pa.array(test.query_ids)
    blocks = [
        pa.Table.from_arrays([pa.repeat(name, int(mask.sum())), query_ids.take(pa.array(view.places[mask]))], schema=SLICES)
        for view in views
        for name, mask in view.slices.items()
    ]
    return pa.concat_tables(blocks)


def _report_data(
    scores: Mapping[str, Any], stages: Mapping[str, Artifact], bundle: Bundle, examples: Sequence[Example]
) -> ReportData:
    """Gather what the page is made of from the run's artifacts, by stage name."""
    training = {"pretrain": stages["pretrained"], "finetune": stages["finetuned"]}
    looked_at = stages["gate"].read_table("gate_queries", ["split", "label", "probability"])
    looked_at = looked_at.filter(pc.equal(looked_at["split"], "validation"))
    return ReportData(
        title=PAGE_TITLE,
        scores=scores,
        curves={stage: artifact.read_table("curve") for stage, artifact in training.items()},
        training={stage: artifact.read_json("training.json") for stage, artifact in training.items()},
        gate_report=stages["gate"].read_json("gate_report.json"),
        gate_probabilities=looked_at["probability"].to_pylist(),
        gate_is_visual=pc.greater(looked_at["label"], 0.5).to_pylist(),
        statistics={name: stages[name].read_json("statistics.json") for name in ("items", "clicks")},
        drift=stages["synthetic"].read_json("drift.json"),
        bundle=bundle.settings,
        examples=examples,
    )
