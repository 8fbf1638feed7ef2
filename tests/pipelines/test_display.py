"""What a person sees while a pipeline runs."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from components.side import StageState
from pipelines.display import describe_progress, open_display
from smar_core.progress import FileProgress

PROGRESS = {
    "phase": "train",
    "done": 50,
    "total": 200,
    "first_done": 0,
    "elapsed_seconds": 10.0,
    "figures": {"loss": 2.5, "pairs_per_second": 351.4},
}
CACHED = StageState(False, None, None, {}, {}, None)
RUNNING = StageState(True, PROGRESS, None, {}, {}, None)
DONE = StageState(True, PROGRESS, 61.0, {}, {}, None)


def show(*states: StageState, is_terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=140)
    display = open_display(("prepare_data", "pretrain"), console)
    for state in states:
        display.show({"prepare_data": CACHED, "pretrain": state})
    display.close()
    return text.getvalue()


def test_plain_lines_say_when_a_stage_starts_and_ends_once() -> None:
    assert show(RUNNING, RUNNING, DONE, DONE, is_terminal=False) == "pretrain: started\npretrain: done in 1 min 1 s\n"


def test_bar_shows_stage_step_loss_speed_and_time_left() -> None:
    shown = show(RUNNING, is_terminal=True)
    for part in ("2/2 pretrain", "train 50/200", "loss 2.500", "351 pairs/s", "30 s left"):
        assert part in shown


def test_time_left_after_a_resume_counts_only_steps_since_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps before the checkpoint took no time in this process."""
    times = iter([100.0, 110.0])
    monkeypatch.setattr("smar_core.progress.time.monotonic", lambda: next(times))
    progress = FileProgress(tmp_path / "progress.json", "pretrain")
    progress.update("train", 150, 200)
    assert describe_progress(json.loads((tmp_path / "progress.json").read_text())) == "train 150/200"
    progress.update("train", 175, 200)
    assert describe_progress(json.loads((tmp_path / "progress.json").read_text())) == "train 175/200, 10 s left"
