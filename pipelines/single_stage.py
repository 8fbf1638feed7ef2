"""``smar stage``: one component alone, on the artifacts of an earlier run.

Kubeflow's local runner refuses a lone task with artifact inputs, so the component is wrapped in a pipeline whose inputs come
from importers. The stage always runs; its outputs go to the store, and the earlier run is not changed.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from components.record import STAGE_OUTPUTS
from components.stage import ARTIFACT_KINDS
from components.surroundings import Surroundings
from pipelines import preflight, results
from pipelines.checkpoints import pretrain_key
from pipelines.code_digest import code_digest
from pipelines.display import format_seconds, open_display
from pipelines.jobs import INPUT_FILES
from pipelines.local import run_job
from pipelines.local_worker import Job
from pipelines.state import StateFolder
from smar_core.artifact import open_artifact
from smar_core.config import STAGE_SECTIONS, PipelineConfig, override_config, parse_config
from smar_core.data.files import digest_inputs
from smar_core.errors import ArtifactError, UserError


def run_stage(stage: str, earlier: Path, overrides: tuple[str, ...], console: Console) -> None:
    """Run one stage on an earlier run's artifacts and say where its outputs are.

    Args:
        stage: Name of the stage.
        earlier: OUT folder of the earlier run.
        overrides: ``section.key=value`` each, on top of the earlier run's configuration.
        console: Where to show progress.

    Raises:
        UserError: Something that the user can mend.
        PipelineFailedError: The stage failed otherwise.
    """
    _check_call(stage, overrides)
    record = results.read_run(earlier)
    config = override_config(_read_config(earlier), overrides)
    uri = preflight.tracking_uri(config.tracking, Path.cwd())
    component = getattr(importlib.import_module(f"components.{stage}"), stage)
    artifacts = {name: record.artifacts[name] for name in component.component_spec.inputs if name in ARTIFACT_KINDS}
    _check_artifacts(artifacts)
    state = StateFolder.of(Path.cwd())
    with state.lock():
        run = state.new_run()
        around = Surroundings(run.side, state.store, uri, config.tracking.experiment, run.run_id)
        compile_single(component, artifacts, _parameters(component, stage, record, config), run.pipeline)
        job = Job(
            pipeline=run.pipeline,
            arguments={},
            pipeline_root=state.pipeline_root,
            cache_root=state.cache,
            use_cache=False,
            runner="subprocess",
            run_name=f"stage {stage} of {record.pipeline_run_id}",
            parameters={"stage": stage, "from": record.pipeline_run_id, "overrides": " ".join(overrides)},
        )
        display = open_display((stage,), console)
        try:
            outcome = run_job(job, run, around, (stage,), config.runtime.num_threads, display.show)
        finally:
            display.close()
    done = outcome.states[stage]
    lines = [f"{stage}: {format_seconds(done.seconds or 0.0)}"]
    lines += [f"{name:<32} {value:.6g}" for name, value in done.figures.items()]
    lines += [f"{name}  {path}" for name, path in done.outputs.items()]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def compile_single(component: Any, artifacts: Mapping[str, Mapping[str, Any]], parameters: Mapping[str, str], path: Path) -> None:
    """Write the YAML of a pipeline of one component.

    Args:
        component: A Kubeflow component.
        artifacts: ``path``, ``kind`` and ``digest`` of each input artifact, by name.
        parameters: Its parameters.
        path: The file.
    """
    from kfp import dsl
    from kfp.compiler import Compiler

    classes = {cls.schema_title: cls for cls in (dsl.Artifact, dsl.Dataset, dsl.Model)}

    @dsl.pipeline(name=f"smar-{component.name}")
    def single() -> None:
        imported = {
            name: dsl.importer(
                artifact_uri=artifact["path"],
                artifact_class=classes[component.component_spec.inputs[name].type.partition("@")[0]],
                metadata={"digest": artifact["digest"], "kind": artifact["kind"]},
            ).output
            for name, artifact in artifacts.items()
        }
        component(**imported, **parameters)

    Compiler().compile(single, str(path))


def _check_call(stage: str, overrides: tuple[str, ...]) -> None:
    if stage not in STAGE_OUTPUTS:
        raise UserError(f"there is no stage {stage!r}", f"choose one of {', '.join(STAGE_OUTPUTS)}")
    read = (*STAGE_SECTIONS[stage], "tracking")
    for override in overrides:
        section = override.partition(".")[0].strip()
        if section in PipelineConfig.model_fields and section not in read:
            raise UserError(f"stage {stage} does not read the config section {section!r}", f"override one of {', '.join(read)}")


def _read_config(earlier: Path) -> PipelineConfig:
    path = earlier / "config.yaml"
    try:
        return parse_config(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, AttributeError):
        raise UserError(f"{path} cannot be read as a configuration", "name the OUT folder of a finished smar run") from None


def _check_artifacts(artifacts: Mapping[str, Mapping[str, Any]]) -> None:
    for name, artifact in artifacts.items():
        try:
            open_artifact(Path(artifact["path"]), artifact["kind"], verify=False)
        except ArtifactError as error:
            raise UserError(f"artifact {name} of the earlier run cannot be used ({error})", "run smar run again") from None


def _parameters(component: Any, stage: str, record: results.RunRecord, config: PipelineConfig) -> dict[str, str]:
    """Return the component's parameters: named as the pipeline's, some with ``_section`` or ``_path`` behind.

    Optional ones are those that only a cluster fills.
    """
    sections = {name: getattr(config, name).model_dump_json() for name in PipelineConfig.model_fields}
    inputs = component.component_spec.inputs
    names = [name for name in inputs if name not in ARTIFACT_KINDS and not inputs[name].optional]
    digests = {f"{name}_digest": _digest_now(record.arguments[name]) for name in INPUT_FILES if f"{name}_digest" in names}
    code = code_digest(f"components.{stage}")
    code = pretrain_key(code, config.model) if stage == "pretrain" else code
    known = record.arguments | sections | digests | {"code_digest": code}
    return {name: known[name.removesuffix("_section").removesuffix("_path")] for name in names}


def _digest_now(path: str) -> str:
    """Return the digest of an input as it is now, since it may have changed after the earlier run; "" for no path."""
    return digest_inputs(path) if path else ""
