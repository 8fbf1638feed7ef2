"""Each library of the image is there because a stage needs it: without it, that stage fails."""

import json
from pathlib import Path

import pytest

from tests.containers.conftest import RunStage

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

REQUIREMENTS = Path(__file__).resolve().parents[2] / "manifests" / "image-requirements.txt"

NEEDED_BY = {
    "alembic": "record_run",
    "apache-beam": "prepare_data",
    "faiss-cpu": "export_embeddings",
    "grpcio": "prepare_data",
    "jinja2": "evaluate",
    "kfp": "export_embeddings",
    "kubeflow": "pretrain",
    "kubernetes": "pretrain",
    "mlflow-skinny": "record_run",
    "numpy": "export_embeddings",
    "pandas": "record_run",
    "pillow": "prepare_data",
    "pyarrow": "prepare_data",
    "pydantic": "prepare_data",
    "pyyaml": "prepare_data",
    "safetensors": "export_embeddings",
    "scikit-learn": "pretrain",
    "scipy": "evaluate",
    "sqlalchemy": "record_run",
    "tokenizers": "prepare_data",
    "torch": "export_embeddings",
    "transformers": "pretrain",
    "urllib3": "pretrain",
}
"""A stage that needs each library; the quickest where several do."""

IN_PODS = {"runtime": json.dumps({"launcher": "trainjob"})}
"""Parameters of a training in pods of its own, which alone needs the client of Kubeflow Trainer."""

ONLY_IN_PODS = ("kubeflow", "kubernetes", "urllib3")


def test_every_library_of_the_image_is_looked_at() -> None:
    lines = (line.strip() for line in REQUIREMENTS.read_text().splitlines())
    assert {line for line in lines if line and not line.startswith("#")} | {"kfp"} == set(NEEDED_BY)


@pytest.mark.parametrize("stage", sorted(set(NEEDED_BY.values())))
def test_stages_run_with_all_of_them(stage: str, run_stage: RunStage, outputs: Path) -> None:
    ended = run_stage(stage, environment=_environment(outputs))
    assert ended.code == 0, ended.log


@pytest.mark.parametrize("library", NEEDED_BY)
def test_a_stage_fails_without(library: str, run_stage: RunStage, outputs: Path) -> None:
    blocked = {"PYTHONPATH": "/opt/blocker:/opt/smar", "BLOCKED": library}
    parameters = IN_PODS if library in ONLY_IN_PODS else {}
    ended = run_stage(NEEDED_BY[library], environment=_environment(outputs) | blocked, parameters=parameters)
    assert ended.code != 0, f"{NEEDED_BY[library]} runs without {library}"
    assert f"of {library} is blocked" in ended.log, ended.log


def test_client_of_the_trainer_is_whole(run_stage: RunStage, outputs: Path) -> None:
    """It is loaded before the stage finds that nothing it was given can be shared with other pods."""
    ended = run_stage("pretrain", environment=_environment(outputs), parameters=IN_PODS)
    assert "lies on no volume that pods can share" in ended.log, ended.log


def _environment(outputs: Path) -> dict[str, str]:
    """Return the variables of a stage that records itself in MLflow, in a file of its own."""
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{outputs}/mlflow.db",
        "KFP_PIPELINE_RUN_ID": "11111111-2222-3333-4444-555555555555",
        "KFP_POD_NAME": "smar-training-abcde-system-container-impl",
    }
