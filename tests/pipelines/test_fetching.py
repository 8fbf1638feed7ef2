"""``smar fetch``: a registered version's bundle is what the run left, and nothing is written where something is wrong."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from components.tracking import ModelRegistry, Version
from pipelines.cli import invoke
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


def test_the_command_copies_the_bundle_and_says_which_version_it_is(
    finished: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = fetch_bundle("newest", tmp_path / "bundle", TrackingConfig(), finished.folder)
    monkeypatch.chdir(finished.folder)
    out = tmp_path / "by the command"
    assert invoke(["fetch", str(out), "--model", "newest"]) == 0
    assert open_artifact(out, "bundle").digest == open_artifact(tmp_path / "bundle", "bundle").digest
    assert capsys.readouterr().out.startswith(f"version {newest}, {out} ")


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


def test_a_bundle_that_is_not_what_the_registry_says_is_not_left_behind(
    finished: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(self: ModelRegistry, alias: str, found: Any = ModelRegistry.find) -> Version:
        return replace(found(self, alias), digests={"bundle": "0" * 64})

    monkeypatch.setattr(ModelRegistry, "find", find)
    with pytest.raises(UserError, match="is not what the registry says of it"):
        fetch_bundle("newest", tmp_path / "bundle", TrackingConfig(), finished.folder)
    assert not list(tmp_path.iterdir())
