"""The report of a run: one HTML file that a person can read, mail and print.

``render_report`` turns figures into what the page shows (sentences, cells, charts) and hands that to the templates. The page asks
nothing of the network and runs no script; pictures are data URIs. Whatever a run lacks (judgments, a learned gate, a
curve) is left out of the page. Everything that came from the data is escaped by Jinja's autoescape.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from smar_core import __version__
from smar_core.report import charts, diagnosis
from smar_core.report.data import ReportData
from smar_core.report.environment import open_template
from smar_core.report.formats import USUAL_CONFIDENCE, confidence
from smar_core.report.geometry import BarChart
from smar_core.report.tables import (
    GAIN,
    HEADLINE,
    MAIN_SLICES,
    Systems,
    ann_rows,
    cell_of,
    difference_tables,
    score_tables,
    slice_groups,
    system_names,
    systems_of,
)
from smar_core.schemas import SPLITS

_LINE_STYLES = {"text": "text", "image": "image", "multimodal": "multimodal"}
"""CSS class of a curve; any other one is drawn in the colour of the text."""
Points = list[tuple[float, float]]
"""(step, value) of a curve."""

_STAGE_NAMES = {"pretrain": "Pre-training", "finetune": "Fine-tuning"}


def render_report(data: ReportData) -> str:
    """Return the page as HTML text; equal data gives equal text."""
    page = open_template("page.html.j2")
    scores, mode = data.scores, data.gate_report.get("mode", "learned")
    systems, names = systems_of(scores), system_names(mode)
    differences, judged = _differences(scores, mode), scores.get("judged") or {}
    weighted = scores.get("traffic") or {}
    gate, queries = scores.get("gate") or {}, scores.get("queries") or {}
    return page.render(
        data=data,
        version=__version__,
        days="validation" if queries.get("split") == "validation" else "test",
        confidence=confidence(queries.get("confidence", USUAL_CONFIDENCE)),
        model_name=names["model"][0],
        headline=_headline(systems, differences, mode),
        interval_chart=_interval_chart(systems, names),
        signatures=diagnosis.signature_rows(scores),
        tables=score_tables(systems, names),
        difference_tables=difference_tables(differences, names),
        slice_groups=slice_groups(systems, differences),
        weighted_tables=score_tables(systems_of(weighted), names),
        weighted_difference_tables=difference_tables(_differences(weighted, mode), names),
        judged_tables=score_tables(systems_of(judged), names),
        judged_difference_tables=difference_tables(_differences(judged, mode), names),
        judged_facts=_facts({name: value for name, value in judged.items() if name.startswith("num_")}),
        attainable=(scores.get("attainable") or {}).get("slices") or {},
        num_excluded=queries.get("num_excluded", 0),
        ann_rows=ann_rows(scores, names["model"][0]),
        reliance=scores.get("reliance") or {},
        reliance_rows=diagnosis.reliance_rows(scores.get("reliance") or {}),
        reliance_chart=diagnosis.reliance_chart(scores, names["model"][0]),
        exclusive=scores.get("exclusive") or {},
        slice_names=MAIN_SLICES,
        policy_rows=diagnosis.policy_rows(gate),
        policy_slices=diagnosis.slices_of((gate.get("policies") or {}).get("routed", {})),
        utility=gate.get("utility"),
        best_threshold=diagnosis.best_threshold(gate),
        threshold_chart=diagnosis.threshold_chart(gate),
        gate_chart=diagnosis.gate_chart(data),
        calibration_chart=diagnosis.calibration_chart(data.gate_report),
        gate_rows=[(split, data.gate_report[split]) for split in ("validation", "test") if data.gate_report.get(split)],
        bundle_facts=_facts(data.bundle),
        training=[_training(stage, data) for stage in _STAGE_NAMES if stage in data.training],
        splits=_splits(data.statistics),
        time_line=_time_line(data.statistics),
        log_steps=_log_steps(data.statistics.get("clicks", {})),
        length_chart=_length_chart(data.drift),
        num_wins=sum(e.recall_routed > e.recall_text_only for e in data.examples),
        num_losses=sum(e.recall_routed < e.recall_text_only for e in data.examples),
        charts=charts,
    )


def _differences(scores: Mapping[str, Any], gate_mode: str) -> Systems:
    """Return the differences between systems, without that of a text model to text only, which it is."""
    found = systems_of(scores.get("differences") or {})
    return {pair: of for pair, of in found.items() if pair != GAIN or gate_mode != "always_text"}


def _headline(systems: Systems, differences: Systems, gate_mode: str) -> dict[str, Any] | None:
    """Return the figures at the top, or None when the model was not measured; against text only where that is another system."""
    ours, text = cell_of(systems, "model", "overall", HEADLINE), cell_of(systems, "text_only", "overall", HEADLINE)
    if ours is None:
        return None
    headline = {"model": ours, "num_queries": systems["model"]["overall"]["num_queries"], "text_only": None}
    if text is None or gate_mode == "always_text":
        return headline
    by_slice = {
        name: ours_there["value"] - text_there["value"]
        for name in ("fashion", "not_fashion")
        if (ours_there := cell_of(systems, "model", name, HEADLINE))
        and (text_there := cell_of(systems, "text_only", name, HEADLINE))
    }
    return headline | {
        "text_only": text,
        "difference": ours["value"] - text["value"],
        "paired": cell_of(differences, GAIN, "overall", HEADLINE),
        "by_slice": by_slice,
    }


def _interval_chart(systems: Systems, names: Mapping[str, tuple[str, str]]) -> charts.IntervalChart | None:
    rows = []
    for name in MAIN_SLICES:
        cells = [
            (style, names[system][0], cell)
            for system, style in (("model", "model"), ("text_only", "text-only"))
            if (cell := cell_of(systems, system, name, HEADLINE)) is not None
        ]
        if cells:
            num_queries = systems["model"][name]["num_queries"] if name in systems.get("model", {}) else 0
            rows.append((MAIN_SLICES[name], f"{num_queries:,} queries", cells))
    return charts.draw_intervals(rows)


def _facts(entry: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Flatten the numbers and words of nested mappings to (name, value); lists are joined by commas."""
    facts: list[tuple[str, Any]] = []
    for name, value in entry.items():
        if isinstance(value, Mapping):
            facts += _facts(value, f"{prefix}{name.replace('_', ' ')}: ")
        elif value is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            facts.append((prefix + name.removeprefix("num_").replace("_", " "), shown))
    return facts


