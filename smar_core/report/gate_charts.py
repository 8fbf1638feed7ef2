"""Charts of the gate: what P(q) says, how far to trust it, and what each threshold would have given."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smar_core.report.geometry import (
    BOTTOM,
    HEIGHT,
    Bar,
    BarChart,
    Line,
    LineChart,
    Tick,
    along,
    nice_ticks,
    share_ticks_along,
    up,
    y_ticks,
)


@dataclass(frozen=True)
class CalibrationChart:
    """What was foretold against what came, a circle a bin, its area by the number of queries or items in it."""

    title: str
    x_label: str
    y_label: str
    circles: tuple[tuple[float, float, float, str], ...]  # x, y, radius, tool tip
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    diagonal: tuple[float, float, float, float]


def draw_probabilities(
    probabilities: Sequence[float],
    is_visual: Sequence[bool],
    threshold: float,
    num_bins: int = 10,
    names: tuple[str, str] = ("visual queries", "other queries"),
) -> BarChart | None:
    """Lay out how many queries have which P(q), visual ones beside the others; None when there is no query.

    Args:
        probabilities: P(q).
        is_visual: Whether the gate was taught to say yes.
        threshold: The gate's own.
        num_bins: Groups of bars.
        names: What the legend calls the visual ones and the others.
    """
    if not probabilities:
        return None
    counts = {True: [0] * num_bins, False: [0] * num_bins}
    for probability, visual in zip(probabilities, is_visual, strict=True):
        counts[bool(visual)][min(int(probability * num_bins), num_bins - 1)] += 1
    y_values = nice_ticks(0, max(*counts[True], *counts[False]), 4)
    labels = {True: names[0], False: names[1]}
    bars = []
    for bin_ in range(num_bins):
        low, high = bin_ / num_bins, (bin_ + 1) / num_bins
        left, width = along(low, 0, 1), (along(high, 0, 1) - along(low, 0, 1)) * 0.42
        for visual in (True, False):
            count = counts[visual][bin_]
            x = left + width * (0.15 if visual else 1.2)
            y = up(count, y_values)
            tip = f"{count:,} {labels[visual]} with P(q) from {low:.1f} to {high:.1f}"
            bars.append(Bar(x, y, width, HEIGHT - BOTTOM - y, "visual" if visual else "other", tip))
    return BarChart(
        "What the gate says",
        "P(q): does the picture help?",
        "validation queries",
        tuple(bars),
        share_ticks_along(),
        y_ticks(y_values),
        Tick(along(threshold, 0, 1), f"threshold {threshold:.2f}"),
        (("visual", labels[True]), ("other", labels[False])),
    )


def draw_calibration(
    bins: Sequence[Mapping[str, Any]], p: str = "P(q)", groups: str = "queries", y_label: str = "visual share of clicks"
) -> CalibrationChart | None:
    """Lay out the mean label over the mean P of each bin that holds a query or an item with a say; None when none does.

    Args:
        bins: Of each: num_queries, mean_probability, mean_label.
        p: What P is called.
        groups: What it looks at, in the plural.
        y_label: What the mean of the labels is.
    """
    filled = [b for b in bins if b["num_queries"] and b["mean_label"] is not None]
    if not filled:
        return None
    y_values = tuple(n / 5 for n in range(6))
    most = max(b["num_queries"] for b in filled)
    circles = tuple(
        (
            along(b["mean_probability"], 0, 1),
            up(b["mean_label"], y_values),
            4 + 12 * math.sqrt(b["num_queries"] / most),
            f"{b['num_queries']:,.0f} {groups}: mean {p} {b['mean_probability']:.2f}, mean label {b['mean_label']:.2f}",
        )
        for b in filled
    )
    diagonal = (along(0, 0, 1), up(0, y_values), along(1, 0, 1), up(1, y_values))
    return CalibrationChart(
        "How far to trust it", f"mean {p} of a bin", y_label, circles, share_ticks_along(), y_ticks(y_values), diagonal
    )


def draw_thresholds(curve: Sequence[Mapping[str, float]], chosen: float, oracle: float | None, measure: str) -> LineChart | None:
    """Lay out a measure over the threshold of P(q), with its intervals as a band; None without a curve.

    Args:
        curve: Of each threshold: threshold, share_multimodal, value, low, high.
        chosen: The gate's own threshold.
        oracle: The measure where each query goes to the better ranking, a level line; None for none.
        measure: Name of the measure.
    """
    if not curve:
        return None
    ends = [point[end] for point in curve for end in ("low", "high")] + ([] if oracle is None else [oracle])
    scale = nice_ticks(min(ends), max(ends), 4)

    def path(name: str) -> list[str]:
        return [f"{along(point['threshold'], 0, 1):.1f},{up(point[name], scale):.1f}" for point in curve]

    lines = [Line("routed by that threshold", "multimodal", " ".join(path("value")), ())]
    if oracle is not None:
        level = f"{up(oracle, scale):.1f}"
        lines.append(Line("oracle", "image", f"{along(0, 0, 1):.1f},{level} {along(1, 0, 1):.1f},{level}", ()))
    return LineChart(
        "What each threshold gives",
        "threshold of P(q): 0 all multimodal, 1 all text",
        measure,
        tuple(lines),
        share_ticks_along(),
        y_ticks(scale),
        Tick(along(chosen, 0, 1), f"chosen: {chosen:.2f}"),
        band=" ".join(path("low") + path("high")[::-1]),
    )
