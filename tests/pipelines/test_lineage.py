"""From a model back to the data, from the data forward to the model, and five runs side by side: all through MLflow's client."""

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from components.record import STAGE_OUTPUTS
from components.record_run import record_run
from tests.pipelines.cluster_tasks import artifacts_of, as_on_a_cluster, sections_of, sqlite_uri
from tests.pipelines.shop_runs import Shop

LARGER_PICTURES = ("--set", "prepare.image_width_px=24", "--set", "pretrain.num_steps=2", "--set", "finetune.num_steps=2")


@pytest.fixture(scope="module")
def client(finished: Shop) -> MlflowClient:
    uri = f"sqlite:///{finished.folder}/mlflow.db"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs_where(client: MlflowClient, condition: str) -> list[Run]:
    experiment = client.get_experiment_by_name("smar")
    return list(client.search_runs([experiment.experiment_id], condition))


@pytest.fixture(scope="module")
def parent(client: MlflowClient, finished: Shop) -> Run:
    run_id = finished.read("first", "run.json")["pipeline_run_id"]
    return next(
        run for run in runs_where(client, f"tags.`kfp.pipeline_run_id` = '{run_id}'") if "mlflow.parentRunId" not in run.data.tags
    )


def test_parent_run_shows_the_measures_and_what_was_overridden(parent: Run, finished: Shop) -> None:
    scores = finished.read("first", "metrics.json")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["R_at_50"] == scores["model"]["overall"]["R@50"]["value"]
    assert parent.data.metrics["P_at_50"] == scores["model"]["overall"]["P@50"]["value"]
    assert parent.data.params["preset"] == "demo"
    assert parent.data.params["pretrain.num_steps"] == "40"
    assert parent.data.params["pretrain.seed"] == "0", "what was not overridden is shown too"


def test_a_training_that_went_well_on_a_cluster_ends_so_with_all_its_settings(finished: Shop, tmp_path: Path) -> None:
    """There nobody but its last task says so."""
    done, task = finished.read("first", "run.json"), record_run.python_func
    with as_on_a_cluster(sqlite_uri(tmp_path), "well") as parent:
        task(**artifacts_of(done, task), **sections_of(done, task))
        assert parent().info.status == "FINISHED"
    run = parent()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "in Kubeflow")
    assert (run.data.params["pretrain.num_steps"], run.data.params["pretrain.seed"]) == ("40", "0")
    assert run.data.metrics["R_at_50"] > 0


