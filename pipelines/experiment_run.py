"""``smar ablate`` and ``smar sweep``: see what is recorded, run the other trials, and leave the comparison in OUT."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from components.experiment import compare
from components.surroundings import Surroundings
from components.tracking import Tracker
from pipelines import preflight
from pipelines.checkpoints import pretrain_key
from pipelines.code_digest import stage_digests
from pipelines.experiment_display import ExperimentDisplay, stages_to_follow
from pipelines.jobs import data_arguments, make_job
from pipelines.local import run_job
from pipelines.state import RunFolder, StateFolder
from smar_core.config import PipelineConfig
from smar_core.data.sources import Sources, check_inputs
from smar_core.data.visual import check_visual_categories
from smar_core.digest import digest_json
from smar_core.errors import UserError
from smar_core.experiments.comparison import check_comparable
from smar_core.experiments.recorded import read_recorded, split_recorded
from smar_core.experiments.table import SLICE_NAMES
from smar_core.experiments.trials import Plan, Trial, data_digest

LONGEST_PARAMETERS = 10_000
"""Characters of all parameters together that Kubeflow's backend takes by default; the same is kept to here."""

PUBLISHED = ("report.html", "table.md", "experiment.json")
_EXPERIMENT_ARTIFACT = "experiment"


@dataclass(frozen=True)
class ExperimentRequest:
    """What the user asked for.

    Attributes:
        plan: The experiment.
        sources: Catalogue and click log, with absolute paths.
        judgments: Graded judgments, likewise; None for none.
        out: Where the results go.
        results: Folder of the trials' evidence; None for ``out/results``.
        runner: One of ``preflight.RUNNERS``.
        use_cache: Whether unchanged stages may be taken from the cache.
    """

    plan: Plan
    sources: Sources
    judgments: str | None
    out: Path
    results: Path | None = None
    runner: str = "subprocess"
    use_cache: bool = True


def run_experiment(request: ExperimentRequest, console: Console) -> None:
    """Run the trials that are not recorded yet, and compare all.

    Raises:
        UserError: Something that the user can mend; what was recorded stays.
        PipelineFailedError: A trial failed otherwise; the others were recorded.
    """
    plan = request.plan
    preflight.check_settings(plan.settings)
    configs = [plan.configure(trial) for trial in plan.trials]
    folder = Path.cwd()
    results = (request.results or request.out / "results").resolve()
    preflight.check_out(request.out, "experiment.json")
    preflight.check_out(results)
    preflight.check_runner(request.runner)
    uri = preflight.tracking_uri(configs[0].tracking, folder)
    digests = check_inputs(request.sources, request.judgments)
    for gate in {str(config.gate): config.gate for config in configs}.values():
        check_visual_categories(request.sources, gate)
    recorded, missing, told = split_recorded(
        plan, results, data_digest(digests, request.sources.column_map), use_recorded=request.use_cache
    )
    check_comparable(*read_recorded(results, [trial.name for trial in recorded]))  # before hours of training, not after
    for line in [*told, f"{len(plan.trials)} trials, {len(recorded)} of them recorded in {results}"]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    state = StateFolder.of(folder)
    with state.lock():
        run = state.new_run()
        around = Surroundings(run.side, state.store, uri, configs[0].tracking.experiment, run.run_id)
        if missing:
            data = data_arguments(request.sources, request.judgments, digests)
            arguments = experiment_arguments(plan, data, missing, recorded, str(results))
            artifact = _run_pipeline(request, configs[0], arguments, missing, results, state, run, around, console)
        else:
            artifact = _compare_recorded(request, recorded, results, run, around)
        _publish(artifact, request.out)
    _tell(request.out, results, console)


