"""The stage that says how good the exported model is, on clicks of the test days and on graded judgments.

Every system ranks the whole catalogue exactly; what the approximate index loses is reported apart (``ann``), so that a weak
index is never mistaken for a weak model. Nothing is tuned here. ``scores.json`` is the run's ``metrics.json``:
``{system: {slice: {"num_queries": n, measure: {"value", "low", "high"}}}}``, with ``judged`` of the same form plus counts, ``ann``,
``differences`` (paired) and ``queries`` (how many were used). A slice without a query is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
from smar_core.evaluation.systems import COMPARED, EncodedTest, encode_test, rank_ann, rank_systems
from smar_core.evaluation.testset import ClickTest, drop_trained, load_click_test, load_judged_test
from smar_core.model.device import resolve_device
from smar_core.report.page import Example, ReportData, render_report
from smar_core.retrieval.bundle import INDEXED, Bundle
from smar_core.retrieval.exact import NO_ITEM, Ranking, Rows
from smar_core.schemas import PER_QUERY, SLICES
from smar_core.stage import StageContext

WRITTEN_RUNS = ("model", "text_only", "multimodal")
"""Systems whose runs are written as TREC files."""

ANN_CUTOFF = 50
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
    judgments: Path | None,
    output: Path,
    config: EvaluateConfig,
    runtime: RuntimeConfig,
    context: StageContext,
) -> dict[str, float]:
    """Measure the exported model and its relatives, and write figures, runs and the page.

    Args:
        items, clicks, synthetic, pretrained, gate, finetuned, bundle: Artifacts of those kinds, of one run.
        judgments: File of graded judgments, or None.
        output: Folder of the evaluation.
        config: Cutoffs, intervals, examples.
        runtime: Device.
        context: Surroundings of the stage.

    Returns:
        The measures of the summary, overall and on fashion or not, of ``model`` and ``text_only``.

    Raises:
        ArtifactError: The bundle was exported from other artifacts than these.
        UserError: There is nothing to test on, or the judgments cannot be read.
    """
    _check_origin(bundle, {"items": items, "model": finetuned, "gate": gate})
    device = resolve_device(runtime)
    opened = Bundle.open(bundle.path, batch_size=config.batch_size, device=device)
    test = load_click_test(clicks, opened.item_ids)
    graded = None if judgments is None else load_judged_test(read_judgments(judgments), test, opened.item_ids)
    encoded = encode_test(
        opened, pretrained, items, test.queries, batch_size=config.batch_size, device=device, progress=context.progress
    )
    context.progress.update("rank and measure", 0, 4)
    depth = max(config.cutoffs)
    is_visual = visual_items(opened.categories, opened.gate.visual_categories)
    rankings = rank_systems(opened, encoded, test, depth)
    views = [_measure_clicks(test, rankings, is_visual, config)]
    context.progress.update("rank and measure", 1, 4)
    unseen_pairs = test.trained_rows
    unseen_items = [test.trained_anywhere] * len(test.queries)
    for source, excluded in (("clicks_unseen_pairs", unseen_pairs), ("clicks_unseen_items", unseen_items)):
        ranked = rank_systems(opened, encoded, test, depth, excluded)
        views.append(_measure_unseen(source, test, ranked, excluded, config))
    context.progress.update("rank and measure", 3, 4)

    scores: dict[str, Any] = _summarise_views(views, config)
    scores["ann"] = _measure_ann(opened, encoded, test, rankings, views[0].slices, config)
    scores["queries"] = {"num_test": len(test.queries) + test.num_excluded, "num_excluded": test.num_excluded}
    if graded is not None:
        view = _measure_judged(graded.places, graded.qrels, test, rankings, is_visual, config)
        scores["judged"] = _summarise_views([view], config) | graded.counts
        views.append(view)
    context.progress.update("rank and measure", 4, 4)

    recalls = {system: of["R@50"] for system, of in views[0].values.items()}
    examples = build_examples(test, encoded, rankings, recalls, items, config.num_examples)
    page = render_report(_report_data(scores, items, clicks, synthetic, pretrained, gate, finetuned, opened, examples))
    with create_artifact(output, "evaluation", config_digest=context.config_digest, parents=context.parents) as folder:
        write_json(folder / "scores.json", scores)
        pq.write_table(_per_query_table(views, test), folder / "per_query.parquet")
        pq.write_table(_slice_table(views, test), folder / "slices.parquet")
        write_lines(folder / "qrels.trec", qrels_lines(test.query_ids, opened.item_ids, test.qrels))
        for system in WRITTEN_RUNS:
            lines = ranking_lines(test.query_ids, opened.item_ids, rankings[system], system)
            write_lines(folder / f"run-{system}.trec", lines)
        (folder / "page.html").write_text(page, encoding="utf-8")
    return summary_figures(scores)
