"""The tables of an experiment: rows of words, for the page and for Markdown.

Differences are in points (hundredths), since R@50 differs in its second decimal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from smar_core.experiments.findings import MEASURES, Axis, Difference, Experiment, Row
from smar_core.experiments.records import MEASURE, Cell
from smar_core.report import formats

SLICE_NAMES = {"overall": "all queries", "fashion": "fashion", "not_fashion": "not fashion"}
NONE = "\N{EN DASH}"
"""Stands where there is nothing."""


@dataclass(frozen=True)
class Table:
    """A table of words.

    Attributes:
        title: What it shows: a clause.
        columns: Heads.
        rows: Cells; the first one names the row.
        note: How to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def make_tables(experiment: Experiment) -> list[Table]:
    """Return the tables of an experiment: measures, then what was compared."""
    tables = [_recall(experiment), _precision(experiment)]
    if experiment.differences:
        title = f"Difference to {experiment.baseline} in R@50, points"
        tables.append(_differences(title, experiment.differences, "Holm's correction is over the rows of a column."))
    if experiment.headline:
        title = f"{experiment.baseline} less {experiment.headline[0].baseline} in R@50, points"
        tables.append(_differences(title, experiment.headline, "Asked by itself, therefore p is not corrected."))
    for axis in experiment.axes:
        title = f"{axis.key}: difference to the preset's own value, {axis.own}, in R@50, points"
        tables.append(_differences(title, axis.differences, "Holm's correction is over the values of the axis."))
        tables.append(_choices(axis))
    return tables


def describe(experiment: Experiment) -> str:
    """Return one sentence about what was trained and measured."""
    num_trials = sum(len(row.seeds) for row in experiment.rows)
    shown = [setting for setting in experiment.settings if not setting.startswith("evaluate.split=")]
    settings = f" with {' '.join(shown)}" if shown else ""
    counts = ", ".join(f"{SLICE_NAMES[name]} {count:,}" for name, count in experiment.num_queries.items())
    days = {"test": "test days", "validation": "validation days"}[experiment.split]
    return (
        f"Preset {experiment.preset}{settings}; {num_trials} trainings; {days}; queries: {counts}. "
        f"{'; '.join(experiment.hardware)}."
    )


def points_of(cell: Cell) -> str:
    """Return a difference with its interval, in points.

    >>> points_of(Cell(value=-0.0123, low=-0.02, high=-0.0001))
    '−1.2 [−2.0, +0.0]'
    """
    value, low, high = map(formats.points, (cell.value, cell.low, cell.high))
    return f"{value} [{low}, {high}]"


def probability(value: float) -> str:
    """Return a p-value; the smallest that the test can give is about .0001.

    >>> probability(0.00009999), probability(0.0213), probability(1.0)
    ('p<.001', 'p=.021', 'p=1')
    """
    written = formats.p_value(value)
    if written.startswith("<"):
        return f"p{written.replace(' 0', '')}"
    return f"p={written.removeprefix('0').removesuffix('.000')}"


def _recall(experiment: Experiment) -> Table:
    slices = list(experiment.num_queries)
    rows = [
        (
            row.setting,
            ", ".join(map(str, row.seeds)),
            *(_value(row, MEASURE, name) for name in slices),
            NONE if row.synthetic_ratio_seen is None else f"{row.synthetic_ratio_seen:.1f}",
            f"{row.seconds / 60:.1f}" if row.seconds else NONE,
        )
        for row in experiment.rows
    ]
    note = (
        "Means over queries and seeds, with the 95% bootstrap interval over queries and, after ±, the standard deviation "
        "between seeds in points. Synthetic: distinct synthetic pairs that pre-training has seen, a training query. Minutes: all "
        "stages of a training, prepared data aside."
    )
    return Table(MEASURE, ("", "seeds", *(SLICE_NAMES[name] for name in slices), "synthetic", "minutes"), tuple(rows), note)


def _precision(experiment: Experiment) -> Table:
    others = [(measure, name) for measure in MEASURES if measure != MEASURE for name in experiment.num_queries]
    rows = [(row.setting, *(_value(row, measure, name) for measure, name in others)) for row in experiment.rows]
    columns = ("", *(f"{measure} {SLICE_NAMES[name]}" for measure, name in others))
    return Table("P@50 and F1@50", columns, tuple(rows), "Means over queries and seeds. F1@50 is made of the two means.")


def _value(row: Row, measure: str, slice_name: str) -> str:
    """Return a value; R@50, which is compared, with its interval and its spread between seeds."""
    cell = row.measures[slice_name].get(measure)
    if cell is None:
        return NONE
    if measure != MEASURE:
        return f"{cell.value:.3f}"
    spread = f" ±{100 * row.deviation[slice_name]:.1f}" if slice_name in row.deviation else ""
    return f"{cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}]{spread}"


def _differences(title: str, differences: Sequence[Difference], family: str) -> Table:
    slices = list(dict.fromkeys(difference.slice for difference in differences))
    settings = list(dict.fromkeys(difference.setting for difference in differences))
    known = {(d.setting, d.slice): d for d in differences}
    rows = []
    for setting in settings:
        seeds = known[setting, slices[0]].seeds
        of_slices = [known[setting, name] for name in slices]
        rows.append((setting, str(len(seeds)), *(f"{points_of(d.difference)}, {probability(d.holm_p_value)}" for d in of_slices)))
        if len(seeds) > 1:
            rows.append(
                ("over trainings too", "", *(NONE if d.over_seeds is None else points_of(d.over_seeds) for d in of_slices))
            )
    note = (
        f"Mean over common seeds, with the paired 95% bootstrap interval over queries and the paired randomisation test. {family}"
    )
    if any(difference.over_seeds is not None for difference in differences):
        note += " Over trainings too: the interval with the seeds resampled beside the queries, as widely as they spread."
    return Table(title, ("", "seeds", *(SLICE_NAMES[name] for name in slices)), tuple(rows), note)


def _choices(axis: Axis) -> Table:
    rows = []
    for choice in axis.choices:
        difference = choice.against_own
        told = (
            "the preset's own"
            if difference is None
            else f"{points_of(difference.difference)}, {probability(difference.holm_p_value)}"
        )
        rows.append((SLICE_NAMES[choice.slice], choice.value, told))
    note = (
        "The value of the largest gain over the preset's own, each over the seeds that both were trained with; where its "
        "interval holds 0, the data do not tell the two apart."
    )
    return Table(f"{axis.key}: best value", ("", "value", "against the preset's own"), tuple(rows), note)
