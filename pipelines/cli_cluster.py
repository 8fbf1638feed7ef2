"""The commands of ``smar`` for a cluster: compile and submit."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import Overrides, Preset
from smar_core.errors import UserError


def compile_command(
    out: Annotated[Path | None, typer.Option(help="Folder to write to. [default: manifests/pipelines]")] = None,
    preset: Preset = "small",
    settings: Overrides = None,
) -> None:
    """Write the pipelines as YAML for a Kubeflow cluster; the local runner executes the same files.

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
