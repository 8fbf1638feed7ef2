"""Where the artifacts of a pipeline run come from."""

import importlib
from pathlib import Path

import pytest
from kfp import dsl

from components.record import STAGE_FILES, STAGE_INPUTS, STAGE_OUTPUTS, find_origins
from components.stage import ARTIFACT_KINDS
from smar_core.artifact import open_artifact
from smar_core.config import PipelineConfig


@pytest.mark.parametrize("stage", STAGE_INPUTS)
def test_inputs_and_outputs_are_those_of_the_component(stage: str) -> None:
    spec = getattr(importlib.import_module(f"components.{stage}"), stage).component_spec
    assert set(STAGE_INPUTS[stage]) == set(spec.inputs) & set(ARTIFACT_KINDS)
    assert set(STAGE_OUTPUTS[stage]) == set(spec.outputs) & set(ARTIFACT_KINDS)
    assert {f"{name}_digest" for name in STAGE_FILES.get(stage, ())} == {
        name for name in spec.inputs if name.endswith("_digest") and name != "code_digest"
    }


def test_origin_is_what_a_stage_writes_into_its_manifests(tiny_shop: Path, tiny_config: PipelineConfig, tmp_path: Path) -> None:
    from components.prepare_data import prepare_data

    names = STAGE_OUTPUTS["prepare_data"]
    files = {"items": "a", "clicks": "b", "images": "", "judgments": "c"}
    sections = {name: getattr(tiny_config, name).model_dump_json() for name in PipelineConfig.model_fields}
    prepare_data.python_func(
        **{name: dsl.Dataset(uri=str(tmp_path / name)) for name in names},
        metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
        items_path=str(tiny_shop / "items.parquet"),
        clicks_path=str(tiny_shop / "clicks.parquet"),
        images_path="",
        column_map="{}",
        **{f"{name}_digest": files[name] for name in STAGE_FILES["prepare_data"]},
        prepare_section=sections["prepare"],
        beam_section=sections["beam"],
        runtime=sections["runtime"],
        code_digest="",
    )
    made = open_artifact(tmp_path / "items", "items")
    origins = find_origins(dict.fromkeys(ARTIFACT_KINDS, "d") | {"items": made.digest}, files, sections)
    assert origins["prepare_data"].parents == made.parents
    assert origins["prepare_data"].config_digest == made.config_digest
    assert origins["pretrain"].parents["items"] == made.digest
    assert origins["evaluate"].parents["judgments_file"] == "c"
