"""How the stages of one pipeline run find each other in MLflow: against a real server."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import requests
from kfp import dsl
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from components.end_run import end_run
from components.record import Origin
from components.stage import StageResult, open_stage
from components.surroundings import Surroundings
from components.tracking import Tracker
from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.config import EvaluateConfig
from smar_core.errors import UserError
from tests.components.mlflow_store import serve_mlflow


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_mlflow(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Artifact:
    with create_artifact(tmp_path / "tokenizer", "tokenizer", config_digest="", parents={}) as folder:
        write_json(folder / "tokenizer.json", {"words": ["red", "shirt"]})
    return open_artifact(tmp_path / "tokenizer", "tokenizer")


def result_of(stage: str, output: Artifact) -> StageResult:
    return StageResult(
        name=stage,
        key="key",
        code_digest="code",
        sections={"evaluate": EvaluateConfig()},
        config_digest="config",
        parents={"items": "1" * 64},
        outputs={"tokenizer": output},
        figures={"R@50": 0.5},
        started=time.time(),
        seconds=2.0,
    )


def runs_of(client: MlflowClient, pipeline_run_id: str) -> list[Run]:
    """Return a pipeline run's runs of every experiment."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`kfp.pipeline_run_id` = '{pipeline_run_id}'"))


def test_stages_that_start_at_once_share_one_parent(uri: str, client: MlflowClient) -> None:
    """All of them look before any of them has made the run, or even the experiment: each would have made its own."""
    around = Surroundings(tracking_uri=uri, experiment="at once", pipeline_run_id="at-once")
    num_stages = 4
    start = Barrier(num_stages)

    def open_together() -> str:
        start.wait()
        return Tracker.open(around).parent_id

    with ThreadPoolExecutor(num_stages) as pool:
        parents = [found.result() for found in [pool.submit(open_together) for _ in range(num_stages)]]
    (only,) = runs_of(client, "at-once")
    assert parents == [only.info.run_id] * num_stages
    assert Tracker.open(around).parent_id == only.info.run_id


def test_a_stage_attaches_to_the_run_that_was_injected(uri: str, client: MlflowClient, tokenizer: Artifact) -> None:
    """Kubeflow's plugin made a run for the pipeline, one for a loop below it and one for the task below that."""
    experiment = client.create_experiment("of the plugin")
    parent = client.create_run(experiment, tags={"kfp.pipeline_run_id": "plugin"})
    loop = client.create_run(experiment, tags={"mlflow.parentRunId": parent.info.run_id})
    task = client.create_run(experiment, tags={"mlflow.parentRunId": loop.info.run_id})
    tracker = Tracker.open(Surroundings(tracking_uri=uri, experiment="another", injected_run_id=task.info.run_id))
    tracker.record_stage(result_of("prepare_data", tokenizer))
    tracker.end()
    assert tracker.parent_id == parent.info.run_id
    written = client.get_run(task.info.run_id)
    assert written.data.tags["smar.stage"] == "prepare_data"
    assert written.data.params["evaluate.seed"] == "0"
    assert written.data.metrics == {"R_at_50": 0.5, "seconds": 2.0}
    assert tracker.recorded_stages() == {"prepare_data"}
    assert client.get_experiment_by_name("another") is None
    assert {run.info.status for run in client.search_runs([experiment])} == {"RUNNING"}, "the plugin ends its runs itself"
    assert len(client.search_runs([experiment])) == 3


def test_a_cached_stage_is_linked_to_the_run_that_made_its_outputs(uri: str, client: MlflowClient, tokenizer: Artifact) -> None:
    """No stage ran in the second pipeline run, so the last task finds no parent and makes it."""
    first, second = (Surroundings(tracking_uri=uri, experiment="cached", pipeline_run_id=name) for name in ("made", "cached"))
    Tracker.open(first).record_stage(result_of("prepare_data", tokenizer))
    last = Tracker.open(second)
    assert last.recorded_stages() == set()
    last.record_cached("prepare_data", Origin({"items": "1" * 64}, "config"), {"tokenizer": tokenizer})
    last.end()
    maker = next(run for run in runs_of(client, "made") if "smar.stage" in run.data.tags)
    runs = runs_of(client, "cached")
    linked = next(run for run in runs if "smar.stage" in run.data.tags)
    assert linked.data.tags["smar.is_cached"] == "true"
    assert linked.data.tags["smar.origin_run_id"] == maker.info.run_id
    assert linked.data.tags["mlflow.parentRunId"] == last.parent_id
    assert linked.data.metrics == {"R_at_50": 0.5}
    assert {run.info.status for run in runs} == {"FINISHED"}


