"""What the page says about a gate that learned utilities, or that looks at items."""

from typing import Any

import pytest

from smar_core.report import gate_charts
from smar_core.report.data import ReportData
from smar_core.report.page import render_report

FIGURES = {
    "num_queries": 3,
    "auc": None,
    "accuracy": None,
    "calibration_error": None,
    "share_multimodal_queries": 1.0,
    "share_multimodal_traffic": 1.0,
    "bins": [{"low": 0.0, "high": 1.0, "num_queries": 3, "mean_probability": None, "mean_label": None}],
}


def page(**gate: Any) -> str:
    report: dict[str, Any] = {"mode": "learned", "threshold": 0.5, "visual_categories": ["Apparel"], "validation": FIGURES}
    return render_report(
        ReportData(
            title="a page", scores={}, gate_report=report | gate, gate_probabilities=[0.2, 0.9], gate_is_visual=[False, True]
        )
    )


@pytest.mark.parametrize(
    ("gate", "said", "unsaid"),
    [
        ({}, "a query is visual as far as its clicks fell on Apparel", "the picture helps a query"),
        ({"supervision": "utility"}, "the picture helps a query as far as", "Apparel"),
        ({"side": "item"}, "whether the item is under Apparel", "P(q) is learned"),
        ({"side": "item", "supervision": "utility"}, "ranks the item for its queries", "Apparel"),
    ],
)
def test_says_what_was_learned(gate: dict[str, str], said: str, unsaid: str) -> None:
    text = page(**gate)
    assert said in text and unsaid not in text


def test_queries_that_both_rankings_serve_equally_have_no_place_on_the_calibration_chart() -> None:
    """The page was not written when every query of a bin was without weight."""
    assert gate_charts.draw_calibration(FIGURES["bins"]) is None
    assert "On the dashed line" not in page(supervision="utility")


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({}, ("mean P(q) of a bin", "visual share of clicks", "3 queries: mean P(q) 0.70", "is the number of queries")),
        ({"supervision": "utility"}, ("mean P(q) of a bin", "share that the picture helps", "is the number of queries")),
        ({"side": "item"}, ("mean P(item) of a bin", "share of visual items", "3 items: mean P(item)", "is the number of items")),
        ({"side": "item", "supervision": "utility"}, ("P(item) means what it says", "share that the picture helps")),
    ],
)
def test_calibration_chart_is_called_by_what_was_learned(gate: dict[str, str], said: tuple[str, ...]) -> None:
    """It spoke of P(q), queries and visual clicks whatever the gate looked at and was taught."""
    filled = FIGURES["bins"][0] | {"mean_probability": 0.7, "mean_label": 0.6}
    text = page(validation=FIGURES | {"bins": [filled]}, **gate)
    figure = text[text.index("Calibration of the gate") :].partition("</figure>")[0]
    assert all(words in figure for words in said)
    assert not ("side" in gate and "P(q)" in figure)
    assert not (gate and "visual share of clicks" in figure)


def test_legend_is_that_of_the_supervision() -> None:
    assert "visual queries" in page() and "visual queries" not in page(supervision="utility")
