"""Tables of scores: systems by slice, differences between systems, and the many small slices in groups.

Only the slices of ``MAIN_SLICES`` stand beside each other as columns. All others become rows, model against text only, a table a
group: a page with thirty columns is read by nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Cell = Mapping[str, Any]
"""A measure's value with its interval: "value", "low", "high"; a difference also has "relative_percent", "p" and "p_holm"."""

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
CONSTANT_GATES: Mapping[str, tuple[str, str]] = {
    "always_text": ("Text model", "every query to its text index"),
    "always_multimodal": ("Multimodal model", "every query to its index of text with picture"),
    "always_image": ("Picture model", "every query to its index of pictures"),
}
"""What ``model`` is called where no gate was learned."""

MAIN_SLICES: Mapping[str, str] = {
    "overall": "All queries",
    "fashion": "Fashion",
    "not_fashion": "Not fashion",
    "seen_query": "Seen queries",
    "unseen_query": "Unseen queries",
    "unseen_pair": "New pairs",
    "unseen_item": "New items",
}
OTHER_SLICES: Mapping[str, Mapping[str, str]] = {
    "Frequency": {"head": "Head", "torso": "Torso", "tail": "Tail"},
    "Length": {"words_1": "1 word", "words_2": "2 words", "words_3": "3 words", "words_4_or_more": "4 words or more"},
    "Pictures of the clicked products": {
        "with_image": "All have a picture",
        "without_image": "Some have none",
        "picture_distinct": "Mostly distinct",
        "picture_near_duplicate": "Mostly near-duplicates",
        "picture_stock": "Mostly stock pictures",
        "picture_blank": "Mostly blank",
    },
    "Seen in training": {
        "seen_item": "Seen items",
        "seen_query_seen_item": "Seen queries, seen items",
        "seen_query_unseen_item": "Seen queries, new items",
        "unseen_query_seen_item": "Unseen queries, seen items",
        "unseen_query_unseen_item": "Unseen queries, new items",
    },
    "Made queries": {"synthetic": "Held-out synthetic queries"},
}
"""What the other slices are called, by group; those of categories are named by themselves."""

CATEGORY = "category:"
HEADLINE = "R@50"
MAXIMUM = "_max"
"""End of a measure's name: the most that a perfect ranking could reach."""

GAIN = "model - text_only"

_MEASURE_KINDS = ("R", "P", "F1", "nDCG", "RR")


@dataclass(frozen=True)
class ScoreTable:
    """One measure: a row a system, a column a slice."""

    measure: str
    columns: tuple[tuple[str, int], ...]  # label, number of queries
    rows: tuple[tuple[str, str, tuple[Cell | None, ...]], ...]  # label, explanation, cells; the model first
    best: tuple[float | None, ...]  # the highest value of each column


@dataclass(frozen=True)
class DifferenceTable:
    """One measure: a row a pair of systems, a column a slice."""

    measure: str
    num_decimals: int  # of the points
    columns: tuple[tuple[str, int], ...]  # label, number of queries
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]  # label, cells


@dataclass(frozen=True)
class SliceGroup:
    """Slices of one kind: a row a slice, model against text only."""

    label: str
    rows: tuple[tuple[str, int, Cell, Cell | None, Cell | None], ...]  # label, queries, model, text only, difference

    @property
    def has_differences(self) -> bool:
        """Whether the model was compared with text only."""
        return any(difference is not None for *_, difference in self.rows)


def systems_of(scores: Mapping[str, Any]) -> Systems:
    """Return those entries that are systems, or pairs of them: mappings of slices, each with its number of queries.

    They come in the order of ``SYSTEMS``, whatever that of the scores is: stored JSON has its keys in alphabetical order.
    """
    found = {
        name: entry
        for name, entry in scores.items()
        if isinstance(entry, Mapping) and entry and all(isinstance(s, Mapping) and "num_queries" in s for s in entry.values())
    }
    order = list(SYSTEMS)
    places = {name: [order.index(part) if part in order else len(order) for part in name.split(" - ")] for name in found}
    return {name: found[name] for name in sorted(found, key=places.__getitem__)}


def cell_of(systems: Systems, system: str, slice_: str, measure: str) -> Cell | None:
    """Return a cell, or None where it is not there or has no value."""
    cell = systems.get(system, {}).get(slice_, {}).get(measure)
    return cell if cell is not None and cell["value"] is not None else None


def system_names(gate_mode: str) -> dict[str, tuple[str, str]]:
    """Return label and explanation of each system, for a gate of that mode."""
    return dict(SYSTEMS) | ({"model": CONSTANT_GATES[gate_mode]} if gate_mode in CONSTANT_GATES else {})


def slice_label(name: str) -> str:
    """Return what a slice is called.

    >>> slice_label("not_fashion"), slice_label("category:Apparel"), slice_label("words_1")
    ('Not fashion', 'Apparel', '1 word')
    """
    known = {name: label for group in (MAIN_SLICES, *OTHER_SLICES.values()) for name, label in group.items()}
    return known.get(name, as_sentence(name.removeprefix(CATEGORY)))