def end_as_task(monkeypatch: pytest.MonkeyPatch, around: Surroundings) -> None:
    """Run the exit handler's task as a pod would, with its environment."""
    with monkeypatch.context() as patch:
        for name, value in around.as_environment().items():
            patch.setenv(name, value)
        end_run.python_func(run_name="nightly")


def test_a_run_that_no_task_ended_has_failed(uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that was killed for memory told nobody; the run would have been running for ever, named by its id."""
    around = Surroundings(tracking_uri=uri, experiment="ends", pipeline_run_id="killed")
    Tracker.open(around)
    end_as_task(monkeypatch, around)
    (run,) = runs_of(client, "killed")
    assert (run.info.status, run.info.run_name) == ("FAILED", "nightly")
    assert "a task failed" in run.data.tags["smar.problem"]
    Tracker.open(around).end()
    (run,) = runs_of(client, "killed")
    assert run.info.status == "FINISHED" and "smar.problem" not in run.data.tags, "the failed task was tried again"


def test_a_run_that_ended_well_is_only_named(uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    around = Surroundings(tracking_uri=uri, experiment="ends", pipeline_run_id="well")
    Tracker.open(around).end()
    end_as_task(monkeypatch, around)
    (run,) = runs_of(client, "well")
    assert (run.info.status, run.info.run_name, run.data.tags.get("smar.problem")) == ("FINISHED", "nightly", None)


def test_the_plugin_ends_the_runs_that_it_made(uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run = client.create_run(client.create_experiment("ends of the plugin"), tags={"kfp.pipeline_run_id": "plugin ends"})
    end_as_task(monkeypatch, Surroundings(tracking_uri=uri, experiment="ends", injected_run_id=run.info.run_id))
    assert client.get_run(run.info.run_id).info.status == "RUNNING"


def test_a_store_that_is_away_does_not_make_the_run_fail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    end_as_task(monkeypatch, Surroundings(tracking_uri="http://127.0.0.1:9", experiment="ends", pipeline_run_id="away"))
    assert "MLflow did not take how the run ended" in caplog.text


def test_a_stage_goes_below_the_trial_it_ran_for_and_an_equal_trial_is_linked_to_it(
    uri: str, client: MlflowClient, tokenizer: Artifact
) -> None:
    tracker = Tracker.open(Surroundings(tracking_uri=uri, experiment="trials", pipeline_run_id="trials"))
    tracker.record_stage(result_of("pretrain", tokenizer))
    trials = [tracker.record_trial(name, {}, {}, is_read=False) for name in ("first", "second")]
    for trial in trials:
        tracker.adopt_stage("pretrain", Origin({"items": "1" * 64}, "config"), {"tokenizer": tokenizer}, trial)
    stages = [run.data.tags for run in runs_of(client, "trials") if "smar.stage" in run.data.tags]
    assert {(tags["mlflow.parentRunId"], tags["smar.is_cached"]) for tags in stages} == {
        (trials[0], "false"),
        (trials[1], "true"),
    }
    assert len(stages) == 2


def run_stage(folder: Path) -> None:
    """Run a stage that writes a tokenizer, as Kubeflow would."""
    with (
        open_stage(
            "prepare_data",
            inputs={},
            outputs={"tokenizer": dsl.Artifact(uri=str(folder / "tokenizer"))},
            sections={"runtime": "{}"},
            metrics=dsl.Metrics(uri=str(folder / "metrics")),
            code_digest="",
        ) as stage,
        create_artifact(stage.outputs["tokenizer"], "tokenizer", config_digest="", parents={}) as made,
    ):
        write_json(made / "tokenizer.json", {})


def test_a_password_in_the_address_is_written_nowhere(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """MLflow's errors and our side files repeated the address, and with it the password."""
    secret = "hunter2"
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "to be removed again")
    for variable, value in Surroundings(side=tmp_path, experiment="secret", pipeline_run_id="secret").as_environment().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("components.stage.die_with_starter", lambda folder: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("://", f"://ada:{secret}@"))
    run_stage(tmp_path)
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == secret
    assert {run.data.tags.get("smar.stage") for run in runs_of(client, "secret")} == {None, "prepare_data"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:{secret}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"the tracking store http://127\.0\.0\.1:9 failed") as raised:
        run_stage(tmp_path)
    said = capfd.readouterr()
    told = [str(raised.value), said.out, said.err, *(str(run.to_dictionary()) for run in runs_of(client, "secret"))]
    told += [file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file()]
    assert (tmp_path / "prepare_data.error.json").is_file()
    assert not [text for text in told if secret in text]


