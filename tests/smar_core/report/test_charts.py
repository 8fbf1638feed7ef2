"""Geometry of the charts, against places worked out by hand."""

import math

from hypothesis import given
from hypothesis import strategies as st

from smar_core.report import charts, gate_charts, geometry


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_cover_the_range_and_are_few(low: float, width: float) -> None:
    ticks = geometry.nice_ticks(low, low + width)
    slack = 1e-6 * max(1.0, abs(low), width)
    assert ticks[0] <= low + slack and ticks[-1] >= low + width - slack
    assert 2 <= len(ticks) <= 8
    assert list(ticks) == sorted(set(ticks))


def test_a_line_spans_the_plot_from_corner_to_corner() -> None:
    chart = charts.draw_lines("t", "y", {"text": [(0, 0.0), (100, 1.0)]}, {"text": "text"}, kept_step=50)
    assert chart is not None
    left, right = geometry.LEFT, geometry.WIDTH - geometry.RIGHT
    assert chart.lines[0].path == f"{left:.1f},{geometry.HEIGHT - geometry.BOTTOM:.1f} {right:.1f},{geometry.TOP:.1f}"
    assert chart.rule is not None and chart.rule.place == (left + right) / 2


def test_points_that_are_not_finite_are_left_out() -> None:
    assert charts.draw_lines("t", "y", {"text": [(1, math.nan)]}, {"text": "text"}) is None
    chart = charts.draw_lines("t", "y", {"text": [(1, math.inf), (2, 0.5)]}, {"text": "text"})
    assert chart is not None and len(chart.lines[0].marks) == 1


def test_long_lines_are_thinned_to_means() -> None:
    points = [(float(step), float(step % 2)) for step in range(1, 1501)]
    chart = charts.draw_lines("t", "y", {"text": points}, {"text": "text"})
    assert chart is not None
    assert len(chart.lines[0].path.split()) == charts.MAX_POINTS
    assert chart.lines[0].marks == ()


def test_probabilities_fall_into_their_bins() -> None:
    chart = gate_charts.draw_probabilities([0.0, 0.05, 0.55, 1.0], [False, True, True, True], 0.5)
    assert chart is not None
    tips = [bar.tip for bar in chart.bars if not bar.tip.startswith("0 ")]
    assert tips == [
        "1 visual queries with P(q) from 0.0 to 0.1",
        "1 other queries with P(q) from 0.0 to 0.1",
        "1 visual queries with P(q) from 0.5 to 0.6",
        "1 visual queries with P(q) from 0.9 to 1.0",
    ]
    assert gate_charts.draw_probabilities([], [], 0.5) is None


def test_lengths_above_ten_share_the_last_bar() -> None:
    chart = charts.draw_lengths({"1": 0.5, "11": 0.3, "12": 0.2}, {"2": 1.0})
    assert chart is not None
    assert chart.x_ticks[-1].label == "10+"
    assert chart.bars[-2].tip == "50.0% of true queries have 10+ words"


def test_calibration_leaves_empty_bins_out() -> None:
    full = {"num_queries": 4, "mean_probability": 0.5, "mean_label": 1.0}
    chart = gate_charts.draw_calibration([full, full | {"num_queries": 0}])
    assert chart is not None and len(chart.circles) == 1
    x, y, radius, _ = chart.circles[0]
    assert (x, y, radius) == ((geometry.LEFT + geometry.WIDTH - geometry.RIGHT) / 2, geometry.TOP, 16)
    assert gate_charts.draw_calibration([full | {"num_queries": 0}]) is None


def test_time_line_is_to_scale() -> None:
    spans = charts.draw_time_line(
        {"train": ("2025-03-01T00:00:00+00:00", "2025-03-04T00:00:00+00:00"), "test": ("2025-03-04", "2025-03-05")}
    )
    assert [(span.x, span.width) for span in spans] == [
        (0, charts.STRIP_WIDTH * 0.75),
        (charts.STRIP_WIDTH * 0.75, charts.STRIP_WIDTH * 0.25),
    ]
    assert charts.draw_time_line({}) == ()


def test_the_chosen_threshold_stands_on_its_curve_and_the_oracle_above_it() -> None:
    curve = [
        {"threshold": n / 2, "share_multimodal": 1 - n / 2, "value": v, "low": v, "high": v}
        for n, v in enumerate((0.5, 0.6, 0.4))
    ]
    chart = gate_charts.draw_thresholds(curve, 0.5, 0.8, "R@50")
    assert chart is not None and chart.rule is not None
    middle, oracle = chart.lines[0].path.split()[1], chart.lines[1].path.split()
    assert chart.rule.place == float(middle.split(",")[0]) == (geometry.LEFT + geometry.WIDTH - geometry.RIGHT) / 2
    assert {point.split(",")[1] for point in oracle} == {f"{geometry.TOP:.1f}"}  # 0.8 is the last tick
    assert chart.band.split() == chart.lines[0].path.split() + chart.lines[0].path.split()[::-1]
    assert gate_charts.draw_thresholds([], 0.5, None, "R@50") is None


def test_rows_grow_with_the_systems_in_them() -> None:
    cell = {"value": 0.5, "low": 0.4, "high": 0.6}
    systems = [(f"style-{n}", f"system {n}", cell) for n in range(4)]
    two, four = (charts.draw_intervals([("row", "", systems[:n])]) for n in (2, 4))
    assert two is not None and four is not None and four.height > two.height
    assert four.legend == tuple((style, name) for style, name, _ in systems)
    assert [whisker.y for whisker in four.whiskers] == sorted(whisker.y for whisker in four.whiskers)
