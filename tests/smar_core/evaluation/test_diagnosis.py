"""Which ranking is measured as which, on two indexes whose first fifty items have none in common."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smar_core.config import EvaluateConfig
from smar_core.evaluation.click_views import measure_clicks
from smar_core.evaluation.diagnosis import diagnose
from smar_core.evaluation.measures import Qrels
from smar_core.evaluation.systems import EncodedTest, route
from smar_core.evaluation.testset import load_click_test
from smar_core.progress import SILENT
from smar_core.retrieval.bundle import CPU, Bundle
from smar_core.retrieval.exact import Ranking

CONFIG = EvaluateConfig(num_bootstrap_samples=20, reliance="skipped")
CLICKED = ((0, 1), (5, 119), (117, 118), (60, 110))
"""Rows of 120 that were clicked for each query: the multimodal index ranks them from the first, the text index from the last."""


def ranking(rows: np.ndarray) -> Ranking:
    rows_QK = np.tile(rows[: max(CONFIG.cutoffs)], (len(CLICKED), 1)).astype(np.int32)
    return Ranking(rows_QK, np.zeros(rows_QK.shape, dtype=np.float32))


@pytest.fixture(scope="module")
def found(finished_run) -> dict[str, Any]:
    """The gate sends all but the third query to the pictures, which serve the first alone better."""
    bundle = Bundle.open(finished_run.bundle.path)
    queries, rows = zip(*((query, row) for query, of_query in enumerate(CLICKED) for row in of_query), strict=True)
    qrels = Qrels.build(len(CLICKED), queries, rows, np.ones(len(rows)))
    test = replace(load_click_test(finished_run.clicks, bundle.item_ids, "test"), qrels=qrels)
    probabilities_Q, nothing_QD = np.array([0.9, 0.8, 0.1, 0.7]), np.zeros((len(CLICKED), 1), dtype=np.float32)
    encoded = EncodedTest(nothing_QD, nothing_QD, None, probabilities_Q, bundle.gate, (probabilities_Q >= 0.5).astype(np.int64))
    rankings = {"text_only": ranking(np.arange(120)[::-1]), "multimodal": ranking(np.arange(120))}
    rankings["model"] = route(list(rankings.values()), encoded.route)
    slices = {"overall": np.ones(4, dtype=bool), "fashion": np.arange(4) < 2, "not_fashion": np.arange(4) >= 2}
    view = measure_clicks(test, rankings, slices, CONFIG)
    return diagnose(
        test,
        encoded,
        rankings,
        view,
        0.5,
        finetuned=finished_run.finetuned,
        items=finished_run.items,
        config=CONFIG,
        device=CPU,
        progress=SILENT,
    )


def test_each_policy_is_that_of_its_index(found: dict[str, Any]) -> None:
    """R@50 by query: multimodal 1, 1/2, 0, 0; text 0, 1/2, 1, 1/2."""
    values = {policy: of["overall"]["R@50"]["value"] for policy, of in found["gate"]["policies"].items()}
    assert values == {"routed": 0.625, "always_text": 0.5, "always_multimodal": 0.375, "oracle": 0.75}
    fashion = {policy: of["fashion"]["R@50"]["value"] for policy, of in found["gate"]["policies"].items()}
    assert fashion == {"routed": 0.75, "always_text": 0.25, "always_multimodal": 0.75, "oracle": 0.75}


def test_thresholds_and_utility_are_of_the_same_indexes(found: dict[str, Any]) -> None:
    curve = found["gate"]["curve"]
    assert (curve[0]["value"], curve[-1]["value"]) == (0.375, 0.5)
    utility = found["gate"]["utility"]
    assert (utility["num_multimodal_better"], utility["num_text_better"], utility["num_equal"]) == (1, 2, 1)


def test_exclusive_matches_are_of_their_index(found: dict[str, Any]) -> None:
    """Row 60 is beyond the first fifty of both."""
    counts = {"num_pairs": 8, "num_multimodal_only": 3, "num_text_only": 4, "num_both": 0, "num_neither": 1}
    assert found["exclusive"]["overall"] == counts
