"""The gate's labels, calibration, threshold and figures by hand."""

import numpy as np
import pytest

from smar_core.model.gate import calibrate
from smar_core.training.gate_calibration import THRESHOLDS, accuracy_threshold, fit_calibration, recall_threshold
from smar_core.training.gate_labels import ClickedPairs, Labelled, group_labels, rank_pairs, utility_labels
from smar_core.training.gate_report import gate_figures

PAIRS = ClickedPairs(
    query_ids=["q1", "q2", "q3"],
    queries=["dress", "mug", "shirt"],
    split_P=np.array(["train", "train", "train", "train", "test"]),
    query_P=np.array([0, 0, 1, 2, 1]),
    item_P=np.array([4, 1, 1, 4, 0]),
    clicks_P=np.array([3, 1, 5, 2, 1]),
)
IS_VISUAL_P = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
FOUND = group_labels(PAIRS, IS_VISUAL_P, "train", PAIRS.query_P, "category")


def labelled(label: list[float], supervision: str) -> Labelled:
    return Labelled(np.arange(len(label)), np.ones(len(label), dtype=np.int64), np.array(label), supervision)


def test_label_of_a_query_is_the_click_weighted_share() -> None:
    assert FOUND.row_G.tolist() == [0, 1, 2]
    assert FOUND.label_G.tolist() == [0.75, 0.0, 1.0]
    assert FOUND.is_positive.tolist() == [True, False, True]
    assert FOUND.clicks_G.tolist() == [4, 5, 2]


def test_label_of_an_item_is_that_of_its_clicks() -> None:
    found = group_labels(PAIRS, np.array([0.9, 0.2, 0.8, 0.4, 0.0]), "train", PAIRS.item_P, "utility")
    assert found.row_G.tolist() == [1, 4]
    assert found.label_G == pytest.approx([(0.2 + 5 * 0.8) / 6, (3 * 0.9 + 2 * 0.4) / 5])
    assert found.clicks_G.tolist() == [6, 5]


def test_no_clicks_no_labels() -> None:
    assert len(group_labels(PAIRS, IS_VISUAL_P, "validation", PAIRS.query_P, "category").row_G) == 0


def test_ranks_share_ties() -> None:
    query_QD = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    item_ND = np.array([[0.6, 0.8], [0.8, 0.6], [0.6, 0.8]], dtype=np.float32)
    query_P, item_P = np.array([1, 0, 0, 1]), np.array([1, 2, 1, 2])
    assert rank_pairs(query_QD, item_ND, query_P, item_P).tolist() == [3.0, 2.5, 1.0, 1.5]


def test_ranks_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    query_QD, item_ND = (rng.integers(-3, 4, size=(n, 4)).astype(np.float32) for n in (7, 30))
    query_P, item_P = np.repeat(np.arange(7), 3), rng.integers(30, size=21)
    whole = rank_pairs(query_QD, item_ND, query_P, item_P)
    scores = [item_ND @ query_QD[query] for query in query_P]
    naive = [0.5 + (of > of[i]).sum() + (of == of[i]).sum() / 2 for of, i in zip(scores, item_P, strict=True)]
    assert whole.tolist() == naive
    monkeypatch.setattr("smar_core.training.gate_labels.MAX_SCORES_IN_MEMORY", 60)
    assert rank_pairs(query_QD, item_ND, query_P, item_P).tolist() == naive


def test_utility_is_even_at_ties_and_symmetric() -> None:
    text_P, multimodal_P = np.array([50, 1, 100, 9]), np.array([1, 50, 100, 3])
    label_P = utility_labels(text_P, multimodal_P)
    assert label_P[0] == pytest.approx(0.5 + 0.5 * (1 / (1 + 0.02**4) - 0.5))
    assert label_P[0] + label_P[1] == pytest.approx(1.0)
    assert label_P[2] == 0.5 < label_P[3] < 0.51


