"""MLflow's server as the manifests start it, with PostgreSQL, an S3-compatible store and users; a pipeline logs to it."""

import urllib.error
import urllib.request
from pathlib import Path

import boto3
import psycopg2
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

from components.record import STAGE_OUTPUTS
from tests.manifests.conftest import BUCKET, add_user
from tests.manifests.servers import SECRETS, TrackingServer
from tests.pipelines.shop_runs import Shop

FEW_STEPS = ("--set", "pretrain.num_steps=4", "--set", "gate.num_steps=4", "--set", "finetune.num_steps=4")


@pytest.fixture(scope="module")
def recorded(mlflow_server: TrackingServer, tiny_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A working folder in which a run with OUT ``first`` was logged to the server."""
    shop = Shop(tmp_path_factory.mktemp("shop"), tiny_shop, SECRETS["smar-mlflow"])
    process = shop.start(shop.run_arguments("first", *FEW_STEPS, "--set", f"tracking.uri={mlflow_server.uri}"))
    try:
        _, error = process.communicate(timeout=500)
    finally:
        process.kill()
    assert process.returncode == 0, error + shop.latest_log()
    return shop


@pytest.fixture
def client(mlflow_server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client with the pipelines' user."""
    for name, value in SECRETS["smar-mlflow"].items():
        monkeypatch.setenv(name, value)
    return MlflowClient(mlflow_server.uri, mlflow_server.uri)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic cGlwZWxpbmVzOmd1ZXNzZWQ="}])
def test_nothing_is_read_without_a_password(mlflow_server: TrackingServer, header: dict[str, str]) -> None:
    address = f"{mlflow_server.uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=smar"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(urllib.request.Request(address, headers=header))
    assert refusal.value.code == 401


def test_a_request_by_another_name_of_the_server_is_refused(mlflow_server: TrackingServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(urllib.request.Request(mlflow_server.uri, headers={"Host": "elsewhere.example"}))
    assert refusal.value.code == 403


def test_pipelines_user_is_no_administrator(mlflow_server: TrackingServer, client: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="403"):
        AuthServiceClient(mlflow_server.uri).create_user("another", "a-long-password")


def test_adding_the_user_again_sets_its_password(mlflow_server: TrackingServer, client: MlflowClient) -> None:
    assert add_user(mlflow_server.uri) == "set the password of the user pipelines\n"
    assert client.search_experiments()


def test_run_of_the_pipeline_and_of_each_stage_is_there(recorded: Shop, client: MlflowClient) -> None:
    tracking = recorded.read("first", "run.json")
    experiment = client.get_experiment_by_name("smar")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.data.tags["kfp.pipeline_run_id"] == tracking["pipeline_run_id"]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["R_at_50"] == recorded.read("first", "metrics.json")["model"]["overall"]["R@50"]["value"]
    stages = {run.data.tags["smar.stage"]: run for run in runs if run is not parent}
    assert set(stages) == set(STAGE_OUTPUTS)
    assert {run.data.tags["mlflow.parentRunId"] for run in stages.values()} == {parent.info.run_id}
    assert len(client.get_metric_history(stages["pretrain"].info.run_id, "loss")) > 1


def test_artifacts_and_model_come_back_through_the_server(recorded: Shop, client: MlflowClient, tmp_path: Path) -> None:
    experiment = client.get_experiment_by_name("smar")
    (evaluate,) = client.search_runs([experiment.experiment_id], "tags.`smar.stage` = 'evaluate'")
    page = Path(client.download_artifacts(evaluate.info.run_id, "evaluation/page.html", str(tmp_path)))
    assert page.read_bytes() == (recorded.folder / "first" / "report.html").read_bytes()
    version = client.get_model_version_by_alias("smar", "newest")
    assert version.tags["smar.artifact.bundle"] == recorded.read("first", "run.json")["artifacts"]["bundle"]["digest"]


def test_records_are_in_postgresql_and_files_in_the_object_store(
    recorded: Shop, mlflow_server: TrackingServer, store_address: str
) -> None:
    settings = mlflow_server.settings
    with (
        psycopg2.connect(
            host=settings["PGHOST"],
            port=settings["PGPORT"],
            user=settings["PGUSER"],
            password=settings["PGPASSWORD"],
            dbname="mlflow",
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM runs")
        assert cursor.fetchone() == (1 + len(STAGE_OUTPUTS),)
        cursor.execute("SELECT username, is_admin FROM users ORDER BY username")
        assert cursor.fetchall() == [("keeper", True), ("pipelines", False)]
    keys = SECRETS["smar-object-store"]
    store = boto3.client(
        "s3",
        endpoint_url=store_address,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    files = {entry["Key"].rsplit("/", 1)[-1] for entry in store.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert {"page.html", "MLmodel"} <= files


def test_no_secret_is_in_files_or_logs(recorded: Shop, mlflow_server: TrackingServer) -> None:
    words = {
        value.encode() for secret in SECRETS.values() for name, value in secret.items() if "PASSWORD" in name or "SECRET" in name
    }
    left = [path for path in recorded.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(left) > 50
    for path in (*left, mlflow_server.log):
        content = path.read_bytes()
        assert not [word for word in words if word in content], path
