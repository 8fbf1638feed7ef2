"""A new catalogue for the registered model, from the compiled YAML, through the command line: promoted, refused, recorded."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from mlflow import MlflowClient

from components.input_digests import NAME as DIGEST
from components.promote import promote
from components.record_refresh import record_refresh
from components.refresh import FIND, RECORD, REFRESH, find_versions
from pipelines.cli import invoke
from pipelines.compile import compiled
from pipelines.refresh_run import check_settings
from smar_core.artifact import open_artifact
from smar_core.config import REFRESH_STAGE_SECTIONS, PipelineConfig
from smar_core.errors import EXIT_NOT_PROMOTED, UserError
from smar_core.retrieval.bundle import Bundle
from tests.pipelines.cluster_tasks import artifacts_of, as_on_a_cluster, sections_of, sqlite_uri
from tests.pipelines.compiled_tasks import main_tasks, pipeline_parameter
from tests.pipelines.shop_runs import Shop

SETTINGS = (
    # The tiny shop has fewer than 50 items.
    "promotion.cutoff=5",
    "promotion.min_queries=10",
    "promotion.max_drop=0.1",
    "evaluate.num_bootstrap_samples=50",
    "runtime.num_threads=1",
    "runtime.device=cpu",
    "beam.num_workers=1",
)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def shop(finished: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A copy of the working folder of a finished training: no other test sees what is promoted here."""
    folder = tmp_path_factory.mktemp("refresh") / "shop"
    shutil.copytree(finished.folder, folder)
    return replace(finished, folder=folder)


@pytest.fixture(scope="module")
def client(shop: Shop) -> MlflowClient:
    """Of the copy's store, in which the first training is the newest, whatever other tests have trained since."""
    uri = f"sqlite:///{shop.folder}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.set_registered_model_alias("smar", "newest", shop.read("first", "run.json")["mlflow"]["model_version"])
    return client


def refresh(shop: Shop, out: str, change: Callable[[Rows], Rows]) -> "CompletedProcess[str]":
    """Refresh with a changed catalogue, which lies where the one before lay."""
    table = pq.read_table(shop.data / "items.parquet")
    items = shop.folder / "items.parquet"
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), items)
    files = ("--items", str(items), "--clicks", str(shop.data / "clicks.parquet"))
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return shop.smar("refresh", *files, "--preset", "demo", "--out", out, *settings)


def change_a_little(rows: Rows) -> Rows:
    """Two items left and one came."""
    return [*rows[:-2], rows[0] | {"item_id": "new", "title": "Something Quite Different"}]


def shift(rows: Rows) -> Rows:
    """Every item has what belongs to another: a join by the wrong key."""
    half = len(rows) // 2
    return [other | {"item_id": row["item_id"]} for row, other in zip(rows, rows[half:] + rows[:half], strict=True)]


@pytest.fixture(scope="module")
def promoted(shop: Shop, client: MlflowClient) -> dict[str, Any]:
    """The first refresh: there is no champion yet."""
    done = refresh(shop, "promoted", change_a_little)
    assert done.returncode == 0, done.stderr + shop.latest_log()
    assert "promoted" in done.stdout
    return shop.read("promoted", "run.json")


def test_the_first_refresh_makes_a_champion_of_the_newest_model(
    shop: Shop, client: MlflowClient, promoted: dict[str, Any]
) -> None:
    first = shop.read("first", "run.json")
    assert promoted["verdict"] == "promote"
    assert promoted["mlflow"]["model_version"] == promoted["mlflow"]["champion_version"] == first["mlflow"]["model_version"]
    decision = shop.read("promoted", "decision.json")
    assert decision["has_champion"] == "no"
    assert (decision["catalogues"]["num_left"], decision["catalogues"]["num_came"]) == (2, 1)
    champion = client.get_model_version_by_alias("smar", "champion")
    assert str(champion.version) == promoted["mlflow"]["promoted_version"] != first["mlflow"]["model_version"]
    for part in ("bundle", "finetuned", "gate"):
        assert champion.tags[f"smar.artifact.{part}"] == promoted["artifacts"][part]["digest"]
    for part in ("finetuned", "gate"):
        assert promoted["artifacts"][part]["digest"] == first["artifacts"][part]["digest"], "nothing was trained"


