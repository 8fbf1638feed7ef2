"""The side file of a stage's progress."""

import json
from pathlib import Path

import pytest

from smar_core import progress


def test_phase_that_begins_anew_is_timed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the validation days encodes the items again; the time left counted from the first look, minutes ago."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    path = tmp_path / "progress.json"
    file = progress.FileProgress(path, "pretrain")
    file.update("encode items", 10, 10)
    now = 500.0
    file.update("encode items", 2, 10)
    now = 501.0
    file.update("encode items", 4, 10)
    record = json.loads(path.read_text())
    assert (record["first_done"], record["elapsed_seconds"]) == (2, 1.0)