def test_one_nested_run_a_stage_with_parameters_figures_and_inputs(client: MlflowClient, parent: Run) -> None:
    nested = {
        run.data.tags["smar.stage"]: run for run in runs_where(client, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    }
    assert set(nested) == set(STAGE_OUTPUTS)
    assert all(run.info.status == "FINISHED" and run.data.metrics["seconds"] > 0 for run in nested.values())
    pretrain = nested["pretrain"]
    assert pretrain.data.params["pretrain.batch_size"] == "24"
    assert {entry.dataset.name for entry in pretrain.inputs.dataset_inputs} == {
        "items",
        "clicks",
        "tokenizer",
        "synthetic",
        "pretrained",
    }


def test_curves_are_step_metrics(client: MlflowClient, parent: Run) -> None:
    (pretrain,) = runs_where(client, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`smar.stage` = 'pretrain'")
    steps = [point.step for point in client.get_metric_history(pretrain.info.run_id, "loss")]
    assert steps == sorted(steps)
    assert len(steps) > 2


def test_from_the_model_back_to_the_data(client: MlflowClient, finished: Shop) -> None:
    version = client.get_model_version_by_alias("smar", "newest")
    run = finished.read("first", "run.json")
    assert version.tags["smar.artifact.bundle"] == run["artifacts"]["bundle"]["digest"]
    assert version.tags["smar.artifact.gate"] == run["artifacts"]["gate"]["digest"]
    assert version.tags["smar.artifact.tokenizer"] == run["artifacts"]["tokenizer"]["digest"]
    assert version.tags["smar.file.items"] == run["arguments"]["items_digest"]
    # Step by step: who made the bundle, from which model, from which clicks, from which file.
    wanted, name, stage = version.tags["smar.artifact.bundle"], "bundle", "export_embeddings"
    for below, maker in (("finetuned", "finetune"), ("clicks", "prepare_data"), ("clicks_file", None)):
        maker_run = runs_where(client, f"tags.`smar.output.{name}` = '{wanted}' and tags.`smar.stage` = '{stage}'")[0]
        wanted, name, stage = maker_run.data.tags[f"smar.input.{below}"], below, maker
    assert wanted == run["arguments"]["clicks_digest"]


def test_from_the_data_forward_to_the_model(client: MlflowClient, finished: Shop) -> None:
    digest = finished.read("first", "run.json")["arguments"]["clicks_digest"]
    versions = client.search_model_versions(f"tags.`smar.file.clicks` = '{digest}'")
    assert "smar" in {version.name for version in versions}
    assert runs_where(client, f"tags.`smar.file.clicks` = '{digest}'")


def test_registered_model_answers_queries(client: MlflowClient, finished: Shop) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{finished.folder}/mlflow.db")
    try:
        model = mlflow.pyfunc.load_model("models:/smar@newest")
        (hits,), both = model.predict(["red shirt"]), model.predict(["red shirt", "mug"], params={"top_k": 3})
    finally:
        mlflow.set_tracking_uri(None)
    assert [hit["rank"] for hit in hits] == list(range(1, 11))
    assert both[0] == hits[:3] and len(both[1]) == 3


def test_lineage_survives_the_cache(client: MlflowClient, finished: Shop) -> None:
    """A run whose stages all came from the cache has them as nested runs too, with their figures, and the same model version."""
    run = finished.run("cached")
    assert all(stage["status"] == "cached" for stage in run["stages"].values())
    nested = runs_where(client, f"tags.`mlflow.parentRunId` = '{run['mlflow']['run_id']}'")
    assert {n.data.tags["smar.stage"] for n in nested} == set(STAGE_OUTPUTS)
    assert {n.data.tags["smar.is_cached"] for n in nested} == {"true"}
    pretrain = next(n for n in nested if n.data.tags["smar.stage"] == "pretrain")
    origin = client.get_run(pretrain.data.tags["smar.origin_run_id"])
    assert pretrain.data.tags["smar.output.pretrained"] == origin.data.tags["smar.output.pretrained"]
    assert pretrain.data.params == origin.data.params
    assert run["mlflow"]["model_version"] == finished.read("first", "run.json")["mlflow"]["model_version"]


def test_artifacts_lie_beside_the_store(finished: Shop) -> None:
    assert list((finished.folder / "mlartifacts").rglob("page.html"))
    assert not Path(finished.folder / "mlruns").exists()


def test_lineage_names_no_other_run(client: MlflowClient, finished: Shop) -> None:
    """The synthetic queries are the same with larger pictures, so the store keeps the first run's, made from other items."""
    run = finished.run("larger", *LARGER_PICTURES)
    first, larger = (finished.read(out, "lineage.json")["artifacts"] for out in ("first", "larger"))
    assert larger["items"]["digest"] != first["items"]["digest"]
    assert larger["synthetic"]["digest"] == first["synthetic"]["digest"]
    assert larger["clicks"]["config_digest"] == larger["items"]["config_digest"] != first["items"]["config_digest"]
    for artifact in larger.values():
        for name, digest in artifact["parents"].items():
            assert digest == (
                run["arguments"][f"{name.removesuffix('_file')}_digest"] if name.endswith("_file") else larger[name]["digest"]
            )
    finished.run("larger again", *LARGER_PICTURES)
    again = finished.read("larger again", "run.json")
    for nested in runs_where(client, f"tags.`mlflow.parentRunId` = '{again['mlflow']['run_id']}'"):
        tags = nested.data.tags
        assert tags["smar.is_cached"] == "true"
        made = larger[STAGE_OUTPUTS[tags["smar.stage"]][0]]
        assert tags["smar.config"] == made["config_digest"]
        assert {tag.removeprefix("smar.input."): v for tag, v in tags.items() if tag.startswith("smar.input.")} == made["parents"]
        assert nested.data.metrics
