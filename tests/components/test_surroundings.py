"""What a stage is told through its environment, and the password that stays there."""

import os
from pathlib import Path

import pytest

from components.surroundings import PASSWORD, TRACKING_URI, USER, Surroundings, part_credentials, read_tracking_uri
from smar_core.errors import UserError


def test_credentials_are_parted_from_the_address_once() -> None:
    """An address with a password was written to the run's record, its job file and MLflow's error messages."""
    environment = {TRACKING_URI: "http://ada:p%40ss@mlflow.example:5000/api"}
    assert read_tracking_uri(environment) == "http://mlflow.example:5000/api"
    assert environment == {TRACKING_URI: "http://mlflow.example:5000/api", USER: "ada", PASSWORD: "p@ss"}
    assert read_tracking_uri(environment) == "http://mlflow.example:5000/api"
    assert environment[PASSWORD] == "p@ss"


@pytest.mark.parametrize("uri", ["sqlite:////shop/mlflow.db", "http://mlflow.example", "postgresql://ada@db.example/mlflow", ""])
def test_an_address_without_a_password_stays_as_it_is(uri: str) -> None:
    assert part_credentials(uri) == (uri, {})


def test_a_databases_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match=f"at db.example holds a password.*{PASSWORD}") as raised:
        part_credentials("postgresql://ada:secret@db.example/mlflow")
    assert "secret" not in str(raised.value)
    for parameter in ("password", "sslPassword"):
        with pytest.raises(UserError, match="names a password among its parameters") as raised:
            part_credentials(f"postgresql://db.example/mlflow?user=ada&{parameter}=secret")
        assert "secret" not in str(raised.value)


def test_surroundings_survive_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Surroundings(tracking_uri="http://mlflow.example", pipeline_run_id="p1", injected_run_id="r1")
    for name, value in told.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Surroundings.read() == told


def test_workspace_of_another_user_is_said_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing gives a run's volume to the image's user; a traceback of pathlib was all that the log said."""

    def refuse(folder: Path, **options: bool) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "mkdir", refuse)  # who runs the tests may be root, whom no folder refuses
    with pytest.raises(UserError, match=f"user {os.getuid()} may not write to /kfp-workspace/work/k1.*fsGroup 10001"):
        Surroundings().work_folder("k1", "/kfp-workspace")