def _training(stage: str, data: ReportData) -> dict[str, Any]:
    """Return what the page says of one training stage: its charts and its figures."""
    record = data.training[stage]
    series = _series(data.curves[stage]) if stage in data.curves else {}
    drawn = {
        ("losses", "loss"): _parts(series, "loss_") or _parts(series, "loss"),
        ("validation days", "R@50"): _parts(series, "validation_R@50_"),
        ("learned weights of the losses", "weight"): _parts(series, "weight_"),
        ("learned temperature", "temperature"): _parts(series, "temperature"),
    }
    made = [
        charts.draw_lines(f"{_STAGE_NAMES[stage]}: {title}", y_label, lines, _LINE_STYLES, record.get("best_step"))
        for (title, y_label), lines in drawn.items()
    ]
    return {"name": _STAGE_NAMES[stage], "record": record, "charts": [chart for chart in made if chart is not None]}


def _parts(series: Mapping[str, Points], prefix: str) -> dict[str, Points]:
    """Return the curves whose name begins with a prefix, by the rest of it; by the whole name where nothing is left.

    >>> _parts({"loss": [(0, 3.0)], "loss_text": [(0, 1.0)]}, "loss_")
    {'text': [(0, 1.0)]}
    """
    return {name.removeprefix(prefix) or name: points for name, points in series.items() if name.startswith(prefix)}


def _series(curve: pa.Table) -> dict[str, Points]:
    """Group a curve table by name, in order of first appearance."""
    series: dict[str, Points] = {}
    for row in curve.select(["step", "name", "value"]).to_pylist():
        series.setdefault(row["name"], []).append((row["step"], row["value"]))
    return series


def _splits(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return what is known of each split, in order of time."""
    splits = statistics.get("clicks", {}).get("splits", {})
    return {name: splits[name] for name in SPLITS if name in splits}


def _time_line(statistics: Mapping[str, Mapping[str, Any]]) -> tuple[charts.Span, ...]:
    return charts.draw_time_line({name: (split["start"], split["end"]) for name, split in _splits(statistics).items()})


def _log_steps(clicks: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return what became of the rows of the log, step by step."""
    names = {
        "num_rows": "rows read",
        "num_rejects": "unusable rows set aside",
        "num_duplicates": "repeated events dropped",
        "num_crawler_rows": "rows of crawlers dropped",
        "num_not_clicked": "results shown, not clicked",
        "num_clicks": "clicks kept",
    }
    return [(label, clicks[name]) for name, label in names.items() if name in clicks]


def _length_chart(drift: Mapping[str, Any]) -> BarChart | None:
    lengths = drift.get("length_words", {})
    if not lengths:
        return None
    return charts.draw_lengths(lengths["true"]["histogram"], lengths["synthetic"]["histogram"])