def test_out_holds_the_decision_and_a_bundle_of_the_new_catalogue(shop: Shop, promoted: dict[str, Any]) -> None:
    out = shop.folder / "promoted"
    for name in ("decision.json", "report.html", "per_query.parquet", "pipeline.yaml", "config.yaml", "lineage.json"):
        assert (out / name).stat().st_size > 0
    assert not (out / ".partial").exists()
    bundle = Bundle.open(out / "bundle")
    assert "new" in bundle.item_ids
    assert open_artifact(out / "bundle", "bundle").digest == promoted["artifacts"]["bundle"]["digest"]


def test_mlflow_holds_the_refresh_with_its_stages(client: MlflowClient, promoted: dict[str, Any]) -> None:
    parent = client.get_run(promoted["mlflow"]["run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["smar.verdict"] == "promote"
    assert "refreshed/R_at_5/clicks" in parent.data.metrics
    nested = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    stages = {"fetch_models", "prepare_refresh", "export_embeddings", "decide_promotion"}
    assert {run.data.tags["smar.stage"] for run in nested} == stages


def test_a_catalogue_that_is_no_worse_takes_the_champions_place(
    shop: Shop, client: MlflowClient, promoted: dict[str, Any]
) -> None:
    done = refresh(shop, "again", lambda rows: [*change_a_little(rows)[1:], rows[5] | {"item_id": "newer", "title": "A Lamp"}])
    assert done.returncode == 0, done.stdout + done.stderr + shop.latest_log()
    run = shop.read("again", "run.json")
    assert shop.read("again", "decision.json")["has_champion"] == "yes"
    assert run["mlflow"]["champion_version"] == promoted["mlflow"]["promoted_version"]
    assert str(client.get_model_version_by_alias("smar", "champion").version) == run["mlflow"]["promoted_version"]
    assert run["mlflow"]["promoted_version"] != promoted["mlflow"]["promoted_version"]
    newest = client.get_model_version_by_alias("smar", "newest")
    assert str(newest.version) == shop.read("first", "run.json")["mlflow"]["model_version"], "only a training moves it"


@dataclass(frozen=True)
class Spoilt:
    """A refresh with a spoilt catalogue, and where the aliases pointed before and after it."""

    done: "CompletedProcess[str]"
    run: dict[str, Any]
    before: dict[str, str]
    after: dict[str, str]


@pytest.fixture(scope="module")
def spoilt(shop: Shop, client: MlflowClient, promoted: dict[str, Any]) -> Spoilt:
    before = versions_of(client)
    done = refresh(shop, "spoilt", shift)
    assert done.returncode == EXIT_NOT_PROMOTED, done.stderr + shop.latest_log()
    return Spoilt(done, shop.read("spoilt", "run.json"), before, versions_of(client))


def versions_of(client: MlflowClient) -> dict[str, str]:
    return {alias: str(client.get_model_version_by_alias("smar", alias).version) for alias in ("champion", "newest")}


def test_a_spoilt_catalogue_keeps_the_champion_and_the_exit_code_says_so(client: MlflowClient, spoilt: Spoilt) -> None:
    assert spoilt.done.returncode == 3
    assert not spoilt.done.stderr
    assert "significant" in spoilt.done.stdout
    assert spoilt.run["verdict"] == "keep"
    assert spoilt.run["mlflow"]["champion_version"] == spoilt.before["champion"]
    assert spoilt.after == spoilt.before
    assert client.get_run(spoilt.run["mlflow"]["run_id"]).info.status == "FINISHED"


def test_the_same_refresh_again_works_nothing_out_anew(shop: Shop, client: MlflowClient, spoilt: Spoilt) -> None:
    """Only what asks the registry runs, though its answer comes from a task that is never cached."""
    done = refresh(shop, "spoilt again", shift)
    assert done.returncode == EXIT_NOT_PROMOTED, done.stderr + shop.latest_log()
    run = shop.read("spoilt again", "run.json")
    assert run["verdict"] == "keep"
    assert run["mlflow"]["champion_version"] == spoilt.run["mlflow"]["champion_version"]
    assert {stage["status"] for stage in run["stages"].values()} == {"cached"}
    parent = run["mlflow"]["run_id"]
    experiment = client.get_run(parent).info.experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert {run.data.tags["smar.is_cached"] for run in nested} == {"true"}
    assert all("smar.origin_run_id" in run.data.tags for run in nested), (
        "inputs, settings and outputs name the run that made them"
    )
    assert len(nested) == len(run["stages"])


def test_refreshes_that_went_well_on_a_cluster_end_so(promoted: dict[str, Any], spoilt: Spoilt, tmp_path: Path) -> None:
    """One that promotes is ended by that task, and one that keeps the champion by the task before."""
    versions = {name: promoted["mlflow"][name] for name in ("model_version", "champion_version")}
    task = record_refresh.python_func
    for out, done, status in (("promoted", promoted, "RUNNING"), ("spoilt", spoilt.run, "FINISHED")):
        with as_on_a_cluster(sqlite_uri(tmp_path), out) as parent:
            task(**artifacts_of(done, task), **sections_of(done, task), **versions)
            assert parent().info.status == status
            if out == "promoted":
                promotion = promote.python_func
                told = {"champion_version": "", "has_champion": "no"}
                promotion(**artifacts_of(done, promotion), **sections_of(done, promotion), **told)
        assert parent().info.status == "FINISHED"
        assert parent().data.params["promotion.cutoff"] == "5"


def test_a_version_that_holds_its_bundle_alone_cannot_be_refreshed_nor_one_that_is_not_there(
    shop: Shop, client: MlflowClient, promoted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier programs registered such versions."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shop.folder}/mlflow.db")
    monkeypatch.setenv("KFP_PIPELINE_RUN_ID", "an early version")
    client.create_registered_model("alone")
    alone = client.create_model_version("alone", client.get_model_version_by_alias("smar", "champion").source)
    client.set_registered_model_alias("alone", "champion", alone.version)
    with pytest.raises(UserError, match="version 1 of alone holds no model beside its bundle"):
        find_versions("champion", '{"model_name": "alone"}')
    with pytest.raises(UserError, match="no version of unknown with the alias champion"):
        find_versions("champion", '{"model_name": "unknown"}')


def test_only_what_asks_the_registry_or_the_files_is_never_cached_and_promotion_waits_for_the_verdict() -> None:
    spec = next(yaml.safe_load_all(compiled("refresh").read_text()))
    tasks = main_tasks(spec)
    (condition,) = [name for name, task in tasks.items() if "triggerPolicy" in task]
    stages = {name.replace("-", "_"): task["cachingOptions"] for name, task in tasks.items() if name != condition}
    assert {name for name, options in stages.items() if options.get("enableCache")} == set(REFRESH.outputs)
    assert {name for name, options in stages.items() if not options} == {DIGEST, FIND, RECORD}
    assert tasks[condition]["triggerPolicy"]["condition"].endswith("== 'promote'")
    (promotion,) = spec["components"][tasks[condition]["componentRef"]["name"]]["dag"]["tasks"].values()
    assert promotion["componentRef"]["name"] == "comp-promote"
    assert not promotion["cachingOptions"].get("enableCache")


def test_each_stage_is_handed_its_own_sections_only() -> None:
    spec = next(yaml.safe_load_all(compiled("refresh").read_text()))
    for stage, sections in REFRESH_STAGE_SECTIONS.items():
        given = main_tasks(spec)[stage.replace("_", "-")]["inputs"]["parameters"]
        named = {pipeline_parameter(value) for value in given.values()} & set(PipelineConfig.model_fields)
        assert named == set(sections)


@pytest.mark.parametrize(
    "setting",
    [
        "pretrain.num_steps=3",
        "prepare.vocab_size=100",
        "evaluate.split=test",
        "cluster.image=x",
        "runtime.launcher=torchrun",
        "runtime.num_processes=2",
        "runtime.num_nodes=2",
    ],
)
def test_settings_of_a_training_are_refused(setting: str) -> None:
    with pytest.raises(UserError, match="plays no part in a refresh"):
        check_settings([setting])


def test_a_missing_catalogue_is_found_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["refresh", "--items", "no.parquet", "--clicks", "no.parquet", "--out", "out"]) == 2
    assert "no.parquet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
