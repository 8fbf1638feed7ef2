"""Shapes and scales that every chart of the report is made of: places in a picture, computed here, drawn by the templates.

Charts are SVG of our own instead of a plot package's: the page stays one small file, follows the reader's light or dark
scheme, prints sharp, and the container image needs no plotting stack. Every chart is ``WIDTH`` units wide, which is about
what a phone shows in full, so that its text needs no zooming. Left out: interaction, beyond tool tips that the browser
makes from ``<title>``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 16, 44


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
    """Values over steps or thresholds.

    Attributes:
        band: Points of an SVG polygon around a line, its intervals; "" for none.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    rule: Tick | None  # a vertical line: what was chosen
    band: str = ""


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


def along(value: float, low: float, high: float) -> float:
    """Return the x of a value on an axis from low to high."""
    return LEFT + (value - low) / (high - low) * (WIDTH - RIGHT - LEFT)


def up(value: float, ticks: Sequence[float]) -> float:
    """Return the y of a value on an axis of such ticks."""
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def y_ticks(values: Sequence[float]) -> tuple[Tick, ...]:
    """Return the labelled places of an axis upwards."""
    return tuple(Tick(up(value, values), format_tick(value)) for value in values)


def share_ticks_along() -> tuple[Tick, ...]:
    """Return the labelled places of an axis from 0 to 1."""
    return tuple(Tick(along(n / 5, 0, 1), format_tick(n / 5)) for n in range(6))
