"""Components as plain functions on real Kubeflow artifacts."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.generate_synthetic_queries import generate_synthetic_queries
from components.hardware import describe_hardware
from components.prepare_data import prepare_data
from components.side import read_state
from components.surroundings import Surroundings
from smar_core.artifact import Artifact, open_artifact
from smar_core.config import PipelineConfig
from smar_core.errors import ArtifactError, UserError


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    """No environment but what a test sets."""
    for name in Surroundings(tmp_path, tmp_path, "uri", "experiment", "id").as_environment():
        monkeypatch.delenv(name, raising=False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    return Surroundings()


def given(artifact: Artifact) -> dsl.Dataset:
    return dsl.Dataset(uri=str(artifact.path), metadata={"digest": artifact.digest, "kind": artifact.kind})


def made(folder: Path, *names: str) -> dict[str, dsl.Artifact]:
    return {name: dsl.Dataset(uri=str(folder / name)) for name in names} | {"metrics": dsl.Metrics(uri=str(folder / "metrics"))}


def synthetic_arguments(prepared: Any, **changes: Any) -> dict[str, Any]:
    return {
        "items": given(prepared.items),
        "clicks": given(prepared.clicks),
        "tokenizer": given(prepared.tokenizer),
        "synthetic_section": prepared.config.synthetic.model_dump_json(),
        "beam_section": prepared.config.beam.model_dump_json(),
        "runtime": prepared.config.runtime.model_dump_json(),
        "code_digest": "",
        **changes,
    }


def prepare_arguments(shop: Path, config: PipelineConfig) -> Mapping[str, str]:
    return {
        "items_path": str(shop / "items.parquet"),
        "clicks_path": str(shop / "clicks.parquet"),
        "images_path": "",
        "column_map": "{}",
        "items_digest": "a",
        "clicks_digest": "b",
        "images_digest": "",
        "prepare_section": config.prepare.model_dump_json(),
        "beam_section": config.beam.model_dump_json(),
        "runtime": config.runtime.model_dump_json(),
        "code_digest": "",
    }


def test_prepare_data_writes_four_artifacts_known_by_digest_alone(
    tiny_shop: Path, tiny_config: PipelineConfig, tmp_path: Path
) -> None:
    outputs = made(tmp_path, "items", "clicks", "tokenizer", "rejects")
    prepare_data.python_func(**outputs, **prepare_arguments(tiny_shop, tiny_config))
    for name in ("items", "clicks", "tokenizer", "rejects"):
        artifact = open_artifact(Path(outputs[name].path), name)
        assert outputs[name].metadata == {"digest": artifact.digest, "kind": name}
        assert artifact.parents == {"items_file": "a", "clicks_file": "b"}
    figures = json.loads(Path(outputs["metrics"].path).read_text())
    assert outputs["metrics"].metadata == figures | {"hardware": describe_hardware(tiny_config.runtime)}
    assert figures


def test_parents_are_the_digests_of_the_inputs(prepared: Any, tmp_path: Path) -> None:
    outputs = made(tmp_path, "synthetic")
    generate_synthetic_queries.python_func(**outputs, **synthetic_arguments(prepared))
    parents = open_artifact(tmp_path / "synthetic", "synthetic").parents
    assert parents == {name: getattr(prepared, name).digest for name in ("items", "clicks", "tokenizer")}


def test_with_a_store_equal_content_gets_an_equal_place(prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubeflow's cache keys an input by its path: a stage run twice would else train everything below it again."""
    around = Surroundings(store=tmp_path / "store")
    for name, value in around.as_environment().items():
        monkeypatch.setenv(name, value)
    uris = []
    for attempt in ("one", "two"):
        outputs = made(tmp_path / attempt, "synthetic")
        generate_synthetic_queries.python_func(**outputs, **synthetic_arguments(prepared, code_digest=attempt))
        uris.append(outputs["synthetic"].uri)
        assert not (tmp_path / attempt / "synthetic").exists()
    assert uris[0] == uris[1] == str(around.artifact_folder("synthetic", open_artifact(Path(uris[0]), "synthetic").digest))
    assert list((tmp_path / "store" / "work").iterdir()) == []


def test_missing_input_is_refused(prepared: Any, tmp_path: Path) -> None:
    missing = dsl.Dataset(uri=str(tmp_path / "nothing"))
    with pytest.raises(ArtifactError, match="not a complete artifact"):
        generate_synthetic_queries.python_func(**made(tmp_path, "synthetic"), **synthetic_arguments(prepared, items=missing))
    assert not (tmp_path / "synthetic").exists()


def test_altered_input_is_refused(prepared: Any, tmp_path: Path) -> None:
    shutil.copytree(prepared.items.path, tmp_path / "items")
    flip_byte(tmp_path / "items" / "statistics.json")
    altered = dsl.Dataset(uri=str(tmp_path / "items"))
    with pytest.raises(ArtifactError, match=r"the content of statistics\.json changed"):
        generate_synthetic_queries.python_func(**made(tmp_path, "synthetic"), **synthetic_arguments(prepared, items=altered))
    assert not (tmp_path / "synthetic").exists()


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("section", "names"), [("{", "not JSON"), ('{"ratio": -1}', "synthetic.ratio"), ('{"rate": 1}', "synthetic.rate")]
)
def test_section_that_does_not_fit_is_a_users_mistake(section: str, names: str, prepared: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=names):
        generate_synthetic_queries.python_func(
            **made(tmp_path, "synthetic"), **synthetic_arguments(prepared, synthetic_section=section)
        )


def test_absent_fields_take_their_defaults(prepared: Any, tmp_path: Path) -> None:
    """What a cluster's user leaves out is what the config's defaults say."""
    generate_synthetic_queries.python_func(
        **made(tmp_path, "synthetic"), **synthetic_arguments(prepared, synthetic_section='{"ratio": 0}')
    )
    assert open_artifact(tmp_path / "synthetic", "synthetic").counts["synthetic"] == 0


def test_side_files_tell_how_a_stage_went(prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = tmp_path / "side"
    side.mkdir()
    monkeypatch.setattr("components.stage.die_with_starter", lambda folder: None)
    monkeypatch.setenv("SMAR_SIDE_DIR", str(side))
    stage = "generate_synthetic_queries"
    with pytest.raises(UserError):
        generate_synthetic_queries.python_func(
            **made(tmp_path, "synthetic"), **synthetic_arguments(prepared, synthetic_section="{")
        )
    error = read_state(side, stage).error
    assert error is not None
    assert (error.kind, error.stage) == ("user", stage)
    assert "UserError" in error.traceback
    generate_synthetic_queries.python_func(**made(tmp_path, "synthetic"), **synthetic_arguments(prepared))
    state = read_state(side, stage)
    assert state.is_started
    assert state.progress is not None
    assert state.outputs == {"synthetic": str(tmp_path / "synthetic")}
    assert state.seconds is not None
