"""Charts of training, data and scores; ``gate_charts`` has those of the gate, ``geometry`` what they are made of."""

import datetime
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smar_core.report.geometry import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Bar,
    BarChart,
    Line,
    LineChart,
    Tick,
    along,
    format_tick,
    nice_ticks,
    up,
    y_ticks,
)

MAX_POINTS = 150

ROW_HEIGHT = 44
WHISKER_DISTANCE = 13
ROW_LABEL_WIDTH = 118
STRIP_WIDTH = 840


@dataclass(frozen=True)
class Whisker:
    """A value with its interval on a row."""

    x: float
    low: float
    high: float
    y: float
    style: str
    tip: str


@dataclass(frozen=True)
class IntervalChart:
    """Systems' values with intervals, a row a slice."""

    rows: tuple[tuple[float, str, str], ...]  # y, label, smaller label
    legend: tuple[tuple[str, str], ...]  # style, label
    whiskers: tuple[Whisker, ...]
    x_ticks: tuple[Tick, ...]
    height: float


@dataclass(frozen=True)
class Span:
    """A stretch of the time line."""

    x: float
    width: float
    style: str
    label: str
    tip: str


def draw_lines(
    title: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    styles: Mapping[str, str],
    kept_step: int | None = None,
) -> LineChart | None:
    """Lay out values over optimiser steps.

    Args:
        title: Of the chart.
        y_label: What the values are.
        series: Points (step, value) of each line by its label; values that are not finite are left out.
        styles: CSS class by label; "total" for others.
        kept_step: Step to mark as the checkpoint that was kept.

    Returns:
        The chart, or None when there is no point after step 0.
    """
    finite = {label: [p for p in points if math.isfinite(p[1])] for label, points in series.items()}
    x_end = max((step for points in finite.values() for step, _ in points), default=0.0)
    if not x_end:
        return None
    finite = {label: _thin(points) for label, points in finite.items() if points}
    values = [value for points in finite.values() for _, value in points]
    x_values, y_values = nice_ticks(0, x_end, 4), nice_ticks(min(values), max(values))

    def place(step: float, value: float) -> tuple[float, float]:
        return along(step, 0, x_end), up(value, y_values)

    lines = []
    for label, points in finite.items():
        places = [place(*point) for point in points]
        marks: tuple[tuple[float, float, str], ...] = ()
        if len(points) <= 24:
            marks = tuple(
                (*p, f"{label}, step {step:,.0f}: {value:.3f}") for p, (step, value) in zip(places, points, strict=True)
            )
        lines.append(Line(label, styles.get(label, "total"), " ".join(f"{x:.1f},{y:.1f}" for x, y in places), marks))
    return LineChart(
        title,
        "optimiser step",
        y_label,
        tuple(lines),
        tuple(Tick(along(x, 0, x_end), format_tick(x)) for x in x_values if x <= x_end),
        y_ticks(y_values),
        None if kept_step is None else Tick(along(min(kept_step, x_end), 0, x_end), f"kept: step {kept_step:,}"),
    )


def draw_lengths(true: Mapping[str, float], synthetic: Mapping[str, float]) -> BarChart | None:
    """Lay out the share of queries by their number of words, true beside synthetic; None when there is neither."""
    words = sorted({int(length) for length in (*true, *synthetic)})
    if not words:
        return None
    longest = min(max(words), 10)
    shares = {
        style: [_share_of_length(histogram, length, longest) for length in range(1, longest + 1)]
        for style, histogram in (("other", true), ("visual", synthetic))
    }
    y_values = nice_ticks(0, max(max(column) for column in shares.values()), 4)
    labels = {"other": "true queries", "visual": "synthetic queries"}
    names = [str(length) for length in range(1, longest + 1)]
    if max(words) > longest:
        names[-1] += "+"
    slot = (WIDTH - RIGHT - LEFT) / longest
    bars = []
    for length in range(1, longest + 1):
        for place, style in enumerate(("other", "visual")):
            share = shares[style][length - 1]
            y = up(share, y_values)
            x = LEFT + slot * (length - 1) + slot * (0.08 + 0.44 * place)
            bars.append(
                Bar(
                    x, y, slot * 0.4, HEIGHT - BOTTOM - y, style, f"{share:.1%} of {labels[style]} have {names[length - 1]} words"
                )
            )
    return BarChart(
        "Length of queries",
        "words",
        "share of queries",
        tuple(bars),
        tuple(Tick(LEFT + slot * (n + 0.5), name) for n, name in enumerate(names)),
        y_ticks(y_values),
        None,
        tuple(labels.items()),
    )


