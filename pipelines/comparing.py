"""``smar evaluate``: run files measured from the command line, as tables and, where a folder is named, as files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from smar_core.artifact import write_json
from smar_core.config import EvaluateConfig, load_config
from smar_core.errors import UserError
from smar_core.evaluation.comparison import SLICE, RunComparison, Ties, compare_runs
from smar_core.report.formats import confidence

METRICS, PER_QUERY = "metrics.json", "per_query.parquet"
USED_SETTINGS = ("cutoffs", "num_bootstrap_samples", "confidence", "seed")
"""Settings of ``evaluate`` that mean something without a model."""


def evaluate_runs(
    run: Path, qrels: Path, baselines: Sequence[Path], out: Path | None, settings: Sequence[str], ties: Ties, console: Console
) -> None:
    """Measure a run against qrels and compare it with baselines; print tables, and write files where a folder is named.

    Args:
        run, qrels: TREC files.
        baselines: Further TREC runs.
        out: Folder for metrics.json and per_query.parquet, or None.
        settings: ``evaluate.key=value`` overrides.
        ties: What decides between equal scores.
        console: Where the tables go.

    Raises:
        UserError: A file or setting does not serve, or the folder cannot be written.
    """
    config = _read_settings(settings)
    if out is not None:
        _check_folder(out)
    found = compare_runs(run, baselines, qrels, config, ties)
    if out is not None:
        _write(found, out)
    for table in (_score_table(found.scores, config), *_difference_tables(found.scores)):
        console.print(table)
    for line in _count_lines(found.scores["queries"]):
        console.print(line, highlight=False)


def _read_settings(settings: Sequence[str]) -> EvaluateConfig:
    for setting in settings:
        key = setting.partition("=")[0].strip()
        if key.removeprefix("evaluate.") not in USED_SETTINGS or not key.startswith("evaluate."):
            raise UserError(
                f"{key} changes nothing in the measures of a run file", f"set one of evaluate.{', evaluate.'.join(USED_SETTINGS)}"
            )
    return load_config(None, settings).evaluate


def _check_folder(out: Path) -> None:
    """Refuse, before anything is measured, a folder that cannot be made or that holds other results."""
    for name in (METRICS, PER_QUERY):
        if (out / name).exists():
            raise UserError(f"{out} already holds {name}", "name a new folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made a folder ({error.strerror})", "name another one with --out") from None


def _write(found: RunComparison, out: Path) -> None:
    try:
        pq.write_table(found.per_query, out / PER_QUERY)
        write_json(out / METRICS, found.scores)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror})", "free some space or name another folder") from None


def _runs(scores: Mapping[str, Any]) -> list[str]:
    return [name for name in scores if name not in ("differences", "queries")]


def _measures(part: Mapping[str, Any]) -> list[str]:
    return [name for name in part if name != "num_queries" and not name.endswith("_max")]


def _score_table(scores: Mapping[str, Any], config: EvaluateConfig) -> Table:
    """A row a measure, a column a run."""
    names = _runs(scores)
    first = scores[names[0]][SLICE]
    table = _table(f"{first['num_queries']:,} queries, with {confidence(config.confidence)} intervals", names)
    for measure in _measures(first):
        table.add_row(measure, *(_interval(scores[name][SLICE][measure]) for name in names))
    return table


def _difference_tables(scores: Mapping[str, Any]) -> Iterable[Table]:
    """A table a baseline: a row a measure."""
    family = len(scores["differences"])
    for pair, slices in scores["differences"].items():
        title = f"{pair}, paired by query" + (f"; Holm's correction over {family} baselines" if family > 1 else "")
        table = _table(title, ("difference", "in percent", "p", *(("p Holm",) if family > 1 else ())))
        for measure in _measures(slices[SLICE]):
            cell = slices[SLICE][measure]
            p_values = [_p_value(cell["p"]), *([_p_value(cell["p_holm"])] if family > 1 else [])]
            table.add_row(measure, _interval(cell, "+.4f"), _percent(cell["relative_percent"]), *p_values)
        yield table


def _table(title: str, columns: Iterable[str]) -> Table:
    """Return an empty table, narrow enough for three runs on a terminal of 80 columns."""
    table = Table(
        "measure", title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _interval(cell: Mapping[str, float], form: str = ".3f") -> str:
    value = format(cell["value"], form.replace("3", "4"))
    return escape(f"{value} [{cell['low']:{form}}, {cell['high']:{form}}]")


def _percent(cell: Mapping[str, float] | None) -> str:
    """The baseline's mean may be 0."""
    return "" if cell is None else escape(f"{cell['value']:+.1f} [{cell['low']:+.1f}, {cell['high']:+.1f}]")


def _p_value(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0002 else "< 0.0002"


def _count_lines(queries: Mapping[str, Any]) -> Iterable[str]:
    """Say what was not as it should be."""
    if queries["num_excluded"]:
        yield f"{queries['num_excluded']:,} queries of the qrels have no relevant item and are left out."
    for name, counts in queries["runs"].items():
        if counts["num_missing_queries"]:
            yield f"{name} lacks {counts['num_missing_queries']:,} queries, which score 0."
        if counts["num_unknown_queries"]:
            yield f"{name} has {counts['num_unknown_queries']:,} queries that the qrels do not judge; they are ignored."
