"""What a person sees while a pipeline runs."""

import io

from rich.console import Console

from components.side import StageState
from pipelines.display import open_display

PROGRESS = {
    "phase": "train",
    "done": 50,
    "total": 200,
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
