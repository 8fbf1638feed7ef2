"""The report of a run: one HTML file that a person can read, mail and print.

``render_report`` turns figures into what the page shows (sentences, cells, charts) and hands that to the templates. The page asks
nothing of the network and runs no script; pictures are data URIs. Whatever a run lacks (judgments, a learned gate, a
curve) is left out of the page. Everything that came from the data is escaped by Jinja's autoescape.
"""

import base64
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import pyarrow as pa

from smar_core import __version__
from smar_core.report import charts
from smar_core.report.data import ReportData
from smar_core.schemas import SPLITS

Cell = Mapping[str, float]
"""A measure's value with its interval: "value", "low", "high"."""

Systems = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Cells by system, slice and measure; "num_queries" stands among the measures."""

SYSTEMS: Mapping[str, tuple[str, str]] = {
    "model": ("SMAR", "routed: each query to the index that P(q) chooses"),
    "text_only": ("Text only", "the text index of the same model"),
    "text_only_pretrained": ("Text only, pre-trained", "the text index as pre-training left it"),
    "multimodal": ("Multimodal only", "every query to the index of text with picture"),
    "image": ("Picture only", "the index of pictures"),
    "click_memory": ("Click memory", "no model: items by their clicks in training"),
}
SLICES: Mapping[str, str] = {
    "overall": "All queries",
    "fashion": "Fashion",
    "not_fashion": "Not fashion",
    "seen_query": "Seen queries",
    "unseen_query": "Unseen queries",
    "unseen_pair": "New pairs",
    "unseen_item": "New items",
}
HEADLINE = "R@50"
MAXIMUM = "_max"
"""End of a measure's name: the most that a perfect ranking could reach."""

_LINE_STYLES = {"text": "text", "image": "image", "multimodal": "multimodal"}
"""CSS class of a curve; any other one is drawn in the colour of the text."""
_STAGE_NAMES = {"pretrain": "Pre-training", "finetune": "Fine-tuning"}


@dataclass(frozen=True)
class ScoreTable:
    """One measure: a row a system, a column a slice."""

    measure: str
    columns: tuple[tuple[str, int], ...]  # label, number of queries
    rows: tuple[tuple[str, str, tuple[Cell | None, ...]], ...]  # label, explanation, cells
    best: tuple[float | None, ...]  # the highest value of each column


def render_report(data: ReportData) -> str:
    """Return the page as HTML text; equal data gives equal text."""
    page = _environment().get_template("page.html.j2")
    systems = _systems(data.scores)
    return page.render(
        data=data,
        version=__version__,
        headline=_headline(systems, data.scores.get("differences") or {}),
        interval_chart=_interval_chart(systems),
        tables=_score_tables(systems),
        judged_tables=_score_tables(_systems(data.scores.get("judged") or {})),
        judged_facts=_facts(
            {name: value for name, value in (data.scores.get("judged") or {}).items() if name.startswith("num_")}
        ),
        num_excluded=(data.scores.get("queries") or {}).get("num_excluded", 0),
        ann_rows=_ann_rows(data.scores),
        bundle_facts=_facts(data.bundle),
        training=[_training(stage, data) for stage in _STAGE_NAMES if stage in data.training],
        gate_chart=_gate_chart(data),
        calibration_chart=charts.draw_calibration(_gate_bins(data.gate_report)),
        gate_rows=[(split, data.gate_report[split]) for split in ("validation", "test") if data.gate_report.get(split)],
        splits=_splits(data.statistics),
        time_line=_time_line(data.statistics),
        log_steps=_log_steps(data.statistics.get("clicks", {})),
        length_chart=_length_chart(data.drift),
        num_wins=sum(e.recall_routed > e.recall_text_only for e in data.examples),
        num_losses=sum(e.recall_routed < e.recall_text_only for e in data.examples),
        charts=charts,
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("smar_core.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": lambda value: f"{value:,.0f}",
        "figure": _format_figure,
        "percent": _format_percent,
        "points": lambda difference: f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}"),
        "day": lambda iso: datetime.datetime.fromisoformat(iso).strftime("%-d %b %Y"),
        "data_uri": lambda jpeg: "data:image/jpeg;base64," + base64.b64encode(jpeg).decode(),
    }
    return environment


def _format_figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _format_percent(share: float) -> str:
    """Return a share in per cent, with a decimal only where its absence would say 0% or 100% of what is neither.

    >>> [_format_percent(share) for share in (0, 0.004, 0.734, 0.998, 1)]
    ['0%', '0.4%', '73%', '99.8%', '100%']
    """
    return f"{share:.0%}" if share in (0, 1) or 0.095 <= share < 0.995 else f"{share:.1%}"


def _systems(scores: Mapping[str, Any]) -> Systems:
    """Return those entries that are systems: mappings of slices, each with its number of queries."""
    return {
        name: entry
        for name, entry in scores.items()
        if isinstance(entry, Mapping) and entry and all(isinstance(s, Mapping) and "num_queries" in s for s in entry.values())
    }


