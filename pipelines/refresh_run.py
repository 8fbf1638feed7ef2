"""``smar refresh``: check, run the refresh pipeline, leave the decision and the new bundle in OUT."""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from rich.console import Console

from components.input_digests import NAME as DIGEST
from components.refresh import FIND, PROMOTE, RECORD, REFRESH
from components.surroundings import Surroundings
from pipelines import preflight
from pipelines.code_digest import code_digest
from pipelines.display import open_display, stage_table
from pipelines.jobs import data_arguments, make_job
from pipelines.local import Outcome, run_job
from pipelines.results import RUN_FILE, describe_stages, lineage, put_in_place
from pipelines.state import RunFolder, StateFolder
from smar_core.artifact import write_json
from smar_core.config import REFRESH_SECTIONS, PipelineConfig, load_config
from smar_core.data.sources import Sources, check_inputs
from smar_core.errors import EXIT_NOT_PROMOTED, EXIT_OK, UserError

STAGES = (DIGEST, FIND, *REFRESH.outputs, RECORD, PROMOTE)

READ: Mapping[str, tuple[str, ...]] = {
    "prepare": ("max_views", "crawler_max_events", "crawler_min_click_rate", "max_reject_share", "num_shards"),
    "evaluate": ("batch_size", "num_bootstrap_samples", "confidence", "seed"),
    "runtime": ("num_threads", "device"),
}
"""Keys that a refresh reads of a section that it does not read whole: pictures and words are the model's, nothing trains."""


@dataclass(frozen=True)
class RefreshRequest:
    """What the user asked for.

    Attributes:
        sources: The new catalogue and the click log of reference queries, with absolute paths.
        judgments: Graded judgments, likewise; None for none.
        model: Alias of the registered version whose model is used.
        preset: Preset to start from.
        overrides: ``section.key=value`` each.
        out: Where the results go.
        runner: One of ``preflight.RUNNERS``.
        use_cache: Whether unchanged stages may be taken from the cache.
    """

    sources: Sources
    judgments: str | None
    model: str
    preset: str
    overrides: tuple[str, ...]
    out: Path
    runner: str = "subprocess"
    use_cache: bool = True


class RefreshRecord(BaseModel):
    """The content of a refresh's ``run.json``.

    Attributes:
        pipeline_run_id: Its id.
        verdict: "promote" or "keep".
        arguments: Every parameter of the pipeline.
        stages: As in ``results.RunRecord``.
        artifacts: Likewise.
        mlflow: Tracking URI, run, version of the model, version compared with, and where it was promoted the new version.
        log: File with everything that was printed.
    """

    pipeline_run_id: str
    verdict: str
    arguments: dict[str, str]
    stages: dict[str, dict[str, Any]]
    artifacts: dict[str, dict[str, Any]]
    mlflow: dict[str, str]
    log: str


def run_refresh(request: RefreshRequest, console: Console) -> int:
    """Run the pipeline and leave its results.

    Returns:
        Exit code: whether the new bundle was promoted.

    Raises:
        UserError: Something that the user can mend; OUT and the champion are as they were.
        PipelineFailedError: A stage failed otherwise; likewise.
    """
    check_settings(request.overrides)
    config = load_config(request.preset, request.overrides)
    folder = Path.cwd()
    preflight.check_out(request.out, "decision.json")
    preflight.check_runner(request.runner)
    uri = preflight.tracking_uri(config.tracking, folder)
    digests = check_inputs(request.sources, request.judgments)
    state = StateFolder.of(folder)
    with state.lock():
        run = state.new_run()
        around = Surroundings(run.side, state.store, uri, config.tracking.experiment, run.run_id)
        arguments = refresh_arguments(request.sources, request.judgments, request.model, digests, config)
        console.print(f"run {run.run_id}, log {run.log}", highlight=False, soft_wrap=True)
        outcome = _run(request, arguments, config, state, run, around, console)
        record = _make_record(arguments, run, outcome, uri)
        put_in_place(request.out, lambda partial: _fill(record, config, run, partial))
    return _tell(request.out, record, outcome, console)


def check_settings(overrides: Iterable[str]) -> None:
    """See whether a refresh reads all settings that it is given.

    Raises:
        UserError: One shapes a training, or a cluster.
    """
    for override in overrides:
        section, _, key = override.partition("=")[0].strip().partition(".")
        if section in PipelineConfig.model_fields and (section not in REFRESH_SECTIONS or key not in READ.get(section, (key,))):
            raise UserError(
                f"{override.strip()} plays no part in a refresh, which trains nothing and keeps the model's pictures and words",
                f"leave it out; {section}: {', '.join(READ[section])}"
                if section in READ
                else f"leave it out; a refresh reads {', '.join(REFRESH_SECTIONS)}",
            )


