"""What the report is made of: figures as the stages wrote them, and products with their pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class ResultItem:
    """One product of a ranking.

    Attributes:
        item_id: Of the catalogue.
        title: To show.
        brand: To show, "" when absent.
        category: Path, "" when absent.
        score: Cosine of query and item.
        is_relevant: It was clicked for the query on the evaluated days.
        picture: JPEG, or None.
    """

    item_id: str
    title: str
    brand: str
    category: str
    score: float
    is_relevant: bool
    picture: bytes | None


@dataclass(frozen=True)
class Example:
    """A test query with what text alone and what the routed search found for it, best first.

    Attributes:
        query: Normalised.
        probability: P(q).
        routed_to: Index that answered the routed search.
        text_only: Results of the text index.
        routed: Results of the routed search.
        recall_text_only: R@50 of the text index for this query.
        recall_routed: R@50 of the routed search for this query.
    """

    query: str
    probability: float
    routed_to: str
    text_only: tuple[ResultItem, ...]
    routed: tuple[ResultItem, ...]
    recall_text_only: float
    recall_routed: float


@dataclass(frozen=True)
class Match:
    """A clicked product that one index alone finds for its query.

    Attributes:
        query: Normalised.
        found_by: ``multimodal`` or ``text``.
        rank: Of the product in that index.
        other_rank: In the other index; None when it is not among all that were ranked.
        title: Of the product.
        category: Path, "" when absent.
        picture: JPEG, or None.
    """

    query: str
    found_by: str
    rank: int
    other_rank: int | None
    title: str
    category: str
    picture: bytes | None


@dataclass(frozen=True)
class ReportData:
    """Everything that the page is made of; an empty mapping or sequence leaves its part out.

    Attributes:
        title: Of the page.
        scores: As in ``metrics.json``: systems by slice and measure, and what else ``evaluate`` says of them.
        curves: Tables of ``schemas.CURVE`` by stage, "pretrain" and "finetune".
        training: ``training.json`` by stage.
        gate_report: ``gate_report.json``.
        gate_probabilities: P(q) of the validation queries.
        gate_is_visual: Whether most clicks of each of them are on visual items.
        statistics: ``statistics.json`` of "items" and "clicks".
        drift: ``drift.json`` of the synthetic queries.
        bundle: ``bundle.json``.
        examples: Queries to show with pictures.
        matches: Products to show that one index alone finds.
    """

    title: str
    scores: Mapping[str, Any]
    curves: Mapping[str, pa.Table] = field(default_factory=dict)
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gate_report: Mapping[str, Any] = field(default_factory=dict)
    gate_probabilities: Sequence[float] = ()
    gate_is_visual: Sequence[bool] = ()
    statistics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    drift: Mapping[str, Any] = field(default_factory=dict)
    bundle: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    matches: Sequence[Match] = ()