def experiment_arguments(
    plan: Plan,
    data: Mapping[str, str],
    missing: Sequence[Trial],
    recorded: Sequence[Trial] = (),
    results: str = "",
) -> dict[str, Any]:
    """Return the parameters of the pipeline, all but its image.

    Args:
        plan: The experiment.
        data: What ``data_arguments`` returned.
        missing: Trials to run.
        recorded: Trials to compare only.
        results: Folder of the evidence; "" where tasks share none.

    Raises:
        UserError: They are longer than Kubeflow takes.
    """
    code = stage_digests()
    keys = sorted({pretrain_key(code["pretrain"], plan.configure(trial).model) for trial in plan.trials})
    code["pretrain"] = keys[0] if len(keys) == 1 else digest_json(keys)
    arguments = {
        **data,
        "preset": plan.preset,
        "settings": json.dumps(plan.settings),
        "trials": [{"variant": t.variant, "overrides": json.dumps(t.overrides), "seed": str(t.seed)} for t in missing],
        "baseline": plan.baseline,
        "results": results,
        "recorded": json.dumps([trial.name for trial in recorded]),
        **{f"code_{stage}": digest for stage, digest in code.items()},
        "code": json.dumps(code),
    }
    length = sum(len(value if isinstance(value, str) else json.dumps(value)) for value in arguments.values())
    if length > LONGEST_PARAMETERS:
        raise UserError(
            f"the pipeline's parameters have {length:,} characters, and Kubeflow takes {LONGEST_PARAMETERS:,}",
            "name fewer variants, values or seeds at a time: what is recorded in --results adds up",
        )
    return arguments


def _run_pipeline(
    request: ExperimentRequest,
    config: PipelineConfig,
    arguments: Mapping[str, Any],
    missing: list[Trial],
    results: Path,
    state: StateFolder,
    run: RunFolder,
    around: Surroundings,
    console: Console,
) -> Path:
    """Run the compiled pipeline and return the artifact of kind ``experiment``."""
    results.mkdir(parents=True, exist_ok=True)
    plan = request.plan
    job = make_job(
        plan.kind,
        arguments,
        config.runtime,
        state=state,
        run=run,
        around=around,
        runner=request.runner,
        use_cache=request.use_cache,
        run_name=_run_name(plan, config),
        parameters=_shown_parameters(request),
        writable=(results,),
    )
    console.print(f"run {run.run_id}, log {run.log}", highlight=False, soft_wrap=True)
    names = [trial.name for trial in missing]
    display = ExperimentDisplay(names, console)
    try:
        outcome = run_job(job, run, around, stages_to_follow(names), config.runtime.num_threads, display.show)
    finally:
        display.close()
    return Path(outcome.record[_EXPERIMENT_ARTIFACT])


def _compare_recorded(
    request: ExperimentRequest, recorded: list[Trial], results: Path, run: RunFolder, around: Surroundings
) -> Path:
    """Compare trials that are all recorded, which needs no pipeline, and return the artifact of kind ``experiment``."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # it tells of every table that it makes
    plan = request.plan
    tracker = Tracker.begin(around)
    tracker.describe(_run_name(plan, plan.configure(recorded[0])), _shown_parameters(request), {})
    output = run.path / _EXPERIMENT_ARTIFACT
    names = json.dumps([trial.name for trial in recorded])
    try:
        compare([], plan.kind, plan.baseline, str(results), names, output, around)
    except BaseException as error:
        tracker.abandon("FAILED", str(error))
        raise
    return output


def _run_name(plan: Plan, config: PipelineConfig) -> str:
    return config.tracking.run_name or f"{plan.kind} {plan.preset}"


def _shown_parameters(request: ExperimentRequest) -> dict[str, str]:
    plan = request.plan
    return {
        "experiment": plan.kind,
        "preset": plan.preset,
        "settings": " ".join(plan.settings),
        "baseline": plan.baseline,
        "items": request.sources.items,
        "clicks": request.sources.clicks,
    }


def _publish(artifact: Path, out: Path) -> None:
    """Copy the comparison to OUT, each file whole or not at all."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in PUBLISHED:
            partial = out / f".{name}.partial"
            shutil.copyfile(artifact / name, partial)
            partial.replace(out / name)
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror})", "free some space or name another folder with --out"
        ) from None


def _tell(out: Path, results: Path, console: Console) -> None:
    experiment = json.loads((out / "experiment.json").read_text(encoding="utf-8"))
    slices = list(experiment["num_queries"])
    lines = []
    width = max(28, *(len(row["setting"]) for row in experiment["rows"]))
    for row in experiment["rows"]:
        cells = [f"{SLICE_NAMES[name]} {row['measures'][name]['R@50']['value']:.3f}" for name in slices]
        lines.append(f"R@50 {row['setting']:<{width}} {', '.join(cells)}   {len(row['seeds'])} seed(s)")
    lines += [f"report   {out / 'report.html'}", f"table    {out / 'table.md'}", f"results  {results}", "runs     smar ui"]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
