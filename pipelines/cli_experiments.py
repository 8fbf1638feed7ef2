"""The commands of ``smar`` that train many models: ablate and sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    Variant,
    read_sources,
)
from smar_core.errors import UserError

if TYPE_CHECKING:
    from smar_core.experiments.trials import Plan

ExperimentOut = Annotated[Path, typer.Option(help="Folder for report.html, table.md and experiment.json.")]
Seeds = Annotated[str, typer.Option(help="Seeds of every trial, separated by commas.")]
Beside = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        metavar="'VARIANT SECTION.KEY=VALUE ...'",
        help="Train this too: a variant with any settings moved, for example 'smar gate.supervision=utility'. Repeatable.",
    ),
]
ResultsFolder = Annotated[
    Path | None, typer.Option(help="Folder in which every finished trial leaves its evidence. [default: OUT/results]")
]


def ablate(
    items: Items,
    clicks: Clicks,
    out: ExperimentOut,
    judgments: Judgments = None,
    images: Images = None,
    columns: Columns = None,
    preset: Preset = "study",
    variants: Annotated[str | None, typer.Option(help="Variants to train, separated by commas. [default: all]")] = None,
    seeds: Seeds = "0",
    beside: Beside = None,
    baseline: Annotated[str, typer.Option(help="Variant, or --setting, that the others are compared with.")] = "smar",
    settings: Overrides = None,
    results: ResultsFolder = None,
    runner: RunnerOption = Runner.subprocess,
    no_cache: NoCache = False,
) -> None:
    """Train variants of the model, and any other settings of them, and compare them on the test days.

    Every finished trial leaves a small file in RESULTS; a trial whose file is there, made with the same settings and data, is
    read and not trained. So the same command after an interrupt, or with more variants, settings or seeds, goes on.
    """
    plan = make_ablation(preset, settings or (), variants, seeds, baseline, beside or ())
    _run_experiment(plan, items, clicks, images, columns, judgments, out, results, runner, no_cache)


def sweep(
    items: Items,
    clicks: Clicks,
    out: ExperimentOut,
    judgments: Judgments = None,
    images: Images = None,
    columns: Columns = None,
    preset: Preset = "study",
    variant: Variant = "smar",
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--axis",
            metavar="SECTION.KEY=VALUE,VALUE,...",
            help="Setting to move, one at a time around the preset; an axis where it has two values or more. Repeatable. "
            "[default: the weights of the paper's Fig. 3; none where there is a --setting]",
        ),
    ] = None,
    beside: Beside = None,
    seeds: Seeds = "0",
    settings: Overrides = None,
    results: ResultsFolder = None,
    runner: RunnerOption = Runner.subprocess,
    no_cache: NoCache = False,
) -> None:
    """Move one setting at a time away from the preset and compare on the validation days.

    Results add up as those of `smar ablate` do. A sweep's figures are of the validation days, and nothing is chosen by the test
    days, though the gate's report of itself looks at them and held-out synthetic queries leave out what was asked on them.
    A gate's threshold and calibration are fitted on the validation days: settings of gate.* look better here than they are.
    """
    plan = make_sweep(preset, settings or (), axes, seeds, variant, beside or ())
    _run_experiment(plan, items, clicks, images, columns, judgments, out, results, runner, no_cache)


def make_ablation(
    preset: str, settings: Sequence[str], variants: str | None, seeds: str, baseline: str, beside: Sequence[str]
) -> "Plan":
    """Return the plan of an ablation, given options as they are typed; None stands for every variant.

    Raises:
        UserError: An option is malformed, or names what is not there.
    """
    from smar_core.config import VARIANTS
    from smar_core.experiments.plans import plan_ablation

    return plan_ablation(preset, settings, _split(variants) if variants else VARIANTS, _parse_seeds(seeds), baseline, beside)


def make_sweep(
    preset: str, settings: Sequence[str], axes: Sequence[str] | None, seeds: str, variant: str, beside: Sequence[str]
) -> "Plan":
    """Return the plan of a sweep, given options as they are typed; None stands for the axes of the paper, if nothing is beside.

    Raises:
        UserError: An option is malformed, or names what is not there.
    """
    from smar_core.experiments.plans import DEFAULT_AXES, plan_sweep

    moved = axes or (() if beside else DEFAULT_AXES)
    return plan_sweep(preset, settings, moved, _parse_seeds(seeds), variant, beside)


def _run_experiment(
    plan: "Plan",
    items: str,
    clicks: str,
    images: str | None,
    columns: list[str] | None,
    judgments: str | None,
    out: Path,
    results: Path | None,
    runner: Runner,
    no_cache: bool,
) -> None:
    from rich.console import Console

    from pipelines.experiment_run import ExperimentRequest, run_experiment
    from pipelines.preflight import absolute

    sources = read_sources(items, clicks, images, columns)
    graded = absolute(judgments) if judgments is not None else None
    run_experiment(ExperimentRequest(plan, sources, graded, out, results, runner.value, not no_cache), Console())


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _parse_seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in _split(text)]
    except ValueError:
        raise UserError(f"--seeds {text!r} is no list of whole numbers", "write for example --seeds 0,1,2") from None
