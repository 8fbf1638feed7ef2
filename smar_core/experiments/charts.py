"""Geometry of an experiment's charts, made of ``smar_core.report.geometry``: the template only draws what is here.

Settings of an axis stand at equal distances whatever their values are, because 0, 0.25, 0.5, 1 and 2 would crowd at one end.
A difference far beyond the others would squeeze them into one spot: it gets an arrow at the axis's end, and its value in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from smar_core.experiments.findings import Axis, Difference
from smar_core.experiments.records import Cell
from smar_core.experiments.table import SLICE_NAMES, points_of, probability
from smar_core.report.geometry import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick, format_tick, nice_ticks

ROW_HEIGHT, LABEL_WIDTH, LABEL_CHARACTERS, ARROW = 26, 150, 25, 9
FAR = 3.0
"""A row beyond this many times the reach of the rows within is off the axis."""

STYLES = {"overall": "total", "fashion": "multimodal", "not_fashion": "text"}
"""CSS class of each slice's line: those of the report."""


@dataclass(frozen=True)
class Point:
    """A value with its interval."""

    x: float
    y: float
    low: float
    high: float
    tip: str


@dataclass(frozen=True)
class AxisLine:
    """A slice's values along an axis."""

    label: str
    style: str
    path: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class AxisChart:
    """R@50 over the values of a setting; one slice each, since their levels lie far apart."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[AxisLine, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    rule: Tick | None  # the preset's own value


@dataclass(frozen=True)
class OffAxis:
    """A value beyond the axis: an arrow at the end where it lies, and the value in words beside it."""

    y: float
    arrow: str  # points of an SVG polygon
    text_x: float
    anchor: Literal["start", "end"]
    words: str
    tip: str


@dataclass(frozen=True)
class DifferenceChart:
    """Differences with intervals, a row each: a point, or what stands for one beyond the axis."""

    rows: tuple[tuple[float, str], ...]
    points: tuple[Point, ...]
    off_axis: tuple[OffAxis, ...]
    x_ticks: tuple[Tick, ...]
    zero: float
    height: float


def draw_axis(axis: Axis) -> list[AxisChart]:
    """Lay out R@50 over an axis's values, a chart a slice."""
    return [_draw_slice(axis, name, cells) for name, cells in axis.points.items()]


def draw_differences(differences: Sequence[Difference]) -> DifferenceChart | None:
    """Lay out differences in points, a row a setting; None without one."""
    if not differences:
        return None
    limit = _axis_limit([_reach(d.difference) for d in differences])
    near = [d.difference for d in differences if _reach(d.difference) <= limit]
    values = nice_ticks(min(0.0, *(100 * c.low for c in near)), max(0.0, *(100 * c.high for c in near)), 5)

    def across(value: float) -> float:
        return LABEL_WIDTH + (100 * value - values[0]) / (values[-1] - values[0]) * (WIDTH - RIGHT - LABEL_WIDTH)

    rows, laid, beyond = [], [], []
    for number, difference in enumerate(differences):
        y, cell = TOP + ROW_HEIGHT * (number + 0.5), difference.difference
        rows.append((y, shorten(difference.setting)))
        tip = f"{difference.setting}: {points_of(cell)} points, {probability(difference.holm_p_value)}"
        if _reach(cell) > limit:
            beyond.append(_off_axis(cell, y, tip))
        else:
            laid.append(Point(across(cell.value), y, across(cell.low), across(cell.high), tip))
    ticks = tuple(Tick(across(value / 100), format_tick(value)) for value in values)
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    return DifferenceChart(tuple(rows), tuple(laid), tuple(beyond), ticks, across(0.0), height)


def shorten(setting: str) -> str:
    """Return a label that fits beside the chart, with the beginning and the end of the setting; the mark's tip has all of it.

    >>> shorten("smar,pretrain.hard_negatives=64")
    'smar,pretrai…negatives=64'
    """
    half = LABEL_CHARACTERS // 2
    return setting if len(setting) <= LABEL_CHARACTERS else f"{setting[:half]}\N{HORIZONTAL ELLIPSIS}{setting[-half:]}"


def _reach(cell: Cell) -> float:
    """Return how far from 0 an interval goes."""
    return max(abs(cell.low), abs(cell.high))


def _axis_limit(reaches: Sequence[float]) -> float:
    """Return the reach that the axis covers: all, unless fewer than half of the rows lie ``FAR`` times beyond the others.

    >>> _axis_limit([0.37, 0.02, 0.05]), _axis_limit([0.37, 0.05]), _axis_limit([0.10, 0.05, 0.04])
    (0.05, 0.37, 0.1)
    """
    ordered = sorted(reaches, reverse=True)
    for num_far in range(1, (len(ordered) + 1) // 2):
        if ordered[num_far - 1] > FAR * ordered[num_far] > 0:
            return ordered[num_far]
    return ordered[0]


def _off_axis(cell: Cell, y: float, tip: str) -> OffAxis:
    """Lay out a row beyond the axis; which end it lies at is the sign of the farther bound."""
    is_left = abs(cell.low) > abs(cell.high)
    tip_x, inwards = (LABEL_WIDTH, ARROW) if is_left else (WIDTH - RIGHT, -ARROW)
    arrow = f"{tip_x},{y} {tip_x + inwards},{y - ARROW / 2} {tip_x + inwards},{y + ARROW / 2}"
    return OffAxis(y, arrow, tip_x + 1.5 * inwards, "start" if is_left else "end", points_of(cell), tip)


def _draw_slice(axis: Axis, slice_name: str, cells: Sequence[Cell]) -> AxisChart:
    values = nice_ticks(min(c.low for c in cells), max(c.high for c in cells), 4)
    step = (WIDTH - RIGHT - LEFT) / len(axis.values)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (value - values[0]) / (values[-1] - values[0]) * (HEIGHT - BOTTOM - TOP)

    places = {value: LEFT + step * (number + 0.5) for number, value in enumerate(axis.values)}
    laid = tuple(
        Point(places[value], up(c.value), up(c.low), up(c.high), f"{value}: {c.value:.3f} [{c.low:.3f}, {c.high:.3f}]")
        for value, c in zip(axis.values, cells, strict=True)
    )
    path = " ".join(f"{point.x:.1f},{point.y:.1f}" for point in laid)
    return AxisChart(
        title=SLICE_NAMES[slice_name],
        x_label=axis.key,
        y_label="R@50",
        lines=(AxisLine(SLICE_NAMES[slice_name], STYLES[slice_name], path, laid),),
        x_ticks=tuple(Tick(place, value) for value, place in places.items()),
        y_ticks=tuple(Tick(up(value), format_tick(value)) for value in values),
        rule=Tick(places[axis.own], "preset"),
    )
