"""Failure signatures: the ways in which this kind of model is known to fail, looked for in what the run logged.

Recall up but precision down outside fashion, no gain in fashion, unstable training, a training that learns nothing, pictures that
say nothing, and pictures that the model ignores.
Each answer is present, absent or unknown (what decides it was not measured), with the figures that it rests on and the check
that decides what to do. A difference counts when its interval excludes 0. Pure functions: figures in, sentences out. Left
out: drift of the synthetic queries, which has its own part in the report.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from smar_core.report.formats import points

GAIN = "model - text_only"
SMALL_MEASURES = ("P@50", "P@10")
GENERIC_SLICES = ("picture_blank", "picture_stock", "picture_near_duplicate")
"""Slices of queries most of whose clicked products have pictures that say little (``distinctiveness``)."""

MIN_QUERIES = 30
"""A bootstrap interval of fewer queries is too narrow to decide on."""

TEXT_ALONE = "This run has one index, that of text: there is nothing that pictures could bring to it or cost it."

MEDIAN_WINDOW = 20
"""Logged values before a point whose median it is compared with."""

MIN_WINDOW = 5
LOSS_SPIKE = 2.0
"""A loss this many times its running median is a spike; ten sound runs of presets ``study`` and ``small`` had at most 1.58."""

NORM_SPIKE = 4.0
"""The same for the norm of the gradient before clipping; those runs had at most 2.95, in the warm-up."""

LEAST_GAIN = 0.02
"""Gain in R@50 below which pre-training has learned nothing: another random order may find a little more than the first."""

HALF = 0.5
"""R@50 at step 0 from which a small gain is no sign: a catalogue of few items, or weights that were trained before."""


@dataclass(frozen=True)
class Signature:
    """One way to fail, and whether this run shows it.

    Attributes:
        name: What one would see.
        is_present: None when the run did not measure what decides it.
        evidence: A sentence with the figures.
        check: What to look at next, and what to do.
    """

    name: str
    is_present: bool | None
    evidence: str
    check: str

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


def find_signatures(scores: Mapping[str, Any], curves: Mapping[str, pa.Table]) -> list[Signature]:
    """Look for every signature.

    Args:
        scores: ``scores.json`` with ``differences`` and, where measured, ``gate`` and ``reliance``.
        curves: Tables of ``schemas.CURVE`` by stage.
    """
    return [
        precision_down(scores),
        no_fashion_gain(scores),
        unstable_loss(curves),
        nothing_learned(curves),
        generic_pictures(scores),
        ignored_pictures(scores),
    ]


def precision_down(scores: Mapping[str, Any]) -> Signature:
    """More clicked products are found overall, but the pictures bring wrong ones to the top outside fashion."""
    name = "Recall up, precision down outside fashion"
    check = (
        "Look at what the text index alone finds outside fashion (exclusive matches) and at the threshold curve: "
        "a higher threshold sends fewer of these queries to the pictures."
    )
    if _is_text_alone(scores):
        return Signature(name, None, TEXT_ALONE, check)
    recall = _difference(scores, "overall", "R@50")
    precision = {measure: _difference(scores, "not_fashion", measure) for measure in SMALL_MEASURES}
    measured = {measure: cell for measure, cell in precision.items() if cell is not None}
    if recall is None or not measured:
        return Signature(name, None, _no_comparison("queries outside fashion"), check)
    if not _is_nothing(recall) and all(_is_nothing(cell) for cell in measured.values()):
        evidence = (
            "Outside fashion the gate sends every query to the text index, which pictures can then harm through the common "
            "training alone; a text-only model trained alike (smar ablate --variants smar,dpsr) would show it."
        )
        return Signature(name, None, evidence, check)
    is_present = recall["low"] > 0 and any(cell["high"] < 0 for cell in measured.values())
    shown = ", ".join(f"{measure} {_points(cell, 2)}" for measure, cell in measured.items())
    return Signature(name, is_present, f"Against text only: R@50 overall {_points(recall)}; outside fashion {shown}.", check)


def no_fashion_gain(scores: Mapping[str, Any]) -> Signature:
    """Fashion is where the picture should help; without a gain there, either the gate misroutes or the pictures are not used."""
    name = "No gain in fashion"
    check = (
        "Compare the routed search with always multimodal in fashion: if that one gains, P(q) misroutes fashion queries, so look "
        "at its AUC and calibration; if neither gains, look at the modality reliance and at beta and gamma."
    )
    if _is_text_alone(scores):
        return Signature(name, None, TEXT_ALONE, check)
    gain = _difference(scores, "fashion", "R@50")
    if gain is None:
        return Signature(name, None, _no_comparison("fashion queries"), check)
    evidence = f"Against text only, R@50 in fashion {_points(gain)}."
    always = scores.get("gate", {}).get("differences", {}).get("routed - always_multimodal", {}).get("fashion", {}).get("R@50")
    if always is not None:
        evidence += f" The routed search less always multimodal: {_points(always)}."
    return Signature(name, not gain["low"] > 0, evidence, check)


def unstable_loss(curves: Mapping[str, pa.Table]) -> Signature:
    """The loss or the gradient jumps, which a mean over the last steps would hide."""
    name = "Unstable training"
    check = (
        "Look at the curves of that stage around the step; lower the learning rate or lengthen the warm-up, and see whether one "
        "of alpha, beta and gamma outweighs the others."
    )
    worst: dict[str, tuple[float, str]] = {}
    broken = []
    for stage, table in curves.items():
        all_series = _series(table)
        has_parts = any(series.startswith("loss_") for series in all_series)
        for series, (step_V, value_V) in all_series.items():
            if series == "loss" and has_parts and np.isfinite(value_V).all():
                continue  # learned weights take the total through 0, where a ratio says nothing
            kind = "loss" if series.startswith("loss") else series
            if kind not in ("loss", "grad_norm") or not len(value_V):
                continue
            if not np.isfinite(value_V).all():
                broken.append(f"{series} of {stage} is not finite at step {step_V[~np.isfinite(value_V)][0]:,}")
                continue
            ratio, step = largest_jump(step_V, value_V)
            worst[kind] = max(worst.get(kind, (0.0, "")), (ratio, f"{series} of {stage}, step {step:,}"))
    if not worst and not broken:
        return Signature(name, None, "No curve was logged.", check)
    limits = {"loss": LOSS_SPIKE, "grad_norm": NORM_SPIKE}
    said = [
        f"the largest {'loss' if kind == 'loss' else 'gradient norm'} is {ratio:.2f} times its running median ({where}; "
        f"from {limits[kind]:g} on it is a spike)"
        for kind, (ratio, where) in sorted(worst.items(), reverse=True)
    ]
    is_present = bool(broken) or any(ratio >= limits[kind] for kind, (ratio, _) in worst.items())
    evidence = "; ".join(broken + said)
    return Signature(name, is_present, evidence[0].upper() + evidence[1:] + ".", check)


def nothing_learned(curves: Mapping[str, pa.Table]) -> Signature:
    """Pre-training never gets beyond where it began: the embeddings have collapsed, or were never moved."""
    name = "Nothing was learned"
    check = (
        "Look at the losses: near the logarithm of the number of items in a batch every item looks alike, so lower the learning "
        "rate or lengthen the warm-up; if they fall all the same, validation and training days are of different shops."
    )
    looks = {
        series: (step_V, value_V)
        for series, (step_V, value_V) in (_series(curves["pretrain"]) if "pretrain" in curves else {}).items()
        if series.startswith("validation_R@50_") and len(value_V) > 1
    }
    if not looks or any(value_V[0] >= HALF for _, value_V in looks.values()):
        evidence = "Pre-training did not look at the validation days twice, or found half of the clicked items from the start."
        return Signature(name, None, evidence, check)
    gains = {series: float(value_V[1:].max() - value_V[0]) for series, (_, value_V) in looks.items()}
    best = max(gains, key=lambda series: gains[series])
    step_V, value_V = looks[best]
    evidence = (
        f"In pre-training {best.removeprefix('validation_')} on the validation days went from {value_V[0]:.3f} at step "
        f"{step_V[0]:,} to {value_V[1:].max():.3f} at best; less than {100 * LEAST_GAIN:g} points more would be nothing."
    )
    return Signature(name, gains[best] < LEAST_GAIN, evidence, check)


def generic_pictures(scores: Mapping[str, Any]) -> Signature:
    """Pictures that look alike, are blank or come from stock bring noise instead of a signal."""
    name = "Generic pictures hurt"
    check = (
        "Look at those products' pictures; leave such pictures out of the catalogue, or supervise the gate by utility, "
        "which sees the single query instead of its category."
    )
    if _is_text_alone(scores):
        return Signature(name, None, TEXT_ALONE, check)
    cells = {slice_name: _difference(scores, slice_name, "R@50") for slice_name in GENERIC_SLICES}
    measured = {slice_name: cell for slice_name, cell in cells.items() if cell is not None}
    if not measured:
        return Signature(name, None, _no_comparison("queries for products with blank, stock or near-duplicate pictures"), check)
    shown = "; ".join(f"{slice_name.replace('_', ' ')} {_points(cell)}" for slice_name, cell in measured.items())
    return Signature(name, any(cell["high"] < 0 for cell in measured.values()), f"Against text only, R@50: {shown}.", check)


def ignored_pictures(scores: Mapping[str, Any]) -> Signature:
    """With other products' pictures the model is as good as with the right ones: it does not look at them."""
    name = "Pictures are ignored"
    check = (
        "A gain over text only that shuffled pictures do not cost comes from elsewhere (more weights, another loss): "
        "compare the fusions, and raise beta."
    )
    losses = scores.get("reliance", {}).get("shuffled", {}).get("loss", {})
    loss = _measured(losses.get("multimodal", losses.get("model", {})).get("overall", {}), "R@50")
    if loss is None:
        return Signature(name, None, f"The reliance on pictures was not measured on {MIN_QUERIES} or more queries.", check)
    evidence = f"R@50 of the true pictures less that of shuffled ones: {_points(loss)}."
    return Signature(name, not loss["low"] > 0, evidence, check)


