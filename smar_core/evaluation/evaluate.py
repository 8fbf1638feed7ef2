"""The stage that says how good the exported model is, on clicks of the evaluated days and on graded judgments.

Every system ranks the whole catalogue exactly; what the approximate index loses is reported apart (``ann``), so that a weak
index is never mistaken for a weak model. Nothing is tuned here. ``scores.json`` is the run's ``metrics.json``:
``{system: {slice: {"num_queries": n, measure: {"value", "low", "high"}}}}`` (``slices`` names them), and beside the systems

* ``differences``: of pairs of systems, by slice and measure; value, low, high, ``relative_percent``, ``p`` and ``p_holm``.
* ``traffic``: systems and differences once more, each query weighted by its clicks.
* ``judged``: systems, differences and counts on graded judgments, and the digest of those used; counts and digest alone where
  no judged query was asked.
* ``attainable``: what a ranking by the grades themselves would reach on the clicks (``attainable``).
* ``ann``, ``gate``, ``exclusive``, ``reliance`` (``diagnosis``), ``signatures`` (a list).
* ``queries``: which days, how many queries were used, what pictures their relevant items have, and what all intervals are made
  with (``INTERVAL_SETTINGS``).

A slice without a query is left out.

Judged queries that nobody asked on the evaluated days are counted and left out: both views then speak about the same traffic,
and a difference between them comes from the judging, not from other queries. The price is that most of a large set of
judgments may go unused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
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
from smar_core.evaluation.page import render_page
from smar_core.evaluation.runs import qrels_lines, ranking_lines, write_lines
from smar_core.evaluation.shelf import Shelf
from smar_core.evaluation.signatures import find_signatures
from smar_core.evaluation.slices import Mask
from smar_core.evaluation.summary import summary_figures
from smar_core.evaluation.synthetic_test import draw_synthetic_test, measure_synthetic, split_encoded
from smar_core.evaluation.systems import EncodedTest, encode_test, rank_ann, rank_systems
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
from smar_core.progress import Progress
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import Ranking
from smar_core.stage import StageContext

INTERVAL_SETTINGS = ("confidence", "num_bootstrap_samples", "seed")
"""Settings that shape the intervals of equal rankings; the seed shuffles the pictures of ``reliance`` too."""

WRITTEN_RUNS = ("model", "text_only", "multimodal")
"""Systems whose runs are written as TREC files."""


@dataclass(frozen=True, eq=False)
class _Tests:
    """What is asked: by people on the evaluated days, by judges (None without judgments), and by nobody."""

    clicks: ClickTest
    judged: JudgedTest | None
    held_out: ClickTest


@dataclass(frozen=True, eq=False)
class _Views:
    """What was measured on each; of ``clicks`` the first view is that of all queries and items."""

    clicks: list[Measured]
    judged: list[Measured]
    synthetic: list[Measured]


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
    tests = _load_tests(items, clicks, synthetic, judgments, opened, config, column_map)
    queries = [*tests.clicks.queries, *tests.held_out.queries]
    together = encode_test(
        opened, pretrained, items, queries, batch_size=config.batch_size, device=device, progress=context.progress
    )
    encoded, encoded_held_out = split_encoded(together, len(tests.clicks.queries))
    rankings = rank_systems(opened, encoded, tests.clicks, max(config.cutoffs))
    views, scores = _measure(opened, items, tests, encoded, encoded_held_out, rankings, config, context.progress)
    scores |= diagnose(
        tests.clicks,
        encoded,
        rankings,
        views.clicks[0],
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
    recalls = {system: of["R@50"] for system, of in views.clicks[0].values.items()}
    examples = build_examples(tests.clicks, encoded, rankings, recalls, shelf, config.num_examples)
    matches = build_matches(tests.clicks, encoded, rankings, shelf, config.num_examples)
    page = render_page(scores, curves, stages, opened.settings, examples, matches)
    with create_artifact(output, "evaluation", config_digest=context.config_digest, parents=context.parents) as folder:
        write_json(folder / "scores.json", scores)
        _write_tables(folder, tests, views)
        _write_trec_files(folder, tests.clicks, opened.item_ids, rankings)
        (folder / "page.html").write_text(page, encoding="utf-8")
    return summary_figures(scores)


def _load_tests(
    items: Artifact,
    clicks: Artifact,
    synthetic: Artifact,
    judgments: str | Path | None,
    bundle: Bundle,
    config: EvaluateConfig,
    column_map: Mapping[str, str] | None,
) -> _Tests:
    """Read what was clicked and judged, and draw what nobody asked."""
    test = load_click_test(clicks, bundle.item_ids, config.split)
    graded = None if judgments is None else load_judged_test(read_judgments(str(judgments), column_map), test, bundle.item_ids)
    return _Tests(test, graded, draw_synthetic_test(items, clicks, synthetic, config))


def _measure(
    bundle: Bundle,
    items: Artifact,
    tests: _Tests,
    encoded: EncodedTest,
    encoded_held_out: EncodedTest,
    rankings: Mapping[str, Ranking],
    config: EvaluateConfig,
    progress: Progress,
) -> tuple[_Views, dict[str, Any]]:
    """Measure the systems' rankings on all tests; return the views and what ``scores.json`` says of them."""
    test = tests.clicks
    progress.update("rank and measure", 0, 3)
    picture_class = classify_relevant(test, bundle, items)
    slices = click_slices(test, bundle, picture_class, config)
    clicks_view = measure_clicks(test, rankings, slices, config)
    progress.update("rank and measure", 1, 3)
    click_views = [clicks_view, *measure_pairs(bundle, encoded, test, config)]
    synthetic_views = measure_synthetic(bundle, encoded_held_out, tests.held_out, config)
    progress.update("rank and measure", 2, 3)
    scores = summarise_views([*click_views, *synthetic_views], config)
    scores["traffic"] = summarise_traffic(clicks_view, test.num_clicks, config)
    scores["ann"] = measure_ann(rank_ann(bundle, encoded, max(config.cutoffs)), rankings, test.qrels, slices, config)
    scores["queries"] = {
        "split": config.split,
        "num_test": len(test.queries) + test.num_excluded,
        "num_excluded": test.num_excluded,
        "relevant_pictures": count_classes(picture_class[np.unique(test.qrels.row_E)]),
        **{name: getattr(config, name) for name in INTERVAL_SETTINGS},
    }
    judged_views: list[Measured] = []
    if tests.judged is not None:
        judged_scores, judged_views = _measure_judgments(tests.judged, test, rankings, clicks_view, slices, config)
        scores |= judged_scores
    progress.update("rank and measure", 3, 3)
    return _Views(click_views, judged_views, synthetic_views), scores