def test_utility_weighs_by_the_difference() -> None:
    found = labelled([0.5, 0.9, 0.25], "utility")
    assert found.weight == pytest.approx([0.0, 0.8, 0.5])
    assert found.target.tolist() == [0.0, 1.0, 0.0]
    assert found.has_both_classes and not labelled([0.5, 0.9], "utility").has_both_classes


def test_calibrated_utility_is_the_share_that_speaks_for_the_picture() -> None:
    """An uninformative logit: P is the positive share of all differences, 0.6 of 0.8, though most queries are negative."""
    found = labelled([0.8] * 50 + [0.45] * 100, "utility")
    scale, shift = fit_calibration(np.tile([0.01, 0.03], 75), found)
    p = 1 / (1 + np.exp(-(scale * 0.02 + shift)))
    assert p == pytest.approx(30 / 40, abs=0.01)


def test_calibrated_category_is_the_share_of_clicks_on_visual_items() -> None:
    """Half of the queries have 60% of their clicks on visual items and half none: P is .6 and 0, not 1 and 0."""
    labels, logit_G = [0.6, 0.0] * 100, np.tile([2.0, -4.0], 100)
    scale, shift = fit_calibration(logit_G, labelled(labels, "category"))
    assert calibrate(logit_G[:2], scale, shift) == pytest.approx([0.6, 0.0], abs=0.03)


def test_one_class_is_not_calibrated() -> None:
    assert fit_calibration(np.array([1.0, 2.0]), labelled([1.0, 0.9], "category")) == (1.0, 0.0)


def test_figures_by_hand() -> None:
    figures = gate_figures(FOUND, np.array([0.9, 0.2, 0.4]), 0.5, 10)
    assert figures["auc"] == 1.0
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["share_multimodal_queries"] == pytest.approx(1 / 3)
    assert figures["share_multimodal_traffic"] == pytest.approx(4 / 11)
    assert figures["calibration_error"] == pytest.approx((0.15 + 0.2 + 0.6) / 3)
    assert [b["num_queries"] for b in figures["bins"]] == [0, 0, 1, 0, 1, 0, 0, 0, 0, 1]


def test_utility_figures_by_hand() -> None:
    figures = gate_figures(labelled([0.5, 0.9, 0.4], "utility"), np.array([0.1, 0.7, 0.8]), 0.5, 2)
    assert (figures["num_queries"], figures["auc"], figures["accuracy"]) == (3, 0.0, pytest.approx(0.8))
    assert figures["calibration_error"] == pytest.approx(0.8 - (0.8 * 0.7 + 0.2 * 0.8))
    assert figures["bins"][0]["num_queries"] == 1 and figures["bins"][0]["mean_label"] is None


def test_probability_one_falls_into_the_last_bin() -> None:
    assert gate_figures(FOUND, np.ones(3), 0.5, 4)["bins"][-1]["num_queries"] == 3


def test_one_class_has_no_auc() -> None:
    assert gate_figures(labelled([1.0], "category"), np.array([0.3]), 0.5, 2)["auc"] is None


def test_no_queries_have_no_figures() -> None:
    figures = gate_figures(labelled([], "category"), np.empty(0), 0.5, 2)
    assert (figures["num_queries"], figures["accuracy"]) == (0, None)


def test_threshold_separates_and_prefers_the_middle() -> None:
    assert accuracy_threshold(np.array([0.55, 0.6, 0.9]), np.array([False, False, True])) == pytest.approx(0.75)
    assert accuracy_threshold(np.array([0.2, 0.7]), np.array([False, True])) == 0.5


def test_recall_threshold_leaves_the_middle_only_for_more_than_noise() -> None:
    probability_Q = np.full(100, 0.3)
    helped = np.where(probability_Q >= THRESHOLDS[:, None], 1.0, 0.0)
    assert recall_threshold(helped) == 0.3
    once = np.where((np.arange(100) == 0) & (probability_Q >= THRESHOLDS[:, None]), 1.0, 0.0)
    assert recall_threshold(once) == 0.5
