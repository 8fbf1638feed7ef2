"""The command of ``smar`` that measures run files: evaluate."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class TieRule(StrEnum):
    """What decides between equal scores."""

    rank = "rank"
    trec_eval = "trec_eval"


def evaluate(
    run: Annotated[Path, typer.Option(help="TREC run: lines of query_id Q0 item_id rank score tag.")],
    qrels: Annotated[Path, typer.Option(help="TREC qrels: lines of query_id 0 item_id grade; a grade above 0 is relevant.")],
    baselines: Annotated[
        list[Path] | None, typer.Option("--baseline", metavar="RUN", help="Run to compare with. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for metrics.json and per_query.parquet.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="evaluate.KEY=VALUE",
            help="cutoffs, num_bootstrap_samples, confidence or seed, for example evaluate.cutoffs=[5,10,50]. Repeatable.",
        ),
    ] = None,
    ties: Annotated[
        TieRule, typer.Option(help="Order of equal scores: the file's ranks, or item ids downwards as trec_eval has it.")
    ] = TieRule.rank,
) -> None:
    """Measure any TREC run against any qrels, and say how sure its difference to baselines is. Needs no run of this program.

    Recall, precision, F1, nDCG and reciprocal rank with bootstrap intervals over queries; of each difference the paired
    interval, the gain in percent, and the p-value of a paired randomisation test, corrected by Holm for several baselines.
    A query that a run lacks scores 0.

    What the picture brought to a finished run, for example:

    `smar evaluate --run runs/demo/run-model.trec --baseline runs/demo/run-text_only.trec --qrels runs/demo/qrels.trec`
    """
    from rich.console import Console

    from pipelines.comparing import evaluate_runs

    evaluate_runs(run, qrels, baselines or [], out, settings or [], ties.value, Console())
