"""MLflow's server, with PostgreSQL and an S3-compatible store, for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.manifests.rendering import MANIFESTS
from tests.manifests.servers import SECRETS, TrackingServer, object_store, postgres, run_script, tracking_server

BUCKET = "smar-mlflow"


@pytest.fixture(scope="session")
def store_address() -> Iterator[str]:
    """Address of the S3-compatible store, with the bucket that the Job made."""
    with object_store() as address:
        keys = SECRETS["smar-object-store"]
        run_script(
            "object-store/make_bucket.py",
            {**keys, "AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1", "BUCKET": BUCKET},
        )
        yield address


@pytest.fixture(scope="session")
def mlflow_server(store_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """MLflow's server as the Deployment says, with the user that the Job added."""
    database = SECRETS["smar-postgres"]
    with postgres(database["POSTGRES_USER"], database["POSTGRES_PASSWORD"], "mlflow") as port:
        here = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "AWS_ENDPOINT_URL": store_address,
            "MLFLOW_AUTH_CONFIG_PATH": str(MANIFESTS / "mlflow/server/basic_auth.ini"),
        }
        with tracking_server(tmp_path_factory.mktemp("mlflow"), here) as server:
            add_user(server.uri)
            yield server


def add_user(uri: str) -> str:
    """Run the program of the Job that adds the pipelines' user, and return what it printed."""
    admin, user = SECRETS["smar-mlflow-admin"], SECRETS["smar-mlflow"]
    return run_script(
        "server/add_user.py",
        {
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_TRACKING_USERNAME": admin["MLFLOW_AUTH_ADMIN_USERNAME"],
            "MLFLOW_TRACKING_PASSWORD": admin["MLFLOW_AUTH_ADMIN_PASSWORD"],
            "PIPELINE_USERNAME": user["MLFLOW_TRACKING_USERNAME"],
            "PIPELINE_PASSWORD": user["MLFLOW_TRACKING_PASSWORD"],
        },
    )
