"""Routings compared, on eight queries whose values are worked out by hand."""

import numpy as np
import pytest

from smar_core.config import EvaluateConfig
from smar_core.evaluation.routing import NUM_THRESHOLDS, measure_routing, sweep_thresholds, utility_auc
from tests.smar_core.evaluation.measure_names import measure_names

CONFIG = EvaluateConfig(num_bootstrap_samples=200)

P = np.array([0.95, 0.9, 0.85, 0.6, 0.4, 0.2, 0.1, 0.05])
MULTIMODAL = np.array([1.0, 1.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.5])
TEXT = np.array([0.0, 0.5, 0.5, 1.0, 0.0, 0.5, 0.5, 1.0])
IS_FASHION = np.arange(8) < 4
SLICES = {"overall": np.ones(8, dtype=bool), "fashion": IS_FASHION, "not_fashion": ~IS_FASHION, "seen_query": IS_FASHION}


def routing() -> dict:
    def of(recall: np.ndarray) -> dict[str, np.ndarray]:
        return dict.fromkeys(measure_names(CONFIG.cutoffs), recall / 2) | {"R@50": recall}

    return measure_routing(P, P >= 0.5, {"multimodal": of(MULTIMODAL), "text": of(TEXT)}, SLICES, 0.5, CONFIG)


def test_each_policy_takes_its_ranking() -> None:
    policies = routing()["policies"]
    overall = {policy: of["overall"]["R@50"]["value"] for policy, of in policies.items()}
    assert overall == {
        "routed": pytest.approx((1 + 1 + 0.5 + 0 + 0 + 0.5 + 0.5 + 1) / 8),
        "always_text": pytest.approx(TEXT.mean()),
        "always_multimodal": pytest.approx(MULTIMODAL.mean()),
        "oracle": pytest.approx((1 + 1 + 0.5 + 1 + 1 + 0.5 + 0.5 + 1) / 8),
    }
    assert set(policies["oracle"]) == {"overall", "fashion", "not_fashion"}
    assert policies["oracle"]["fashion"]["R@10"]["value"] == pytest.approx((1 + 1 + 0.5 + 1) / 8)  # that of the chosen ranking


def test_differences_are_those_of_the_routed_search_to_the_others() -> None:
    differences = routing()["differences"]
    assert set(differences) == {"routed - always_text", "routed - always_multimodal", "routed - oracle"}
    oracle = differences["routed - oracle"]["overall"]["R@50"]
    assert oracle["value"] == pytest.approx(-2 / 8) and oracle["low"] <= oracle["value"] <= oracle["high"] <= 0


def test_the_curve_runs_from_always_multimodal_over_the_routed_search_to_always_text() -> None:
    curve = {point["threshold"]: point for point in sweep_thresholds(P, MULTIMODAL, TEXT, CONFIG)}
    assert len(curve) == NUM_THRESHOLDS
    assert curve[0.0]["value"] == pytest.approx(MULTIMODAL.mean()) and curve[0.0]["share_multimodal"] == 1.0
    assert curve[0.5]["value"] == pytest.approx(routing()["policies"]["routed"]["overall"]["R@50"]["value"])
    assert curve[0.5]["share_multimodal"] == 0.5
    assert curve[1.0]["value"] == pytest.approx(TEXT.mean()) and curve[1.0]["share_multimodal"] == 0.0
    assert all(point["low"] <= point["value"] <= point["high"] for point in curve.values())


def test_utility_asks_who_is_better_not_who_is_fashion() -> None:
    """Better by picture: P .95, .9, .4; better by text: .6, .2, .05. Of 9 pairs, .4 against .6 alone is out of order."""
    utility = utility_auc(P, MULTIMODAL - TEXT, CONFIG)
    assert utility["auc"]["value"] == pytest.approx(8 / 9)
    assert 0.0 <= utility["auc"]["low"] <= 8 / 9 <= utility["auc"]["high"] <= 1.0
    assert {name: utility[name] for name in utility if name != "auc"} == {
        "num_multimodal_better": 3,
        "num_text_better": 3,
        "num_equal": 2,
    }


def test_without_both_kinds_of_queries_there_is_no_auc() -> None:
    utility = utility_auc(P, np.maximum(MULTIMODAL - TEXT, 0.0), CONFIG)
    assert utility["auc"] is None and utility["num_text_better"] == 0 and utility["num_equal"] == 5