def refresh_arguments(
    sources: Sources, judgments: str | None, model: str, digests: Mapping[str, str], config: PipelineConfig
) -> dict[str, str]:
    """Return the parameters of the refresh pipeline.

    Args:
        sources: The new catalogue and the click log, with absolute paths.
        judgments: Graded judgments, likewise; None for none.
        model: Alias of the registered version whose model is used.
        digests: What ``check_inputs`` returned.
        config: The configuration; each section becomes JSON.
    """
    sections = {name: getattr(config, name).model_dump_json() for name in REFRESH_SECTIONS}
    code = {f"code_{stage}": code_digest(f"components.{stage}") for stage in REFRESH.outputs}
    return sections | data_arguments(sources, judgments, digests) | {"model": model} | code


def _run(
    request: RefreshRequest,
    arguments: Mapping[str, str],
    config: PipelineConfig,
    state: StateFolder,
    run: RunFolder,
    around: Surroundings,
    console: Console,
) -> Outcome:
    job = make_job(
        "refresh",
        arguments,
        config.runtime,
        state=state,
        run=run,
        around=around,
        runner=request.runner,
        use_cache=request.use_cache,
        run_name=config.tracking.run_name or f"refresh {request.model}",
        parameters={
            "model": request.model,
            "overrides": " ".join(request.overrides),
            "items": request.sources.items,
            "clicks": request.sources.clicks,
        },
    )
    display = open_display(STAGES, console)
    try:
        return run_job(job, run, around, STAGES, config.runtime.num_threads, display.show)
    finally:
        display.close()


def _make_record(arguments: Mapping[str, str], run: RunFolder, outcome: Outcome, uri: str) -> RefreshRecord:
    tracked = dict(outcome.record["mlflow"])
    promoted = outcome.states[PROMOTE].outputs.get("model_version")
    return RefreshRecord(
        pipeline_run_id=run.run_id,
        verdict=outcome.record["verdict"],
        arguments=dict(arguments),
        stages=describe_stages(Outcome({name: outcome.states[name] for name in REFRESH.outputs}, {}), REFRESH.outputs),
        artifacts=outcome.record["artifacts"],
        mlflow={"tracking_uri": uri, **tracked, **({"promoted_version": promoted} if promoted is not None else {})},
        log=str(run.log),
    )


def _fill(record: RefreshRecord, config: PipelineConfig, run: RunFolder, folder: Path) -> None:
    """Write the results: the new bundle too where it was not promoted, to look at."""
    artifacts = {name: Path(artifact["path"]) for name, artifact in record.artifacts.items()}
    for name in ("decision.json", "per_query.parquet"):
        shutil.copyfile(artifacts["decision"] / name, folder / name)
    shutil.copyfile(artifacts["decision"] / "page.html", folder / "report.html")
    shutil.copytree(artifacts["bundle"], folder / "bundle")
    shutil.copyfile(run.pipeline, folder / "pipeline.yaml")
    sections = {name: getattr(config, name).model_dump(mode="json") for name in REFRESH_SECTIONS}
    (folder / "config.yaml").write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
    write_json(folder / "lineage.json", lineage(record.arguments, record.artifacts))
    write_json(folder / RUN_FILE, record.model_dump(mode="json"))


def _tell(out: Path, record: RefreshRecord, outcome: Outcome, console: Console) -> int:
    """Say what was decided, and return the exit code."""
    decision = json.loads((out / "decision.json").read_text(encoding="utf-8"))
    is_promoted = record.verdict == "promote"
    console.print(stage_table({name: s for name, s in outcome.states.items() if is_promoted or name != PROMOTE}))
    items = decision["catalogues"]
    version = record.mlflow["promoted_version" if is_promoted else "champion_version"]
    lines = [
        f"{decision['measure']} on {source:<9} {view['champion']:.3f} -> {view['refreshed']:.3f} "
        f"over {view['num_queries']} queries, p = {view['p_holm']:.4f}"
        for source, view in decision["views"].items()
    ]
    lines += [f"items     {items['num_in_both']} stayed, {items['num_left']} left, {items['num_came']} came"]
    lines += [f"against   {objection}" for objection in decision["objections"]]
    lines += [
        f"champion  version {version}, {'promoted' if is_promoted else 'kept'}",
        f"report    {out / 'report.html'}",
        f"bundle    {out / 'bundle'}",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    return EXIT_OK if is_promoted else EXIT_NOT_PROMOTED
