"""The command line ``smar``.

Exit codes: 0; 2 for a mistake that the user can mend, told in one sentence on standard error; 3 for a refresh that kept the
champion; 1 for a fault of ours; 130 for an interrupt. Everything heavy is imported inside the commands, so that ``smar --help``
answers at once.
"""

import os
import sys
import time
import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from components.surroundings import NO_TELEMETRY
from pipelines.cli_cluster import compile_command, submit
from pipelines.cli_evaluation import evaluate
from pipelines.cli_experiments import ablate, sweep
from pipelines.cli_options import (
    Clicks,
    Columns,
    Images,
    Items,
    Judgments,
    NoCache,
    Overrides,
    Preset,
    Runner,
    RunnerOption,
    TrackingOverrides,
    Variant,
    read_sources,
)
from pipelines.cli_refresh import refresh
from smar_core.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_OUR_FAULT, EXIT_USER_ERROR, UserError

if TYPE_CHECKING:
    from smar_core.config import TrackingConfig

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Train and evaluate product retrieval for text queries over items with text and pictures (SMAR).

Start with `smar demo`: it draws a small shop, trains on it, and leaves a report in runs/demo. For your own shop:

`smar run --items items.parquet --clicks clicks.parquet --out runs/first`

Exit codes: 0; 2 a mistake in the call or the data, named on standard error; 3 a refresh that kept the champion; 1 a fault of
this program; 130 interrupted.""",
)


class Mode(StrEnum):
    """Which index answers."""

    routed = "routed"
    text = "text"
    multimodal = "multimodal"


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/demo"),
    settings: Overrides = None,
    runner: RunnerOption = Runner.subprocess,
    no_cache: NoCache = False,
) -> None:
    """Draw a small shop with a click log, run the whole pipeline on it, and leave a report. Needs no download."""
    from rich.console import Console

    from pipelines.demo_data import demo_data
    from pipelines.state import StateFolder
    from pipelines.training_run import RunRequest, run_training
    from smar_core.data.sources import Sources

    data = demo_data(StateFolder.of(Path.cwd()))
    sources = Sources(str(data / "items.parquet"), str(data / "clicks.parquet"))
    judgments = str(data / "judgments.parquet")
    run_training(RunRequest(sources, judgments, "demo", tuple(settings or ()), out, runner.value, not no_cache), Console())


@app.command()
def run(
    items: Items,
    clicks: Clicks,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, report.html, bundle/ and more.")],
    judgments: Judgments = None,
    images: Images = None,
    columns: Columns = None,
    preset: Preset = "small",
    variant: Variant = "smar",
    settings: Overrides = None,
    runner: RunnerOption = Runner.subprocess,
    no_cache: NoCache = False,
) -> None:
    """Run the whole pipeline on a catalogue and a click log.

    The same command after an interrupt goes on where it stopped. Stages whose inputs, settings and code are unchanged are
    taken from the cache in `.smar`.
    """
    from rich.console import Console

    from pipelines.preflight import absolute
    from pipelines.training_run import RunRequest, run_training

    sources = read_sources(items, clicks, images, columns)
    graded = absolute(judgments) if judgments is not None else None
    request = RunRequest(sources, graded, preset, tuple(settings or ()), out, runner.value, not no_cache, variant)
    run_training(request, Console())


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="prepare_data, generate_synthetic_queries, pretrain, train_gate, finetune, ...")],
    earlier: Annotated[
        Path, typer.Option("--from", metavar="RUN", help="OUT folder of an earlier run, whose artifacts are read.")
    ],
    settings: Overrides = None,
) -> None:
    """Run one stage alone on an earlier run's artifacts, and say where its outputs are. The earlier run stays as it is."""
    from rich.console import Console

    from pipelines.single_stage import run_stage

    run_stage(name, earlier, tuple(settings or ()), Console())


app.command()(evaluate)
app.command()(ablate)
app.command()(sweep)
app.command()(refresh)