def draw_intervals(
    rows: Sequence[tuple[str, str, Sequence[tuple[str, str, Mapping[str, float]]]]],
) -> IntervalChart | None:
    """Lay out values with intervals, a row a slice.

    Args:
        rows: Of each: label, smaller label, and (style, name, {"value", "low", "high"}) of each system.

    Returns:
        The chart, or None without rows.
    """
    cells = [cell for _, _, systems in rows for _, _, cell in systems]
    if not cells:
        return None
    values = nice_ticks(min(c["low"] for c in cells), max(c["high"] for c in cells), 4)

    def across(value: float) -> float:
        share = (value - values[0]) / (values[-1] - values[0])
        return ROW_LABEL_WIDTH + share * (WIDTH - RIGHT - 8 - ROW_LABEL_WIDTH)

    row_height = max(ROW_HEIGHT, WHISKER_DISTANCE * max(len(systems) for _, _, systems in rows) + 12)
    labels, whiskers = [], []
    legend = dict.fromkeys((style, name) for _, _, systems in rows for style, name, _ in systems)
    for number, (label, small, systems) in enumerate(rows):
        middle = TOP + row_height * (number + 0.5)
        labels.append((middle, label, small))
        for place, (style, name, cell) in enumerate(systems):
            y = middle + WHISKER_DISTANCE * (place - (len(systems) - 1) / 2)
            tip = f"{label}, {name}: {cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"
            whiskers.append(Whisker(across(cell["value"]), across(cell["low"]), across(cell["high"]), y, style, tip))
    ticks = tuple(Tick(across(value), format_tick(value)) for value in values)
    return IntervalChart(tuple(labels), tuple(legend), tuple(whiskers), ticks, TOP + row_height * len(rows) + BOTTOM)


def draw_time_line(spans: Mapping[str, tuple[str, str]]) -> tuple[Span, ...]:
    """Lay out spans of time beside each other on a strip ``STRIP_WIDTH`` wide.

    Args:
        spans: Start and end in ISO 8601 by name, which is also the CSS class.
    """
    times = {name: (_seconds(start), _seconds(end)) for name, (start, end) in spans.items()}
    if not times:
        return ()
    first, last = min(start for start, _ in times.values()), max(end for _, end in times.values())
    scale = STRIP_WIDTH / max(last - first, 1.0)
    return tuple(
        Span(
            (start - first) * scale,
            max((end - start) * scale, 2.0),
            name,
            name,
            f"{name}: {spans[name][0][:10]} to {spans[name][1][:10]}",
        )
        for name, (start, end) in times.items()
    )


def _seconds(iso: str) -> float:
    moment = datetime.datetime.fromisoformat(iso)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most ``MAX_POINTS`` points, each the mean of its neighbours: enough to see, and it smooths the noise."""
    if len(points) <= MAX_POINTS:
        return list(points)
    edges = [round(n * len(points) / MAX_POINTS) for n in range(MAX_POINTS + 1)]
    groups = [points[start:end] for start, end in itertools.pairwise(edges)]
    return [(sum(s for s, _ in group) / len(group), sum(v for _, v in group) / len(group)) for group in groups]


def _share_of_length(histogram: Mapping[str, float], length: int, longest: int) -> float:
    """Return the share of queries with that many words; the last bar takes all longer ones."""
    return sum(share for words, share in histogram.items() if min(int(words), longest) == length)