def _measure_judgments(
    graded: JudgedTest,
    test: ClickTest,
    rankings: Mapping[str, Ranking],
    clicks_view: Measured,
    slices: Mapping[str, Mask],
    config: EvaluateConfig,
) -> tuple[dict[str, Any], list[Measured]]:
    """Return the entries of ``scores.json`` that graded judgments give, and the views behind them."""
    told = {**graded.counts, "digest": graded.digest}
    if not len(graded.places):
        return {"judged": told}, []
    view = measure_judged(graded, rankings, slices, config)
    attainable = summarise_attainable(test.qrels, clicks_view.values["model"]["R@50"], graded, slices, config)
    return {"judged": told | summarise_views([view], config), "attainable": attainable}, [view]


def _check_origin(bundle: Artifact, used: Mapping[str, Artifact]) -> None:
    recorded = bundle.read_json("bundle.json")["digests"]
    for name, artifact in used.items():
        if recorded[name] != artifact.digest:
            raise ArtifactError(f"{bundle.path} was exported from another {name} artifact than {artifact.path}: export it again")


def _write_tables(folder: Path, tests: _Tests, views: _Views) -> None:
    """Write each view's values by query, and which queries are in which slice."""
    per_query = [per_query_table([*views.clicks, *views.judged], tests.clicks), per_query_table(views.synthetic, tests.held_out)]
    pq.write_table(pa.concat_tables(per_query), folder / "per_query.parquet")
    slices = [slice_table(views.clicks, tests.clicks), slice_table(views.synthetic, tests.held_out)]
    pq.write_table(pa.concat_tables(slices), folder / "slices.parquet")


def _write_trec_files(folder: Path, test: ClickTest, item_ids: Sequence[str], rankings: Mapping[str, Ranking]) -> None:
    write_lines(folder / "qrels.trec", qrels_lines(test.query_ids, item_ids, test.qrels))
    for system in [system for system in WRITTEN_RUNS if system in rankings]:
        write_lines(folder / f"run-{system}.trec", ranking_lines(test.query_ids, item_ids, rankings[system], system))