app.command("compile")(compile_command)
app.command()(submit)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 5000, settings: TrackingOverrides = None
) -> None:
    """Show the runs of this folder in MLflow's page, on this machine only. Ctrl-C ends it.

    Runs that were given `--set tracking.uri=URI` or `tracking.experiment=NAME` are found with the same settings.
    """
    from components.tracking import comparison_page
    from pipelines.preflight import tracking_uri

    config = _tracking_config(settings)
    uri = tracking_uri(config, Path.cwd())
    is_served = uri.startswith("http")
    typer.echo(f"runs side by side: {comparison_page(uri, config.experiment, uri if is_served else f'http://127.0.0.1:{port}')}")
    if is_served:
        return
    sys.stdout.flush()
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, command)


@app.command()
def fetch(
    out: Annotated[Path, typer.Argument(help="Folder to write to, not there yet.")],
    model: Annotated[
        str, typer.Option(help="Alias of the registered version: champion, or newest for the last trained one.")
    ] = "champion",
    settings: TrackingOverrides = None,
) -> None:
    """Copy the bundle of a registered version out of MLflow, to search it or to load it into an engine."""
    from pipelines.fetching import fetch_bundle

    version = fetch_bundle(model, out, _tracking_config(settings), Path.cwd())
    typer.echo(f"version {version}, {out}   (smar search {out} 'a query')")


@app.command()
def search(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, for example runs/demo/bundle.")],
    query: Annotated[str | None, typer.Argument(help="What to search for.")] = None,
    queries: Annotated[
        Path | None, typer.Option(help="File of an id, a tab and a query a line, instead of QUERY; needs --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="TREC run file to write for --queries.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Items a query.")] = 10,
    mode: Annotated[Mode, typer.Option(help="Let P(q) choose the index, or name it.")] = Mode.routed,
) -> None:
    """Search a bundle, for one query or for a file of them."""
    from pipelines.searching import search_one, search_queries

    if (query is None) == (queries is None):
        raise UserError("give either QUERY or --queries", "write for example: smar search runs/demo/bundle 'blue dress'")
    if query is not None:
        if out is not None:
            raise UserError("--out goes with --queries", "leave it out for a single query")
        search_one(bundle, query, top_k, mode.value)
    elif queries is not None:
        if out is None:
            raise UserError("--queries needs a run file to write", "name it with --out")
        search_queries(bundle, queries, out, top_k, mode.value)


def _tracking_config(settings: list[str] | None) -> "TrackingConfig":
    """Return section ``tracking`` of some settings, which may be of no other."""
    from smar_core.config import load_config

    for setting in settings or ():
        if not setting.strip().startswith("tracking."):
            raise UserError(f"{setting.strip()} does not say where runs are tracked", "leave it out")
    return load_config("small", settings or ()).tracking


def main() -> None:
    """Entry point of the program ``smar``."""
    os.environ.update(NO_TELEMETRY)  # also of the MLflow server that `smar ui` becomes
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str]) -> int:
    """Run a command line, print what went wrong, and return the exit code."""
    try:
        code = app(arguments, prog_name="smar", standalone_mode=False)
    except UserError as error:
        return _complain(str(error), EXIT_USER_ERROR)
    except TyperException as error:
        return _complain_of_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as error:  # the outermost frame: no traceback reaches the terminal
        return _complain_of_ourselves(error)
    if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this value
        return _complain("interrupted; the same command goes on where it stopped.", EXIT_INTERRUPTED)
    return code if isinstance(code, int) else EXIT_OK


def _complain(sentence: str, code: int) -> int:
    print(f"smar: {sentence}", file=sys.stderr)
    return code


def _complain_of_usage(error: TyperException) -> int:
    message = " ".join(error.format_message().split()) if hasattr(error, "format_message") else str(error)
    if not message:
        return EXIT_USER_ERROR
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "smar"
    return _complain(f"{message} See {command} --help.", EXIT_USER_ERROR)


def _complain_of_ourselves(error: Exception) -> int:
    from pipelines.local import PipelineFailedError

    if isinstance(error, PipelineFailedError):
        return _complain(str(error), EXIT_OUR_FAULT)
    log = Path.cwd() / ".smar" / f"crash-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    log.parent.mkdir(exist_ok=True)
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return _complain(
        f"a fault of this program ({type(error).__name__}: {' '.join(str(error).split())[:200]}); see {log}.", EXIT_OUR_FAULT
    )
