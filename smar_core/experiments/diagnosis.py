"""What a trial's file keeps beside the routed search: each index alone, other routings, disturbed pictures, approximate search.

Statements such as "the pictures bring it, not the training" or "the gate earns less than the best routing would" rest on these
figures, and a trial's artifacts are gone long before its file is. They are R@50, where nothing else is said, with the interval of
their own evaluation, without values by query: of several seeds the means of values and of bounds are shown, as of any measure
that is not kept by query. Left out: thresholds and calibration curves; those are in a run's own report.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from smar_core.experiments.records import COMPARED_SLICES, DIGITS, MEASURE, Cell, Record

SYSTEMS = ("text_only", "multimodal", "image")
"""Systems that are kept: each index of the model, searched for every query."""

ANN_MEASURE = "recall@50"
JUDGED_MEASURE = "nDCG@10"

EXCLUSIVE_COUNTS = ("num_pairs", "num_multimodal_only", "num_text_only")
"""What is kept of the pairs of a query and a clicked item, by which index alone finds them (``evaluation.exclusive``)."""

BySlice = dict[str, Cell]


class Intervals(Record):
    """What an evaluation made its intervals with: its settings of these names."""

    confidence: float
    num_bootstrap_samples: int
    seed: int


class Diagnosis(Record):
    """What takes a trial's model apart; whatever a model does not have, and files of earlier versions, lack.

    Attributes:
        systems: R@50 by system (``SYSTEMS``) and slice.
        policies: R@50 by routing (``evaluation.routing``: routed, always_text, always_multimodal, oracle) and slice.
        routing_gain: R@50 of the gate's routing less that of each other one, by that and slice.
        loss: R@50 lost with disturbed pictures, by kind (``evaluation.reliance``: shuffled, blank), system and slice.
        share_of_gain_lost: The same as a share of the gain over text, where there is one.
        ann: Share of the exact top 50 that each approximate index finds, by modality.
        exclusive: Pairs by slice and count (``EXCLUSIVE_COUNTS``).
        judged: nDCG@10 of the routed search on graded judgments, by slice.
        traffic: R@50 of the routed search, each query as often as it was clicked for, by slice.
        attainable: R@50 of a ranking by the graded judgments, by slice (``evaluation.attainable``).
        gate_auc: How well P(q) tells the queries that the multimodal index serves better.
        judgments: Digest of the judgments that ``judged`` and ``attainable`` rest on.
        intervals: What the intervals were made with.
    """

    systems: dict[str, BySlice] = Field(default_factory=dict)
    policies: dict[str, BySlice] = Field(default_factory=dict)
    routing_gain: dict[str, BySlice] = Field(default_factory=dict)
    loss: dict[str, dict[str, BySlice]] = Field(default_factory=dict)
    share_of_gain_lost: dict[str, dict[str, BySlice]] = Field(default_factory=dict)
    ann: BySlice = Field(default_factory=dict)
    exclusive: dict[str, dict[str, float]] = Field(default_factory=dict)
    judged: BySlice = Field(default_factory=dict)
    traffic: BySlice = Field(default_factory=dict)
    attainable: BySlice = Field(default_factory=dict)
    gate_auc: Cell | None = None
    judgments: str | None = None
    intervals: Intervals | None = None


_FIGURES = tuple(name for name in Diagnosis.model_fields if name not in ("judgments", "intervals"))


def gather_diagnosis(scores: Mapping[str, Any]) -> Diagnosis:
    """Return what a ``scores.json`` has of it.

    >>> cell = {"value": 0.5, "low": 0.25, "high": 0.75}
    >>> found = gather_diagnosis({"image": {"overall": {"num_queries": 2, "R@50": cell}}})
    >>> found.systems
    {'image': {'overall': Cell(value=0.5, low=0.25, high=0.75)}}
    >>> found.policies
    {}
    """
    gate, reliance = scores.get("gate", {}), scores.get("reliance", {})
    shares = {kind: of["share_of_gain_lost"] for kind, of in reliance.items() if "share_of_gain_lost" in of}
    ann = {name: of[ANN_MEASURE] for name, of in scores.get("ann", {}).items() if ANN_MEASURE in of}
    attainable = scores.get("attainable", {}).get("slices", {})
    settings = {name: of for name, of in scores.get("queries", {}).items() if name in Intervals.model_fields}
    auc = gate.get("utility", {}).get("auc")
    return Diagnosis(
        systems={system: _by_slice(scores[system]) for system in SYSTEMS if system in scores},
        policies={policy: _by_slice(of) for policy, of in gate.get("policies", {}).items()},
        routing_gain={pair.removeprefix("routed - "): _by_slice(of) for pair, of in gate.get("differences", {}).items()},
        loss={kind: {system: _by_slice(by) for system, by in of["loss"].items()} for kind, of in reliance.items()},
        share_of_gain_lost={
            kind: {system: {name: _cell(share) for name, share in by.items() if share is not None} for system, by in of.items()}
            for kind, of in shares.items()
        },
        ann={name: _cell(of) for name, of in ann.items()},
        exclusive={
            name: {count: float(of[count]) for count in EXCLUSIVE_COUNTS}
            for name, of in scores.get("exclusive", {}).items()
            if name in COMPARED_SLICES
        },
        judged=_by_slice(scores.get("judged", {}).get("model", {}), JUDGED_MEASURE),
        traffic=_by_slice(scores.get("traffic", {}).get("model", {})),
        attainable={name: _cell(of["attainable"]) for name, of in attainable.items()},
        gate_auc=None if auc is None else _cell(auc),
        judgments=scores.get("judged", {}).get("digest"),
        intervals=Intervals(**settings) if settings else None,
    )


def mean_diagnosis(diagnoses: Sequence[Diagnosis]) -> Diagnosis:
    """Return the means over seeds of the figures that all of them have; of no seed, nothing.

    So a file of an earlier version, which lacks a part, hides that part of its setting: it is to be made anew.
    """
    if not diagnoses:
        return Diagnosis()
    return Diagnosis.model_validate({name: _mean([getattr(d, name) for d in diagnoses]) for name in _FIGURES})


def _by_slice(cells: Mapping[str, Any], measure: str = MEASURE) -> BySlice:
    return {name: _cell(cells[name][measure]) for name in COMPARED_SLICES if measure in cells.get(name, {})}


def _cell(parts: Mapping[str, float]) -> Cell:
    return Cell(**{name: round(parts[name], DIGITS) for name in Cell.model_fields})


def _mean(trees: Sequence[Any]) -> Any:
    """Return the mean of cells and counts that stand at the same places of dicts."""
    first = trees[0]
    if any(tree is None for tree in trees):
        return None
    if isinstance(first, float):
        return round(sum(trees) / len(trees), DIGITS)
    if isinstance(first, Cell):
        return Cell(**{p: round(sum(getattr(c, p) for c in trees) / len(trees), DIGITS) for p in Cell.model_fields})
    return {name: _mean([tree[name] for tree in trees]) for name in first if all(name in tree for tree in trees)}