def as_sentence(name: str) -> str:
    """Return a name as a person writes it.

    >>> as_sentence("text_only_distilled")
    'Text only distilled'
    """
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def score_tables(systems: Systems, names: Mapping[str, tuple[str, str]]) -> list[ScoreTable]:
    """Return a table a measure, the headline measure first."""
    return [_score_table(systems, measure, names) for measure in _measures(systems) if not measure.endswith(MAXIMUM)]


def difference_tables(differences: Systems, names: Mapping[str, tuple[str, str]]) -> list[DifferenceTable]:
    """Return a table a measure of the pairs of systems, the headline measure first."""
    slices = _main_slices(differences)
    tables = []
    for measure in _measures(differences):
        rows = tuple(
            (_pair_label(pair, names), tuple(cell_of(differences, pair, name, measure) for name in slices))
            for pair in differences
        )
        tables.append(
            DifferenceTable(measure, 2 if measure.startswith(("P@", "F1@")) else 1, _columns(differences, slices), rows)
        )
    return tables


def slice_groups(systems: Systems, differences: Systems, measure: str = HEADLINE) -> list[SliceGroup]:
    """Return the slices that are no column of the main tables, by kind; categories first, as most tell a shop by them."""
    measured = systems.get("model", {})
    groups = {"Category": [name for name in measured if name.startswith(CATEGORY)]}
    groups |= {label: [name for name in group if name in measured] for label, group in OTHER_SLICES.items()}
    known = {*MAIN_SLICES, *(name for names in groups.values() for name in names)}
    groups["Other queries"] = [name for name in measured if name not in known]
    rows = {label: _slice_rows(systems, differences, names, measure) for label, names in groups.items()}
    return [SliceGroup(label, tuple(of_group)) for label, of_group in rows.items() if of_group]


def ann_rows(scores: Mapping[str, Any], model_label: str) -> list[tuple[str, Cell]]:
    """Return what the approximate indexes keep: of the exact ranking, and of the relevance."""
    ann = scores.get("ann") or {}
    rows = [
        (f"{modality} index, {measure} of the exact ranking", cell)
        for modality, entry in sorted(ann.items(), key=lambda index: index[0] != "text")
        for measure, cell in entry.items()
        if measure.startswith("recall@")
    ]
    for label, systems in (("approximate", ann), ("exact", scores)):
        cell = cell_of(systems, "model", "overall", HEADLINE)
        if ann and cell is not None:
            rows.append((f"{model_label}, {HEADLINE}, {label} search", cell))
    return rows


def _measures(systems: Systems) -> list[str]:
    every_slice = [slice_ for entry in systems.values() for slice_ in entry.values()]
    measures = dict.fromkeys(name for slice_ in every_slice for name, cell in slice_.items() if isinstance(cell, Mapping))
    return sorted(measures, key=_measure_place)


def _measure_place(name: str) -> tuple[bool, int, int]:
    """Return a sort key: the headline measure first, then by cutoff and kind."""
    kind, _, cutoff = name.removesuffix(MAXIMUM).partition("@")
    return name != HEADLINE, int(cutoff) if cutoff.isdigit() else 0, _MEASURE_KINDS.index(kind) if kind in _MEASURE_KINDS else -1


def _main_slices(systems: Systems) -> list[str]:
    return [name for name in MAIN_SLICES if any(name in entry for entry in systems.values())]


def _columns(systems: Systems, slices: Sequence[str]) -> tuple[tuple[str, int], ...]:
    return tuple((slice_label(name), max(of[name]["num_queries"] for of in systems.values() if name in of)) for name in slices)


def _score_table(systems: Systems, measure: str, names: Mapping[str, tuple[str, str]]) -> ScoreTable:
    """Return one measure's table; its last row is the value of a perfect ranking, where that is known to be below 1."""
    slices = _main_slices(systems)
    rows = [
        (*names.get(system, (as_sentence(system), "")), tuple(cell_of(systems, system, name, measure) for name in slices))
        for system in systems
    ]
    columns = [[cells[place] for _, _, cells in rows] for place in range(len(slices))]
    best = tuple(max((cell["value"] for cell in column if cell is not None), default=None) for column in columns)
    maximum = tuple(cell_of(systems, next(iter(systems)), name, measure + MAXIMUM) for name in slices)
    if any(maximum):
        rows.append(("Reachable maximum", "a perfect ranking", maximum))
    return ScoreTable(measure, _columns(systems, slices), tuple(rows), best)


def _pair_label(pair: str, names: Mapping[str, tuple[str, str]]) -> str:
    first, _, second = pair.partition(" - ")
    return f"{names.get(first, (as_sentence(first), ''))[0]} against {names.get(second, (as_sentence(second), ''))[0].lower()}"


def _slice_rows(
    systems: Systems, differences: Systems, names: Sequence[str], measure: str
) -> list[tuple[str, int, Cell, Cell | None, Cell | None]]:
    rows = []
    for name in names:
        cell = cell_of(systems, "model", name, measure)
        if cell is not None:
            text, difference = cell_of(systems, "text_only", name, measure), cell_of(differences, GAIN, name, measure)
            rows.append((slice_label(name), systems["model"][name]["num_queries"], cell, text, difference))
    return rows