def _headline(systems: Systems, differences: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the figures at the top, or None when model or text index was not measured."""
    ours, text = _cell(systems, "model", "overall", HEADLINE), _cell(systems, "text_only", "overall", HEADLINE)
    if ours is None or text is None:
        return None
    by_slice = {
        name: ours_there["value"] - text_there["value"]
        for name in ("fashion", "not_fashion")
        if (ours_there := _cell(systems, "model", name, HEADLINE)) and (text_there := _cell(systems, "text_only", name, HEADLINE))
    }
    return {
        "model": ours,
        "text_only": text,
        "difference": ours["value"] - text["value"],
        "paired": _cell(differences, "model - text_only", "overall", HEADLINE),
        "by_slice": by_slice,
        "num_queries": systems["model"]["overall"]["num_queries"],
    }


def _cell(systems: Systems, system: str, slice_: str, measure: str) -> Cell | None:
    cell = systems.get(system, {}).get(slice_, {}).get(measure)
    return cell if cell is not None and cell["value"] is not None else None


def _interval_chart(systems: Systems) -> charts.IntervalChart | None:
    rows = []
    for name in systems.get("model", {}):
        cells = [
            (style, SYSTEMS[system][0], cell)
            for system, style in (("model", "model"), ("text_only", "text-only"))
            if (cell := _cell(systems, system, name, HEADLINE)) is not None
        ]
        if cells:
            num_queries = systems["model"][name]["num_queries"]
            rows.append((_slice_label(name), f"{num_queries:,} queries", cells))
    return charts.draw_intervals(rows)


def _slice_label(name: str) -> str:
    return SLICES.get(name, _sentence(name))


def _sentence(name: str) -> str:
    """Return a name as a person writes it.

    >>> _sentence("text_only_distilled")
    'Text only distilled'
    """
    return name.replace("_", " ").capitalize()


def _score_tables(systems: Systems) -> list[ScoreTable]:
    """Return a table a measure, the headline measure first."""
    every_slice = [slice_ for entry in systems.values() for slice_ in entry.values()]
    measures = dict.fromkeys(name for slice_ in every_slice for name, cell in slice_.items() if isinstance(cell, Mapping))
    shown = [name for name in measures if not name.endswith(MAXIMUM)]
    return [_score_table(systems, measure) for measure in sorted(shown, key=lambda name: name != HEADLINE)]


def _score_table(systems: Systems, measure: str) -> ScoreTable:
    """Return one measure's table; its last row is the value of a perfect ranking, where that is known to be below 1."""
    slices = list(dict.fromkeys(name for entry in systems.values() for name in entry))
    rows = [
        (*SYSTEMS.get(system, (_sentence(system), "")), tuple(_cell(systems, system, name, measure) for name in slices))
        for system in systems
    ]
    columns = [[cells[place] for _, _, cells in rows] for place in range(len(slices))]
    best = tuple(max((cell["value"] for cell in column if cell is not None), default=None) for column in columns)
    maximum = tuple(_cell(systems, next(iter(systems)), name, measure + MAXIMUM) for name in slices)
    if any(maximum):
        rows.append(("Reachable maximum", "a perfect ranking", maximum))
    labels = tuple((_slice_label(name), max(of[name]["num_queries"] for of in systems.values() if name in of)) for name in slices)
    return ScoreTable(measure, labels, tuple(rows), best)


def _ann_rows(scores: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    """Return what the approximate indexes keep: of the exact ranking, and of the relevance."""
    ann = scores.get("ann") or {}
    rows = [
        (f"{modality} index, {measure} of the exact ranking", cell)
        for modality, entry in ann.items()
        for measure, cell in entry.items()
        if measure.startswith("recall@")
    ]
    for label, systems in (("approximate", ann), ("exact", scores)):
        cell = _cell(systems, "model", "overall", HEADLINE)
        if ann and cell is not None:
            rows.append((f"SMAR, routed, {HEADLINE}, {label} search", cell))
    return rows


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
    losses = {_short(name): points for name, points in series.items() if name.startswith("loss_")}
    losses = losses or {name: points for name, points in series.items() if name == "loss"}
    looks = {name.rsplit("_", 1)[1]: points for name, points in series.items() if name.startswith("validation_R@50_")}
    kept = record.get("best_step")
    return {
        "name": _STAGE_NAMES[stage],
        "record": record,
        "loss_chart": charts.draw_lines(f"{_STAGE_NAMES[stage]}: losses", "loss", losses, _LINE_STYLES, kept),
        "validation_chart": charts.draw_lines(f"{_STAGE_NAMES[stage]}: validation days", "R@50", looks, _LINE_STYLES, kept),
    }


def _short(name: str) -> str:
    """Return the legend's word for a loss.

    >>> _short("loss_text")
    'text'
    """
    return name.removeprefix("loss_")


def _series(curve: pa.Table) -> dict[str, list[tuple[float, float]]]:
    """Group a curve table by name, in order of first appearance."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in curve.select(["step", "name", "value"]).to_pylist():
        series.setdefault(row["name"], []).append((row["step"], row["value"]))
    return series


def _gate_chart(data: ReportData) -> charts.BarChart | None:
    if data.gate_report.get("mode", "learned") != "learned":
        return None
    return charts.draw_probabilities(data.gate_probabilities, data.gate_is_visual, data.gate_report.get("threshold", 0.5))


def _gate_bins(gate_report: Mapping[str, Any]) -> Sequence[Mapping[str, float]]:
    if gate_report.get("mode") != "learned":
        return ()
    bins: Sequence[Mapping[str, float]] = (gate_report.get("validation") or {}).get("bins") or ()
    return bins


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


def _length_chart(drift: Mapping[str, Any]) -> charts.BarChart | None:
    lengths = drift.get("length_words", {})
    if not lengths:
        return None
    return charts.draw_lengths(lengths["true"]["histogram"], lengths["synthetic"]["histogram"])
