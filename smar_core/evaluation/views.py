"""Views of the systems: on graded judgments and through the approximate index; those on clicks are in ``click_views``.

A view says which queries count, which items are relevant to them, and how they fall into slices; ``summarise_views`` lays the
views of one kind side by side.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from smar_core.config import EvaluateConfig
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.measures import Qrels, Values, measure_run
from smar_core.evaluation.slices import Counts, Mask
from smar_core.evaluation.summary import Scores, summarise
from smar_core.evaluation.systems import MODALITY, compared
from smar_core.evaluation.testset import ClickTest, JudgedTest
from smar_core.retrieval.exact import NO_ITEM, Ranking, Rows
from smar_core.schemas import PER_QUERY, SLICES

ANN_CUTOFF = 50
EXACT_SYSTEM: Mapping[str, str] = {**{modality: system for system, modality in MODALITY.items()}, "gated": "model"}
"""The system that searches the same embeddings exactly."""

TRAFFIC_SLICES = ("overall", "fashion", "not_fashion", "seen_query", "unseen_query")
"""Slices that are weighted by traffic too."""


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
    slices: Mapping[str, Mask]
    values: Mapping[str, Mapping[str, Values]]


def measure_judged(
    graded: JudgedTest, rankings: Mapping[str, Ranking], slices: Mapping[str, Mask], config: EvaluateConfig
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


def summarise_views(views: Iterable[Measured], config: EvaluateConfig, num_clicks: Counts | None = None) -> dict[str, Any]:
    """Merge the slices of several views under their systems, and their differences under ``differences``.

    Args:
        views: Of the same test queries.
        config: Resamples, confidence and seed.
        num_clicks: Clicks of each test query, by which it is weighted; None for all alike.
    """
    merged: Scores = {}
    differences: Scores = {}
    for view in views:
        weight_Q = None if num_clicks is None else num_clicks[view.places].astype(np.float64)
        found = summarise(view.values, view.slices, compared(view.values), config, weight_Q)
        for target, part in zip((merged, differences), found, strict=True):
            for name, slices in part.items():
                target.setdefault(name, {}).update(slices)
    return {**merged, "differences": differences}


def summarise_traffic(view: Measured, num_clicks: Counts, config: EvaluateConfig) -> dict[str, Any]:
    """Return what ``summarise_views`` does for ``TRAFFIC_SLICES`` of a view, each query weighted by its clicks."""
    slices = {name: view.slices[name] for name in TRAFFIC_SLICES}
    return summarise_views([replace(view, slices=slices)], config, num_clicks)


def measure_ann(
    ann: Mapping[str, Ranking],
    exact: Mapping[str, Ranking],
    qrels: Qrels,
    slices: Mapping[str, Mask],
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Return how much of the exact top 50 each index finds, and how good the routed search is with them."""
    measures = {"model": measure_run(ann["model"].rows_QK, qrels, config.cutoffs)}
    result: dict[str, Any] = {"model": summarise(measures, slices, (), config)[0]["model"]}
    for modality, system in EXACT_SYSTEM.items():
        if modality not in ann:
            continue
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


def per_query_table(views: Iterable[Measured], test: ClickTest) -> pa.Table:
    """Return every view's values in long form, as in ``schemas.PER_QUERY``."""
    query_ids, queries = pa.array(test.query_ids), pa.array(test.queries)
    blocks = [PER_QUERY.empty_table()]
    for view in views:
        places = pa.array(view.places)
        for system, of in view.values.items():
            for measure, values in of.items():
                same = [pa.repeat(name, len(values)) for name in (system, view.source, measure)]
                columns = [same[0], same[1], query_ids.take(places), queries.take(places), same[2], pa.array(values)]
                blocks.append(pa.Table.from_arrays(columns, schema=PER_QUERY))
    return pa.concat_tables(blocks)


def slice_table(views: Iterable[Measured], test: ClickTest) -> pa.Table:
    """Return which queries are in which slice, as in ``schemas.SLICES``."""
    query_ids = pa.array(test.query_ids)
    blocks = [
        pa.Table.from_arrays([pa.repeat(name, int(mask.sum())), query_ids.take(pa.array(view.places[mask]))], schema=SLICES)
        for view in views
        for name, mask in view.slices.items()
    ]
    return pa.concat_tables([SLICES.empty_table(), *blocks])
