"""Tables that are folded away: what stands beside the routed search of each setting (``diagnosis``).

A table is left out where no setting has anything for it, and a setting where one of its trials has nothing.
"""

from collections.abc import Callable, Iterator

from smar_core.experiments.diagnosis import SYSTEMS, BySlice
from smar_core.experiments.findings import Experiment, Row
from smar_core.experiments.table import NONE, SLICE_NAMES, Table, points_of
from smar_core.report.formats import USUAL_CONFIDENCE, confidence

_SEEDS = "Means over queries and seeds."
_OTHER_INTERVALS = (
    "The trials' evaluations differ in confidence, num_bootstrap_samples or seed, or files of earlier versions do not say: "
    "intervals are not to be compared between settings."
)
_OTHER_JUDGMENTS = (
    "The trials were judged by different judgments, or files of earlier versions do not say: what is judged or attainable is not "
    "to be compared between settings."
)
_MODALITIES = ("text", "multimodal", "image", "gated")


def make_details(experiment: Experiment) -> list[Table]:
    """Return the folded tables of an experiment that have a row."""
    slices = tuple(experiment.num_queries)
    names = tuple(SLICE_NAMES[name] for name in slices)
    interval = _describe_interval(experiment)
    other_intervals = f" {_OTHER_INTERVALS}" if len(experiment.intervals) > 1 else ""
    other_judgments = f" {_OTHER_JUDGMENTS}" if len(experiment.judgments) > 1 else ""
    tables = [
        _table("Each index searched alone, R@50", ("index", *names), experiment, lambda row: _systems(row, slices), _SEEDS),
        _table(
            "Routings, R@50",
            ("routing", *names),
            experiment,
            lambda row: _routings(row, slices),
            f"{_SEEDS} In brackets what the gate's routing has more, in points, with the paired {interval}. The oracle takes "
            f"each query's better index, by the clicks that it is measured on: no gate can reach it.{other_intervals}",
        ),
        _table(
            "Reliance on pictures: R@50 lost when they are wrong, points",
            ("pictures", "system", *names),
            experiment,
            lambda row: _reliance(row, slices),
            f"{_SEEDS} Shuffled: every item has another one's pictures; blank: all have the mean colour. With the paired "
            f"{interval} and, where there is a gain over the text index, the share of it that is lost.{other_intervals}",
        ),
        _table(
            "Exclusive matches: pairs of query and clicked item in the first 50 of one index alone",
            ("index", *names),
            experiment,
            lambda row: _exclusive(row, slices),
            f"{_SEEDS} In brackets the share of all pairs.",
        ),
        _table(
            "Other views of the routed search",
            ("view", *names),
            experiment,
            lambda row: _views(row, slices),
            f"{_SEEDS} By traffic: each query counts as often as it was clicked for. Judged: on grades that nothing was trained "
            "on. Attainable: R@50 of a ranking by those grades, which a model can pass only by what the log knows beside them."
            f"{other_judgments}",
        ),
        _table(
            "Gate: AUC of P(q) for the queries that the multimodal index serves better",
            ("AUC",),
            experiment,
            _gate,
            f"{_SEEDS} With the {interval}; .5 is chance.{other_intervals}",
        ),
        _table(
            "Approximate search: share of the exact top 50 that is found",
            _MODALITIES,
            experiment,
            _ann,
            f"{_SEEDS} It says nothing of relevance.",
        ),
    ]
    return [table for table in tables if table.rows]


def _describe_interval(experiment: Experiment) -> str:
    """Return what a diagnosis' interval is, in words; of several seeds no common one can be made any more."""
    shares = {USUAL_CONFIDENCE if settings is None else settings.confidence for settings in experiment.intervals}
    words = f"{' or '.join(map(confidence, sorted(shares)))} bootstrap interval over queries"
    has_seeds = any(len(row.diagnosed_seeds) > 1 for row in experiment.rows)
    return f"{words} (of several seeds, the mean of the seeds' intervals)" if has_seeds else words


def _table(
    title: str, columns: tuple[str, ...], experiment: Experiment, cells_of: Callable[[Row], Iterator[tuple[str, ...]]], note: str
) -> Table:
    rows = tuple(
        (row.setting, ", ".join(map(str, row.diagnosed_seeds)), *cells) for row in experiment.rows for cells in cells_of(row)
    )
    return Table(title, ("", "seeds", *columns), rows, note)


def _systems(row: Row, slices: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for system in SYSTEMS:
        if system in row.diagnosis.systems:
            yield system, *_values(row.diagnosis.systems[system], slices)


def _routings(row: Row, slices: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for policy, by_slice in row.diagnosis.policies.items():
        gain = row.diagnosis.routing_gain.get(policy, {})
        told = [f" ({points_of(gain[name])})" if name in gain else "" for name in slices]
        yield policy, *(value + more for value, more in zip(_values(by_slice, slices), told, strict=True))


def _reliance(row: Row, slices: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for kind, of in row.diagnosis.loss.items():
        for system, loss in of.items():
            share = row.diagnosis.share_of_gain_lost.get(kind, {}).get(system, {})
            told = [f", {100 * share[name].value:.0f}%" if name in share else "" for name in slices]
            lost = [points_of(loss[name]) if name in loss else NONE for name in slices]
            yield kind, system, *(words + more for words, more in zip(lost, told, strict=True))


def _exclusive(row: Row, slices: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for index, count in (("multimodal", "num_multimodal_only"), ("text", "num_text_only")):
        if row.diagnosis.exclusive:
            of_slices = (row.diagnosis.exclusive.get(name) for name in slices)
            yield index, *(NONE if of is None else f"{of[count]:.0f} ({of[count] / of['num_pairs']:.1%})" for of in of_slices)


def _views(row: Row, slices: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    found = row.diagnosis
    for view, by_slice in (
        ("R@50 by traffic", found.traffic),
        ("nDCG@10, judged", found.judged),
        ("R@50 attainable", found.attainable),
    ):
        if by_slice:
            yield view, *_values(by_slice, slices)


def _gate(row: Row) -> Iterator[tuple[str, ...]]:
    auc = row.diagnosis.gate_auc
    if auc is not None:
        yield (f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]",)


def _ann(row: Row) -> Iterator[tuple[str, ...]]:
    ann = row.diagnosis.ann
    if ann:
        yield tuple(f"{ann[modality].value:.4f}" if modality in ann else NONE for modality in _MODALITIES)


def _values(by_slice: BySlice, slices: tuple[str, ...]) -> list[str]:
    return [f"{by_slice[name].value:.3f}" if name in by_slice else NONE for name in slices]
