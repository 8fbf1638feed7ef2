"""``smar ui``: MLflow's page is started on the store that runs of this folder write to."""

import os
import sqlite3
import sys
from pathlib import Path

import pytest

from components.surroundings import NO_TELEMETRY
from pipelines.cli import invoke, main


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that took this program's place, in an empty folder."""
    commands: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(os, "execv", lambda _path, command: commands.append(command))
    return commands


def store_of(command: list[str]) -> str:
    return command[command.index("--backend-store-uri") + 1]


def test_the_store_of_this_folder(started: list[list[str]], tmp_path: Path) -> None:
    assert invoke(["ui", "--port", "5001"]) == 0
    assert store_of(started[0]) == f"sqlite:///{tmp_path.resolve()}/mlflow.db"
    assert started[0][-1] == "5001"


def test_the_store_that_the_settings_name(started: list[list[str]], tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    sqlite3.connect(other).close()
    assert invoke(["ui", "--set", f"tracking.uri=sqlite:///{other}"]) == 0
    assert store_of(started[0]) == f"sqlite:///{other}"


def test_the_server_inherits_that_no_use_is_told(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})
    monkeypatch.setattr(sys, "argv", ["smar", "ui"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert started
    assert os.environ.items() >= NO_TELEMETRY.items()
