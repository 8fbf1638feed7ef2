"""The command of ``smar`` that takes a new catalogue in: refresh."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import (
    Columns,
    Images,
    Judgments,
    NoCache,
    Preset,
    RefreshOverrides,
    Runner,
    RunnerOption,
    read_sources,
)


def refresh(
    items: Annotated[str, typer.Option(help="The new catalogue: Parquet, CSV or JSON lines; file, folder or URI.")],
    clicks: Annotated[str, typer.Option(help="Click log of the queries to compare by, of days that no training has seen.")],
    out: Annotated[Path, typer.Option(help="Folder for decision.json, report.html, bundle/ and more.")],
    judgments: Judgments = None,
    images: Images = None,
    columns: Columns = None,
    model: Annotated[
        str, typer.Option(help="Alias of the registered version whose model is used: champion, or newest for a retrained one.")
    ] = "champion",
    preset: Preset = "small",
    settings: RefreshOverrides = None,
    runner: RunnerOption = Runner.subprocess,
    no_cache: NoCache = False,
) -> int:
    """Export a new catalogue with the registered model, and make it the champion unless it is significantly worse.

    Nothing is trained. The first refresh makes the newest version the champion. Settings are those of export, promotion, beam and
    tracking, and what encoding and measuring read of prepare, evaluate and runtime. Exit code 3 says that the champion was
    kept: recall is significantly worse or fell by more than `promotion.max_drop`, or too few queries or items are left.
    """
    from rich.console import Console

    from pipelines.preflight import absolute
    from pipelines.refresh_run import RefreshRequest, run_refresh

    sources = read_sources(items, clicks, images, columns)
    graded = absolute(judgments) if judgments is not None else None
    request = RefreshRequest(sources, graded, model, preset, tuple(settings or ()), out, runner.value, not no_cache)
    return run_refresh(request, Console())
