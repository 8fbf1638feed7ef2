"""What a pipeline run on this machine is made of."""

import copy
from pathlib import Path

import pytest
import yaml

from components.prepare_data import prepare_data
from components.surroundings import Surroundings
from pipelines.jobs import make_job
from pipelines.state import StateFolder
from smar_core.config import RuntimeConfig


def test_a_component_that_was_edited_runs_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed YAML ran, with the body before the edit, under the digest of the code after it."""
    edited = copy.deepcopy(prepare_data)
    edited.component_spec.implementation.container.command[-1] += "print('edited')\n"
    monkeypatch.setattr("pipelines.training.prepare_data", edited)
    state = StateFolder.of(tmp_path)
    run = state.new_run()
    job = make_job(
        "training",
        {name: "" for file in ("items", "clicks", "images", "judgments") for name in (file, f"{file}_digest")},
        RuntimeConfig(),
        state=state,
        run=run,
        around=Surroundings(run.side, state.store),
        runner="subprocess",
        use_cache=True,
        run_name="edited",
        parameters={},
    )
    (pipeline,) = yaml.safe_load_all(job.pipeline.read_text())
    assert "print('edited')" in pipeline["deploymentSpec"]["executors"]["exec-prepare-data"]["container"]["command"][-1]
