"""``smar fetch``: a registered version's bundle is what the run left, and nothing is written where something is wrong."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from pipelines.fetching import fetch_bundle
from smar_core.artifact import open_artifact
from smar_core.config import TrackingConfig
from smar_core.errors import UserError
from tests.pipelines.shop_runs import Shop


@pytest.fixture(autouse=True)
def no_store_is_named(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow remembers the store that was used last, in the environment too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that what is written there meanwhile goes away as well
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    yield
    mlflow.set_tracking_uri(None)


def test_the_newest_bundle_is_that_of_the_run(finished: Shop, tmp_path: Path) -> None:
    uri = f"sqlite:///{finished.folder}/mlflow.db"
    newest = MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version_by_alias("smar", "newest")
    version = fetch_bundle("newest", tmp_path / "deep" / "bundle", TrackingConfig(), finished.folder)
    assert version == str(newest.version)
    assert open_artifact(tmp_path / "deep" / "bundle", "bundle").digest == newest.tags["smar.artifact.bundle"]


def test_what_is_there_is_left_alone(finished: Shop, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(UserError, match="is there already"):
        fetch_bundle("newest", tmp_path / "bundle", TrackingConfig(), finished.folder)


@pytest.mark.parametrize(
    ("alias", "config", "message"),
    [
        ("best", TrackingConfig(), "no version of smar with the alias best"),
        ("newest", TrackingConfig(model_name="other"), "no version of other with the alias newest"),
    ],
)
def test_a_version_that_is_not_there(finished: Shop, tmp_path: Path, alias: str, config: TrackingConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fetch_bundle(alias, tmp_path / "bundle", config, finished.folder)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no tracking store .*mlflow\.db"):
        fetch_bundle("newest", tmp_path / "bundle", TrackingConfig(), tmp_path)
    assert not list(tmp_path.iterdir())