def set_surroundings(monkeypatch: pytest.MonkeyPatch, uri: str, name: str) -> Surroundings:
    """Set the environment of a stage of a pipeline run, in an experiment of its own."""
    around = Surroundings(tracking_uri=uri, experiment=name, pipeline_run_id=name)
    for variable, value in around.as_environment().items():
        monkeypatch.setenv(variable, value)
    return around


def test_mlflow_that_cannot_be_reached_ends_a_stage_before_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_surroundings(monkeypatch, "http://127.0.0.1:9", "away")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="tracking store"):
        run_stage(tmp_path)
    assert not (tmp_path / "tokenizer").exists()


@pytest.mark.parametrize("error", [MlflowException("read-only for a moment"), requests.ConnectionError("reset by peer")])
def test_mlflow_that_goes_away_during_the_work_costs_a_stage_nothing_but_its_run(
    error: Exception,
    uri: str,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Half a run does not count as the stage's, so that the last task of the pipeline gives it one."""

    def fail(*_: object, **__: object) -> None:
        raise error

    around = set_surroundings(monkeypatch, uri, type(error).__name__)
    with monkeypatch.context() as away:
        away.setattr(MlflowClient, "log_inputs", fail)
        run_stage(tmp_path)
    tokenizer = open_artifact(tmp_path / "tokenizer", "tokenizer")
    assert f"prepare_data is done, but MLflow did not take its run ({error})" in caplog.text
    tracker = Tracker.open(around)
    assert tracker.recorded_stages() == set()
    tracker.record_cached("prepare_data", Origin({}, "config"), {"tokenizer": tokenizer})
    assert tracker.recorded_stages() == {"prepare_data"}


@pytest.mark.parametrize(
    ("end", "status"), [(Tracker.end, "FINISHED"), (lambda tracker: tracker.abandon("KILLED", "it was told to stop"), "KILLED")]
)
def test_half_a_run_ends_with_the_pipeline_run(
    end: Callable[[Tracker], None],
    status: str,
    uri: str,
    client: MlflowClient,
    tokenizer: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MLflow went away while a stage's run was written, and showed it as running for ever."""

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("away for a moment")

    tracker = Tracker.open(Surroundings(tracking_uri=uri, experiment="halves", pipeline_run_id=status))
    tracker.record_stage(result_of("prepare_data", tokenizer))
    with monkeypatch.context() as away, pytest.raises(MlflowException):
        away.setattr(MlflowClient, "log_inputs", fail)
        tracker.record_stage(result_of("pretrain", tokenizer))
    end(tracker)
    assert {run.info.run_name: run.info.status for run in runs_of(client, status)} == {
        status: status,
        "prepare_data": "FINISHED",
        "pretrain": "FAILED",
    }


def test_a_mistake_of_ours_in_telling_mlflow_fails_the_stage(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Tracker, result: StageResult) -> None:
        raise KeyError(result.name)

    set_surroundings(monkeypatch, uri, "mistaken")
    monkeypatch.setattr(Tracker, "record_stage", fail)
    with pytest.raises(KeyError, match="prepare_data"):
        run_stage(tmp_path)


def test_a_stage_that_knows_no_pipeline_run_says_so(uri: str) -> None:
    """All pipeline runs would have shared the parent of the empty id."""
    with pytest.raises(UserError, match="neither MLFLOW_RUN_ID nor KFP_PIPELINE_RUN_ID"):
        Tracker.open(Surroundings(tracking_uri=uri))
