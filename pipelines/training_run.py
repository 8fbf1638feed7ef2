"""``smar run``: check, run the seven stages, leave the results in OUT."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from components.record import STAGE_OUTPUTS
from components.surroundings import Surroundings
from components.tracking import flatten
from pipelines import preflight, results
from pipelines.checkpoints import pretrain_key
from pipelines.code_digest import stage_digests
from pipelines.display import format_seconds, open_display, stage_table
from pipelines.jobs import data_arguments, make_job
from pipelines.local import Outcome, run_job
from pipelines.local_worker import Job
from pipelines.state import RunFolder, StateFolder
from smar_core.config import RUN_SECTIONS, PipelineConfig, load_config
from smar_core.data.sources import Sources, check_inputs
from smar_core.data.visual import check_visual_categories

STAGES = tuple(STAGE_OUTPUTS)
_RUN_NAME_LENGTH = 100


@dataclass(frozen=True)
class RunRequest:
    """What the user asked for.

    Attributes:
        sources: Catalogue and click log, with absolute paths.
        judgments: Graded judgments, likewise; None for none.
        preset: Preset to start from.
        overrides: ``section.key=value`` each.
        out: Where the results go.
        runner: One of ``preflight.RUNNERS``.
        use_cache: Whether unchanged stages may be taken from the cache.
        variant: Model of the paper's comparison, one of ``smar_core.config.VARIANTS``.
    """

    sources: Sources
    judgments: str | None
    preset: str
    overrides: tuple[str, ...]
    out: Path
    runner: str = "subprocess"
    use_cache: bool = True
    variant: str = "smar"


def run_training(request: RunRequest, console: Console) -> None:
    """Run the pipeline and leave its results.

    Raises:
        UserError: Something that the user can mend; OUT is as it was.
        PipelineFailedError: A stage failed otherwise; OUT is as it was.
    """
    preflight.check_settings(request.overrides)
    config = load_config(request.preset, request.overrides, request.variant)
    folder = Path.cwd()
    preflight.check_out(request.out, "metrics.json")
    preflight.check_runner(request.runner)
    uri = preflight.tracking_uri(config.tracking, folder)
    digests = check_inputs(request.sources, request.judgments)
    check_visual_categories(request.sources, config.gate)
    state = StateFolder.of(folder)
    with state.lock():
        run = state.new_run()
        around = Surroundings(run.side, state.store, uri, config.tracking.experiment, run.run_id)
        job = _make_job(request, config, digests, state, run, around)
        console.print(f"run {run.run_id}, log {run.log}", highlight=False, soft_wrap=True)
        outcome = _follow(job, run, around, config, console)
        record = _make_record(request, job, run, outcome, uri)
        results.publish(results.Results(record, config, run.pipeline), request.out)
    _tell(request.out, outcome, console)


def pipeline_arguments(
    sources: Sources, judgments: str | None, digests: Mapping[str, str], config: PipelineConfig
) -> dict[str, str]:
    """Return the parameters of the training pipeline.

    Args:
        sources: Catalogue and click log, with absolute paths.
        judgments: Graded judgments, likewise; None for none.
        digests: What ``check_inputs`` returned.
        config: The configuration; each section becomes JSON.
    """
    sections = {name: getattr(config, name).model_dump_json() for name in RUN_SECTIONS}
    code = stage_digests()
    code["pretrain"] = pretrain_key(code["pretrain"], config.model)
    return sections | data_arguments(sources, judgments, digests) | {f"code_{stage}": digest for stage, digest in code.items()}


def _make_job(
    request: RunRequest,
    config: PipelineConfig,
    digests: Mapping[str, str],
    state: StateFolder,
    run: RunFolder,
    around: Surroundings,
) -> Job:
    return make_job(
        "training",
        pipeline_arguments(request.sources, request.judgments, digests, config),
        config.runtime,
        state=state,
        run=run,
        around=around,
        runner=request.runner,
        use_cache=request.use_cache,
        run_name=config.tracking.run_name or " ".join((request.variant, request.preset, *request.overrides))[:_RUN_NAME_LENGTH],
        parameters=_shown_parameters(request, config),
    )


def _shown_parameters(request: RunRequest, config: PipelineConfig) -> dict[str, str]:
    """Return what tells this run from others in MLflow's table: the preset, the data, and every overridden key."""
    values = flatten({name: getattr(config, name) for name in PipelineConfig.model_fields})
    keys = [override.partition("=")[0].strip() for override in request.overrides]
    return {
        "preset": request.preset,
        "variant": request.variant,
        "overrides": " ".join(request.overrides),
        "items": request.sources.items,
        "clicks": request.sources.clicks,
        **{key: values[key] for key in keys},
    }


def _follow(job: Job, run: RunFolder, around: Surroundings, config: PipelineConfig, console: Console) -> Outcome:
    display = open_display(STAGES, console)
    try:
        return run_job(job, run, around, STAGES, config.runtime.num_threads, display.show)
    finally:
        display.close()


def _make_record(request: RunRequest, job: Job, run: RunFolder, outcome: Outcome, uri: str) -> results.RunRecord:
    return results.RunRecord(
        pipeline_run_id=run.run_id,
        preset=request.preset,
        variant=request.variant,
        arguments=job.arguments,
        stages=results.describe_stages(outcome),
        artifacts=outcome.record["artifacts"],
        mlflow={"tracking_uri": uri, **outcome.record["mlflow"]},
        log=str(run.log),
    )


def _tell(out: Path, outcome: Outcome, console: Console) -> None:
    scores = results.read_scores(out)
    console.print(stage_table(outcome.states))
    total = sum(state.seconds or 0.0 for state in outcome.states.values())
    lines = [f"{format_seconds(total)} in all"]
    for system in ("model", "text_only", "text_only_pretrained"):
        for part, values in scores.get(system, {}).items():
            if part in {"overall", "fashion"} and "R@50" in values:
                recall = values["R@50"]
                where = f"{system}, {part}"
                lines.append(f"R@50 {where:<32} {recall['value']:.3f}  [{recall['low']:.3f}, {recall['high']:.3f}]")
    lines += [
        f"report  {out / 'report.html'}",
        f"bundle  {out / 'bundle'}   (smar search {out / 'bundle'} 'a query')",
        "runs    smar ui",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
