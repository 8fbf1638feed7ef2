"""The gate's label, calibration, threshold and figures by hand."""

import numpy as np
import pytest

from smar_core.training.gate import LabelledQueries, best_threshold, gate_figures

FOUND = LabelledQueries(
    {
        ("q1", "dress"): [(3, True), (1, False)],
        ("q2", "mug"): [(5, False)],
        ("q3", "shirt"): [(2, True)],
    }
)


def test_label_is_the_click_weighted_share() -> None:
    assert FOUND.label.tolist() == [0.75, 0.0, 1.0]
    assert FOUND.is_visual.tolist() == [True, False, True]
    assert FOUND.num_clicks.tolist() == [4, 5, 2]


def test_figures_by_hand() -> None:
    figures = gate_figures(FOUND, np.array([0.9, 0.2, 0.4]), 0.5, 10)
    assert figures["auc"] == 1.0
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["share_multimodal_queries"] == pytest.approx(1 / 3)
    assert figures["share_multimodal_traffic"] == pytest.approx(4 / 11)
    assert figures["calibration_error"] == pytest.approx((0.15 + 0.2 + 0.6) / 3)
    assert [b["num_queries"] for b in figures["bins"]] == [0, 0, 1, 0, 1, 0, 0, 0, 0, 1]


def test_probability_one_falls_into_the_last_bin() -> None:
    assert gate_figures(FOUND, np.ones(3), 0.5, 4)["bins"][-1]["num_queries"] == 3


def test_one_class_has_no_auc() -> None:
    only = LabelledQueries({("q1", "dress"): [(1, True)]})
    assert gate_figures(only, np.array([0.3]), 0.5, 2)["auc"] is None


def test_no_queries_have_no_figures() -> None:
    figures = gate_figures(LabelledQueries({}), np.empty(0), 0.5, 2)
    assert (figures["num_queries"], figures["accuracy"]) == (0, None)


def test_threshold_separates_and_prefers_the_middle() -> None:
    assert best_threshold(np.array([0.55, 0.6, 0.9]), np.array([False, False, True])) == pytest.approx(0.75)
    assert best_threshold(np.array([0.2, 0.7]), np.array([False, True])) == 0.5
