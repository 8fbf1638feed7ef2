"""What a person sees while an experiment runs."""

import io

import pytest
from rich.console import Console

from components.side import StageError, StageState
from pipelines.experiment_display import ExperimentDisplay, TimeLeft, stages_to_follow

NOTHING = StageState(False, None, None, {}, {}, None)
PROGRESS = {"phase": "train", "done": 50, "total": 200, "first_done": 0, "elapsed_seconds": 10.0, "figures": {}}
RUNNING = StageState(True, PROGRESS, None, {}, {}, None)
DONE = StageState(True, None, 61.0, {}, {}, None)
FAILED = StageState(True, None, None, {}, {}, StageError("smar-0: pretrain", "bug", "it diverged", "", ""))
TRIALS = ("smar-0", "dpsr-0")


def show(*seen: dict[str, StageState], is_terminal: bool = False) -> str:
    text = io.StringIO()
    display = ExperimentDisplay(TRIALS, Console(file=text, force_terminal=is_terminal, width=160))
    for states in seen:
        display.show(dict.fromkeys(stages_to_follow(TRIALS), NOTHING) | {f"trials/{name}": s for name, s in states.items()})
    display.close()
    return text.getvalue()


def test_line_names_trial_of_all_stage_and_progress() -> None:
    running = {"smar-0/pretrain": RUNNING}
    assert show(running, running) == "1/2 smar-0 pretrain: train 50/200, 30 s left\n"


def test_trial_is_done_once_it_is_recorded_and_the_time_left_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 100.0, 120.0])
    monkeypatch.setattr("pipelines.experiment_display.time.monotonic", lambda: next(times))
    done = {"smar-0/pretrain": DONE, "smar-0/record_trial": DONE}
    lines = show({"smar-0/pretrain": RUNNING}, done, done | {"dpsr-0/pretrain": RUNNING}).splitlines()
    assert lines[1] == "1/2 smar-0: done, 2 min 2 s; about 1 min 40 s left in all"
    assert lines[2].startswith("2/2 dpsr-0 pretrain: train 50/200") and lines[2].endswith("about 1 min 40 s left in all")


def test_trial_from_the_cache_says_so_and_tells_nothing_about_time() -> None:
    assert show({"smar-0/record_trial": DONE}) == "1/2 smar-0: done, from the cache\n"


def test_failure_is_told_when_it_happens_and_the_next_trial_goes_on() -> None:
    failed = {"smar-0/pretrain": FAILED}
    lines = show(failed, failed | {"dpsr-0/pretrain": RUNNING}).splitlines()
    assert lines == ["1/2 smar-0: failed (it diverged)", "2/2 dpsr-0 pretrain: train 50/200, 30 s left"]


def test_bars_on_a_terminal() -> None:
    shown = show({"smar-0/pretrain": RUNNING}, is_terminal=True)
    assert "trials" in shown and "1/2 smar-0 pretrain" in shown


def test_time_left_counts_trials_that_trained_alone() -> None:
    left = TimeLeft(4)
    left.update("a", 0.0, is_ended=False, has_worked=False)
    left.update("a", 1.0, is_ended=True, has_worked=False)
    assert left.estimate(1.0, None) is None
    left.update("b", 1.0, is_ended=False, has_worked=True)
    left.update("b", 11.0, is_ended=True, has_worked=True)
    assert left.estimate(11.0, None) == 20.0
    left.update("c", 11.0, is_ended=False, has_worked=True)
    assert left.estimate(14.0, "c") == 17.0
    assert left.estimate(99.0, "c") == 10.0
