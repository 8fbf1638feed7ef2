"""The tables of an experiment as Markdown, for documents; what is folded on the page is folded here."""

from collections.abc import Sequence
from pathlib import Path

from smar_core.experiments.details import make_details
from smar_core.experiments.findings import Experiment
from smar_core.experiments.table import Table, describe, make_tables


def as_markdown(experiment: Experiment) -> str:
    """Return the tables, and what they were made with, as Markdown."""
    parts = [f"{describe(experiment)}\n"]
    parts += [f"**{table.title}**\n\n{_table(table)}" for table in make_tables(experiment)]
    parts += [f"<details><summary>{table.title}</summary>\n\n{_table(table)}\n</details>\n" for table in make_details(experiment)]
    return "\n".join(parts)


def write_table(path: Path, experiment: Experiment) -> None:
    """Write the tables as Markdown."""
    path.write_text(as_markdown(experiment), encoding="utf-8")


def _table(table: Table) -> str:
    lines = [_line(table.columns), _line(["---", *["---:"] * (len(table.columns) - 1)]), *map(_line, table.rows)]
    return "\n".join([*lines, "", table.note, ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
