"""The process of a local run: what it hands to the containers of ``--runner docker``."""

import os
from pathlib import Path

import pytest
from kfp.local import DockerRunner

from pipelines import local_worker
from pipelines.local_worker import Job


def test_containers_are_given_the_credentials_of_stores_which_the_jobs_file_never_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only MLflow's were passed on: inputs at s3:// and gs:// were read with none."""
    key_file, absent = tmp_path / "key.json", tmp_path / "absent.json"
    key_file.write_text("{}")
    given = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "sesame",
        "AWS_ENDPOINT_URL": "http://localhost:8333",
        "AWS_CONFIG_FILE": str(absent),
        "AZURE_CLIENT_SECRET": "sesame",
        "GOOGLE_APPLICATION_CREDENTIALS": str(key_file),
        "MLFLOW_TRACKING_PASSWORD": "sesame",
    }
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    for name, value in {**given, "OTHER_SECRET": "private"}.items():
        monkeypatch.setenv(name, value)
    job = Job(
        pipeline=tmp_path / "p.yaml",
        arguments={},
        pipeline_root=tmp_path,
        cache_root=tmp_path,
        use_cache=True,
        runner="docker",
        read_only_mounts=[tmp_path / "items"],
        run_name="r",
    )
    runner = local_worker._runner(job)
    assert isinstance(runner, DockerRunner)
    handed = runner.container_run_args
    assert given.items() <= handed["environment"].items()
    assert "OTHER_SECRET" not in handed["environment"]
    assert {(mount["Target"], mount["ReadOnly"]) for mount in handed["mounts"]} == {
        (str(key_file), True),
        (str(tmp_path / "items"), True),
    }
    assert "sesame" not in job.model_dump_json()