def largest_jump(step_V: np.ndarray, value_V: np.ndarray) -> tuple[float, int]:
    """Return the largest ratio of a value to the median of the ``MEDIAN_WINDOW`` values before it, and its step.

    A value with fewer than ``MIN_WINDOW`` before it is not judged, nor is one after a median of 0. Without any other (0.0, 0).

    >>> largest_jump(np.arange(7) * 10, np.array([9.0, 2.0, 2.0, 2.0, 2.0, 2.0, 6.0]))
    (3.0, 60)
    """
    best = (0.0, 0)
    for place in range(MIN_WINDOW, len(value_V)):
        median = float(np.median(value_V[max(0, place - MEDIAN_WINDOW) : place]))
        if median > 0 and value_V[place] / median > best[0]:
            best = (float(value_V[place]) / median, int(step_V[place]))
    return best


def _series(curve: pa.Table) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return steps and values of each name."""
    names = np.array(curve["name"].to_pylist(), dtype=object)
    steps, values = curve["step"].to_numpy(), curve["value"].to_numpy()
    return {name: (steps[names == name], values[names == name]) for name in dict.fromkeys(names.tolist())}


def _difference(scores: Mapping[str, Any], slice_name: str, measure: str) -> Mapping[str, float] | None:
    return _measured(scores.get("differences", {}).get(GAIN, {}).get(slice_name, {}), measure)


def _measured(of_slice: Mapping[str, Any], measure: str) -> Mapping[str, float] | None:
    """Return a measure of a slice; None where it is not there, or there are too few queries to decide on it."""
    return of_slice.get(measure) if of_slice.get("num_queries", 0) >= MIN_QUERIES else None


def _is_text_alone(scores: Mapping[str, Any]) -> bool:
    """Whether the model is its own text index; a gate between two indexes that sends every query to the text is none."""
    return "model" in scores and scores["model"] == scores.get("text_only") and "gate" not in scores


def _no_comparison(queries: str) -> str:
    return f"This run has no comparison with text only on {MIN_QUERIES} or more {queries}."


def _is_nothing(cell: Mapping[str, float]) -> bool:
    """Whether no query tells the two systems apart."""
    return cell["low"] == cell["high"] == 0


def _points(cell: Mapping[str, float], num_decimals: int = 1) -> str:
    """Return a difference in points with its interval.

    >>> _points({"value": 0.071, "low": -0.002, "high": 0.12})
    '+7.1 points (−0.2 to +12.0)'
    """
    value, low, high = (points(cell[name], num_decimals) for name in ("value", "low", "high"))
    return f"{value} points ({low} to {high})"
