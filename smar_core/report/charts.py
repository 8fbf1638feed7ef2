"""Geometry of the report's charts: from numbers to places in a picture; the templates only draw what is computed here.

Charts are SVG of our own instead of a plot package's: the page stays one small file, follows the reader's light or dark
scheme, prints sharp, and the container image needs no plotting stack. Every chart is ``WIDTH`` units wide, which is about
what a phone shows in full, so that its text needs no zooming. Left out: interaction, beyond tool tips that the browser
makes from ``<title>``.
"""

import datetime
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 16, 44
MAX_POINTS = 150

ROW_HEIGHT = 44
ROW_LABEL_WIDTH = 118
STRIP_WIDTH = 840


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        label: In the legend.
        style: CSS class that sets colour and dashes.
        path: Points for an SVG polyline.
        marks: Place and tool tip of each point; empty where they would be too many to see.
    """

    label: str
    style: str
    path: str
    marks: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class LineChart:
    """Values over steps."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    rule: Tick | None  # a vertical line: the step that was kept


@dataclass(frozen=True)
class Bar:
    """A rectangle with a tool tip."""

    x: float
    y: float
    width: float
    height: float
    style: str
    tip: str


@dataclass(frozen=True)
class BarChart:
    """Bars side by side in bins."""

    title: str
    x_label: str
    y_label: str
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    rule: Tick | None
    legend: tuple[tuple[str, str], ...]  # style, label


@dataclass(frozen=True)
class CalibrationChart:
    """What was foretold against what came, a circle a bin, its area by the number of queries."""

    circles: tuple[tuple[float, float, float, str], ...]  # x, y, radius, tool tip
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    diagonal: tuple[float, float, float, float]


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
    """Two systems' values with intervals, a row a slice."""

    rows: tuple[tuple[float, str, str], ...]  # y, label, smaller label
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


def nice_ticks(low: float, high: float, num_wanted: int = 5) -> tuple[float, ...]:
    """Return round numbers, steps of 1, 2 or 5 times a power of ten, that cover low to high.

    >>> nice_ticks(0.0, 1.0)
    (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    >>> nice_ticks(3.0, 3.0)
    (3.0, 4.0)
    """
    if not high > low:
        high = low + 1.0
        num_wanted = 1
    rough = (high - low) / num_wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(number * step, 12) for number in range(first, last + 1))


def format_tick(value: float) -> str:
    """Return a short label of an axis value.

    >>> [format_tick(v) for v in (0.30000000000000004, 20.0, 15000.0)]
    ['0.3', '20', '15,000']
    """
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"


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
        return _along(step, 0, x_end), _up(value, y_values)

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
        tuple(Tick(_along(x, 0, x_end), format_tick(x)) for x in x_values if x <= x_end),
        _y_ticks(y_values),
        None if kept_step is None else Tick(_along(min(kept_step, x_end), 0, x_end), f"kept: step {kept_step:,}"),
    )


def draw_probabilities(
    probabilities: Sequence[float], is_visual: Sequence[bool], threshold: float, num_bins: int = 10
) -> BarChart | None:
    """Lay out how many queries have which P(q), visual ones beside the others; None when there is no query."""
    if not probabilities:
        return None
    counts = {True: [0] * num_bins, False: [0] * num_bins}
    for probability, visual in zip(probabilities, is_visual, strict=True):
        counts[bool(visual)][min(int(probability * num_bins), num_bins - 1)] += 1
    y_values = nice_ticks(0, max(*counts[True], *counts[False]), 4)
    labels = {True: "visual queries", False: "other queries"}
    bars = []
    for bin_ in range(num_bins):
        low, high = bin_ / num_bins, (bin_ + 1) / num_bins
        left, width = _along(low, 0, 1), (_along(high, 0, 1) - _along(low, 0, 1)) * 0.42
        for visual in (True, False):
            count = counts[visual][bin_]
            x = left + width * (0.15 if visual else 1.2)
            y = _up(count, y_values)
            tip = f"{count:,} {labels[visual]} with P(q) from {low:.1f} to {high:.1f}"
            bars.append(Bar(x, y, width, HEIGHT - BOTTOM - y, "visual" if visual else "other", tip))
    return BarChart(
        "What the gate says",
        "P(q): does the picture help?",
        "validation queries",
        tuple(bars),
        _share_ticks_along(),
        _y_ticks(y_values),
        Tick(_along(threshold, 0, 1), f"threshold {threshold:.2f}"),
        (("visual", labels[True]), ("other", labels[False])),
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
            y = _up(share, y_values)
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
        _y_ticks(y_values),
        None,
        tuple(labels.items()),
    )


def draw_calibration(bins: Sequence[Mapping[str, float]]) -> CalibrationChart | None:
    """Lay out the mean label over the mean P(q) of each bin that holds a query; None when none does."""
    filled = [b for b in bins if b["num_queries"]]
    if not filled:
        return None
    y_values = tuple(n / 5 for n in range(6))
    most = max(b["num_queries"] for b in filled)
    circles = tuple(
        (
            _along(b["mean_probability"], 0, 1),
            _up(b["mean_label"], y_values),
            4 + 12 * math.sqrt(b["num_queries"] / most),
            f"{b['num_queries']:,.0f} queries: mean P(q) {b['mean_probability']:.2f}, visual share {b['mean_label']:.2f}",
        )
        for b in filled
    )
    diagonal = (_along(0, 0, 1), _up(0, y_values), _along(1, 0, 1), _up(1, y_values))
    return CalibrationChart(circles, _share_ticks_along(), _y_ticks(y_values), diagonal)


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

    labels, whiskers = [], []
    for number, (label, small, systems) in enumerate(rows):
        middle = TOP + ROW_HEIGHT * (number + 0.5)
        labels.append((middle, label, small))
        for place, (style, name, cell) in enumerate(systems):
            y = middle + 13 * (place - (len(systems) - 1) / 2)
            tip = f"{label}, {name}: {cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"
            whiskers.append(Whisker(across(cell["value"]), across(cell["low"]), across(cell["high"]), y, style, tip))
    ticks = tuple(Tick(across(value), format_tick(value)) for value in values)
    return IntervalChart(tuple(labels), tuple(whiskers), ticks, TOP + ROW_HEIGHT * len(rows) + BOTTOM)


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


def _along(value: float, low: float, high: float) -> float:
    return LEFT + (value - low) / (high - low) * (WIDTH - RIGHT - LEFT)


def _up(value: float, ticks: Sequence[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _y_ticks(values: Sequence[float]) -> tuple[Tick, ...]:
    return tuple(Tick(_up(value, values), format_tick(value)) for value in values)


def _share_ticks_along() -> tuple[Tick, ...]:
    return tuple(Tick(_along(n / 5, 0, 1), format_tick(n / 5)) for n in range(6))
