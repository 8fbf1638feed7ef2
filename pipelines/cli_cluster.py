"""The commands of ``smar`` for a cluster: compile and submit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_experiments import make_ablation, make_sweep
from pipelines.cli_options import ClusterOverrides, Columns, NoCache, Overrides, Preset
from smar_core.errors import UserError


def compile_command(
    out: Annotated[Path | None, typer.Option(help="Folder to write to. [default: manifests/pipelines]")] = None,
    preset: Preset = "small",
    settings: ClusterOverrides = None,
) -> None:
    """Write the pipelines as YAML for a Kubeflow cluster; runs on this machine compile the same functions for themselves.

    Beside each, resources/ has it as Pipeline and PipelineVersion resources. Where tasks run, and with how much memory, is the
    config section `cluster`: `smar compile --set cluster.training_memory_gib=32 --out build`. All other settings are
    parameters of a run.
    """
    from pipelines.compile import MANIFESTS, PIPELINES, RESOURCES, compile_pipeline, compile_resources, compiled, version_of
    from smar_core.config import load_config

    for setting in settings or ():
        if not setting.strip().startswith("cluster."):
            raise UserError(
                f"{setting.strip()} is no setting of section cluster", "give it to smar submit, with which a run starts"
            )
    cluster = load_config(preset, settings or ()).cluster
    folder = out or MANIFESTS
    for name in PIPELINES:
        path = compiled(name, folder)
        resources = compiled(name, folder / RESOURCES)
        try:
            compile_pipeline(name, path, cluster)
            compile_resources(name, resources, cluster, version_of(name, path))
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror})", "name another folder with --out") from None
        typer.echo(path)
        typer.echo(resources)


def submit(
    pipeline: Annotated[str, typer.Argument(help="training, ablation, sweep or refresh.")],
    host: Annotated[
        str,
        typer.Option(
            envvar="KF_PIPELINES_ENDPOINT", help="URL of Kubeflow Pipelines' API, for example https://kubeflow.example/pipeline."
        ),
    ],
    items: Annotated[str, typer.Option(metavar="URI", help="Catalogue: Parquet, CSV or JSON lines; file or folder.")],
    clicks: Annotated[str, typer.Option(metavar="URI", help="Click log, likewise.")],
    judgments: Annotated[str | None, typer.Option(metavar="URI", help="Graded judgments, for evaluation alone.")] = None,
    images: Annotated[
        str | None, typer.Option(metavar="URI", help="Folder that image paths of the catalogue are relative to.")
    ] = None,
    columns: Columns = None,
    digests: Annotated[
        list[str] | None,
        typer.Option(
            "--digest",
            metavar="INPUT=TEXT",
            help="For an input that this machine may not list: any text that changes with it, such as a date. Repeatable.",
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Settings to start from. [default: small; study for experiments]")] = None,
    variant: Annotated[str | None, typer.Option(help="Model to train, or that a sweep starts from. [default: smar]")] = None,
    settings: Overrides = None,
    image: Annotated[
        str | None, typer.Option(metavar="REF", help="Image of all tasks, by digest or version tag; --set cluster.image=REF.")
    ] = None,
    variants: Annotated[str | None, typer.Option(help="ablation: variants, separated by commas. [default: all]")] = None,
    seeds: Annotated[str | None, typer.Option(help="ablation, sweep: seeds of every trial. [default: 0]")] = None,
    baseline: Annotated[str | None, typer.Option(help="ablation: what the others are compared with. [default: smar]")] = None,
    axes: Annotated[
        list[str] | None, typer.Option("--axis", metavar="SECTION.KEY=VALUE,...", help="sweep: setting to move. Repeatable.")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--setting", metavar="'VARIANT SECTION.KEY=VALUE ...'", help="ablation, sweep: train this too. Repeatable."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="refresh: alias of the registered model to use. [default: champion]")] = None,
    experiment: Annotated[
        str, typer.Option(help="Kubeflow's experiment to show the run under; made if it is not there.")
    ] = "smar",
    run_name: Annotated[str | None, typer.Option(help="Name of the run. [default: of pipeline, variant and preset]")] = None,
    namespace: Annotated[str | None, typer.Option(help="Your namespace, where Kubeflow has many users.")] = None,
    service_account: Annotated[str | None, typer.Option(help="Account that the run's pods run as.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File of a bearer token. [default: the service account's, inside a cluster]")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificate of the authority that signed the host's, where not everybody trusts it.")
    ] = None,
    ui_host: Annotated[
        str | None,
        typer.Option(envvar="KF_PIPELINES_UI_ENDPOINT", help="URL of Kubeflow's page, to print the run's. [default: HOST]"),
    ] = None,
    no_cache: NoCache = False,
    cron: Annotated[
        str | None,
        typer.Option(
            help="training, refresh: run again and again, at second, minute, hour, day, month, weekday such as '0 0 4 * * *'."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run's end; exit code 1 names the task that failed.")] = False,
) -> None:
    """Start a run of a pipeline on a Kubeflow cluster, and print where to watch it.

    Inputs are URIs that the cluster's tasks reach (s3://, gs://, ...). The pipeline is compiled with the settings of section
    `cluster` and uploaded where that version is not there yet; all other settings are parameters of the run, as they are of
    `smar run`:

    `smar submit training --host https://kubeflow.example/pipeline --token-file token --items s3://shop/items --clicks s3://shop/clicks
    --image registry.example/smar:TAG --set cluster.training_accelerators=1 --wait`
    """
    from pipelines.kubeflow import Address
    from pipelines.preflight import parse_column_map, parse_pairs
    from pipelines.remote_inputs import Inputs
    from pipelines.submit import Submission, check_image, plan_experiment, plan_refresh, plan_training, split_settings, start_run
    from smar_core.config import load_config
    from smar_core.data.sources import Sources

    experiments = ("ablation", "sweep")
    _check_options(
        pipeline,
        {
            "--variant": (variant, ("training", "sweep")),
            "--variants": (variants, ("ablation",)),
            "--baseline": (baseline, ("ablation",)),
            "--axis": (axes, ("sweep",)),
            "--seeds": (seeds, experiments),
            "--setting": (beside, experiments),
            "--model": (model, ("refresh",)),
            "--cron": (cron, ("training", "refresh")),
        },
    )
    sources = Sources(items, clicks, images, parse_column_map(columns or []))
    versions = parse_pairs(digests or [], "--digest", "INPUT=TEXT", "items=2026-11-21")
    inputs = Inputs(sources, judgments, versions, is_recurring=cron is not None)
    start = preset or ("study" if pipeline in experiments else "small")
    given = (*(settings or ()), *([f"cluster.image={image}"] if image is not None else ()))
    cluster, others = split_settings(pipeline, start, given)
    checked = check_image(cluster.image)
    if pipeline == "training":
        arguments = plan_training(inputs, load_config(start, given, variant or "smar"))
    elif pipeline == "ablation":
        plan = make_ablation(start, others, variants, seeds or "0", baseline or "smar", beside or ())
        arguments = plan_experiment(inputs, plan, cluster)
    elif pipeline == "sweep":
        plan = make_sweep(start, others, axes, seeds or "0", variant or "smar", beside or ())
        arguments = plan_experiment(inputs, plan, cluster)
    else:
        arguments = plan_refresh(inputs, start, others, cluster, model or "champion")
    named = run_name or " ".join(part for part in (pipeline, variant, start) if part)
    submission = Submission(pipeline, cluster, checked, arguments, experiment, named, not no_cache, service_account, cron)
    start_run(submission, Address(host, namespace, token_file, ca_file, ui_host), wait=wait, tell=typer.echo)


def _check_options(pipeline: str, options: Mapping[str, tuple[object, Sequence[str]]]) -> None:
    """Refuse a pipeline that there is none of, and options that it does not read.

    Args:
        pipeline: Its name.
        options: Of each option: its value, None where it was not given, and the pipelines that read it.
    """
    from pipelines.compile import PIPELINES

    if pipeline not in PIPELINES:
        raise UserError(f"there is no pipeline {pipeline!r}", f"choose one of {', '.join(PIPELINES)}")
    for option, (value, readers) in options.items():
        if value is not None and pipeline not in readers:
            raise UserError(f"{option} is not read by pipeline {pipeline}", f"leave it out, or submit {' or '.join(readers)}")
