"""Views on the clicks of the evaluated days: all of them, and what of them training had or had not seen."""

from collections.abc import Mapping, Sequence

import numpy as np

from smar_core.artifact import Artifact
from smar_core.config import EvaluateConfig
from smar_core.evaluation.distinctiveness import CLASSES, classify_pictures
from smar_core.evaluation.measures import measure_run
from smar_core.evaluation.slices import (
    Mask,
    category_slices,
    length_slices,
    picture_slices,
    query_slices,
    traffic_slices,
    visual_items,
)
from smar_core.evaluation.systems import EncodedTest, rank_systems
from smar_core.evaluation.testset import ClickTest, drop_trained
from smar_core.evaluation.views import Measured
from smar_core.model.pictures import PictureStore
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import Ranking, Rows


def classify_relevant(test: ClickTest, bundle: Bundle, items: Artifact) -> np.ndarray:
    """Return the class of each catalogue row's picture [N] (``distinctiveness.CLASSES``); rows never relevant are ``none``."""
    table = items.read_table("items", ["item_id", "title"])
    place_of_item = {item_id: place for place, item_id in enumerate(table["item_id"].to_pylist())}
    relevant = np.unique(test.qrels.row_E)
    places = np.array([place_of_item[bundle.item_ids[row]] for row in relevant.tolist()], dtype=np.int64)
    class_N = np.full(len(bundle.item_ids), CLASSES.index("none"), dtype=np.int8)
    class_N[relevant] = classify_pictures(PictureStore.open(items), table["title"].to_pylist(), places)
    return class_N


def click_slices(test: ClickTest, bundle: Bundle, picture_class_N: np.ndarray, config: EvaluateConfig) -> dict[str, Mask]:
    """Return every slice of the test queries, as ``slices`` describes them.

    Args:
        test: The test queries.
        bundle: Knows the items' categories and which of them are visual.
        picture_class_N: What ``classify_relevant`` returned.
        config: The least queries of a category.
    """
    is_visual_N = visual_items(bundle.categories, bundle.gate.visual_categories)
    return (
        query_slices(test.qrels, is_visual_N, test.is_seen_query)
        | traffic_slices(test.num_train_clicks, test.every_train_clicks)
        | length_slices(test.queries)
        | category_slices(test.qrels, bundle.categories, config.min_slice_queries)
        | picture_slices(test.qrels, picture_class_N)
    )


def measure_clicks(
    test: ClickTest, rankings: Mapping[str, Ranking], slices: Mapping[str, Mask], config: EvaluateConfig
) -> Measured:
    """Measure rankings against the clicks of the evaluated days."""
    return Measured(
        source="clicks",
        places=np.arange(len(test.queries)),
        slices=slices,
        values={system: measure_run(ranking.rows_QK, test.qrels, config.cutoffs) for system, ranking in rankings.items()},
    )


def measure_pairs(bundle: Bundle, encoded: EncodedTest, test: ClickTest, config: EvaluateConfig) -> list[Measured]:
    """Measure pairs, unseen items and seen items, the latter two for seen and unseen queries apart as well.

    Each is a search of its own, in which the items that are not meant can take no place.
    """
    never_trained = np.setdiff1d(np.arange(len(bundle.item_ids), dtype=np.int32), test.trained_anywhere)
    excluded_of = {
        "unseen_pair": test.trained_rows,
        "unseen_item": [test.trained_anywhere] * len(test.queries),
        "seen_item": [never_trained] * len(test.queries),
    }
    return [_measure_without(name, excluded, bundle, encoded, test, config) for name, excluded in excluded_of.items()]


def _measure_without(
    slice_name: str, excluded: Sequence[Rows], bundle: Bundle, encoded: EncodedTest, test: ClickTest, config: EvaluateConfig
) -> Measured:
    """Measure rankings without the excluded rows against relevant items without them."""
    rankings = rank_systems(bundle, encoded, test, max(config.cutoffs), excluded)
    remaining = drop_trained(test.qrels, excluded)
    places = np.flatnonzero(remaining.num_relevant)
    qrels = remaining.select(places)
    slices = {slice_name: np.ones(len(places), dtype=bool)}
    if slice_name.endswith("_item"):
        is_seen = test.is_seen_query[places]
        slices |= {f"seen_query_{slice_name}": is_seen, f"unseen_query_{slice_name}": ~is_seen}
    return Measured(
        source=f"clicks_{slice_name}s",
        places=places,
        slices=slices,
        values={system: measure_run(ranking.rows_QK[places], qrels, config.cutoffs) for system, ranking in rankings.items()},
    )
