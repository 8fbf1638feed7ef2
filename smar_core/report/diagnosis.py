"""What the page says about gate, pictures and failure signatures, from the parts of scores.json that ``evaluate`` names so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smar_core.report import charts, gate_charts
from smar_core.report.data import ReportData
from smar_core.report.geometry import BarChart, LineChart
from smar_core.report.tables import HEADLINE, MAIN_SLICES, Cell, cell_of

POLICIES: Mapping[str, tuple[str, str]] = {
    "routed": ("Routed", "P(q) with its threshold, which was chosen on the validation days"),
    "always_text": ("Always 0", "every query to the text index"),
    "always_multimodal": ("Always 1", "every query to the multimodal index"),
    "oracle": ("Oracle", "each query to the index that serves it better; knows the clicks, so no gate reaches it"),
}
KINDS: Mapping[str, tuple[str, str]] = {
    "shuffled": ("Shuffled", "each product with another one's picture"),
    "blank": ("Blank", "the mean colour of all pictures"),
}
RELIANCE_SYSTEMS = {"model": "the routed search", "multimodal": "multimodal only"}
STATES = {True: ("present", "!"), False: ("absent", "✓"), None: ("not measured", "?")}
"""What is shown of ``Signature.is_present``: word and sign."""


@dataclass(frozen=True)
class PolicyRow:
    """A routing: its value and the routed search less it, a cell a slice."""

    label: str
    explanation: str
    values: tuple[Cell, ...]
    differences: tuple[Cell | None, ...]


@dataclass(frozen=True)
class RelianceRow:
    """A ranking with disturbed pictures: what it loses and which share of the gain over text only that is, a cell a slice."""

    label: str
    explanation: str
    losses: tuple[Cell, ...]
    shares: tuple[Cell | None, ...]


def slices_of(by_slice: Mapping[str, Any]) -> list[str]:
    """Return the slices that were measured, in the order in which the page shows them."""
    return [name for name in MAIN_SLICES if name in by_slice]


def policy_rows(gate: Mapping[str, Any]) -> list[PolicyRow]:
    """Return the routings that were compared."""
    policies, differences = gate.get("policies", {}), gate.get("differences", {})
    return [
        PolicyRow(
            *POLICIES[policy],
            tuple(policies[policy][name][HEADLINE] for name in slices_of(policies[policy])),
            tuple(cell_of(differences, f"routed - {policy}", name, HEADLINE) for name in slices_of(policies[policy])),
        )
        for policy in POLICIES
        if policy in policies
    ]


def best_threshold(gate: Mapping[str, Any]) -> Mapping[str, float] | None:
    """Return the point of the curve of highest value; of equal ones the nearest to the chosen threshold."""
    return max(
        gate.get("curve", ()), key=lambda point: (point["value"], -abs(point["threshold"] - gate["threshold"])), default=None
    )


def reliance_rows(reliance: Mapping[str, Any]) -> list[RelianceRow]:
    """Return what each kind of disturbed pictures costs each ranking."""
    rows = []
    for kind, (label, explanation) in KINDS.items():
        for system, loss in reliance.get(kind, {}).get("loss", {}).items():
            shares = reliance[kind].get("share_of_gain_lost", {}).get(system, {})
            names = slices_of(loss)
            rows.append(
                RelianceRow(
                    f"{label}, {RELIANCE_SYSTEMS[system]}",
                    explanation,
                    tuple(loss[name][HEADLINE] for name in names),
                    tuple(shares.get(name) for name in names),
                )
            )
    return rows


def reliance_chart(scores: Mapping[str, Any], model_label: str) -> charts.IntervalChart | None:
    """Lay out the routed search with true, blank and shuffled pictures, and text only, a row a slice."""
    reliance = scores.get("reliance") or {}
    disturbed = {kind: reliance[kind]["scores"] for kind in KINDS if kind in reliance}
    rows = []
    for name in slices_of(disturbed["shuffled"]["model"] if disturbed else {}):
        cells: Sequence[tuple[str, str, Cell | None]] = [
            ("model", f"{model_label}, true pictures", cell_of(scores, "model", name, HEADLINE)),
            *((kind, f"{kind} pictures", cell_of(of, "model", name, HEADLINE)) for kind, of in disturbed.items()),
            ("text-only", "text only", cell_of(scores, "text_only", name, HEADLINE)),
        ]
        measured = [(style, label, cell) for style, label, cell in cells if cell is not None]
        rows.append((MAIN_SLICES[name], f"{scores['model'][name]['num_queries']:,} queries", measured))
    return charts.draw_intervals(rows)


def threshold_chart(gate: Mapping[str, Any]) -> LineChart | None:
    """Lay out R@50 over the threshold, the chosen one marked."""
    oracle = cell_of(gate.get("policies", {}), "oracle", "overall", HEADLINE)
    return gate_charts.draw_thresholds(
        gate.get("curve", ()), gate.get("threshold", 0.5), None if oracle is None else oracle["value"], HEADLINE
    )


def signature_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the failure signatures, those present first, with word and sign of their state."""
    order = [True, None, False]
    found = sorted(scores.get("signatures") or (), key=lambda signature: order.index(signature["is_present"]))
    return [dict(signature) | dict(zip(("state", "sign"), STATES[signature["is_present"]], strict=True)) for signature in found]


def gate_chart(data: ReportData) -> BarChart | None:
    """Lay out what the gate says of the validation queries; None where it was not learned."""
    if data.gate_report.get("mode", "learned") != "learned":
        return None
    is_utility = data.gate_report.get("supervision") == "utility"
    return gate_charts.draw_probabilities(
        data.gate_probabilities,
        data.gate_is_visual,
        data.gate_report.get("threshold", 0.5),
        names=("the picture helps", "it does not") if is_utility else ("visual queries", "other queries"),
    )


def calibration_chart(gate_report: Mapping[str, Any]) -> gate_charts.CalibrationChart | None:
    """Lay out P against what it was taught; None where the gate was not learned."""
    if gate_report.get("mode") != "learned":
        return None
    is_item, is_utility = gate_report.get("side") == "item", gate_report.get("supervision") == "utility"
    bins = (gate_report.get("validation") or {}).get("bins") or ()
    taught = "share of visual items" if is_item else "visual share of clicks"
    p, groups = ("P(item)", "items") if is_item else ("P(q)", "queries")
    return gate_charts.draw_calibration(bins, p, groups, "share that the picture helps" if is_utility else taught)
