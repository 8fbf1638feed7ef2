"""What a person sees while a pipeline runs, and at its end.

On a terminal a bar per stage; elsewhere a line when a stage starts, when it ends, and every ten seconds between. Everything
goes to standard output: standard error is kept for the one sentence that says what went wrong.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from components.side import StageState

_LINE_EVERY_SECONDS = 10.0
_SHOWN_FIGURES = (("loss", "loss {:.3f}"), ("pairs_per_second", "{:.0f} pairs/s"), ("items_per_second", "{:.0f} items/s"))


class Display(Protocol):
    """Shows the states of the stages."""

    def show(self, states: Mapping[str, StageState]) -> None:
        """Show the states; called several times a second."""

    def close(self) -> None:
        """Show nothing more."""


def open_display(stages: Sequence[str], console: Console) -> Display:
    """Return the display that fits a console."""
    return _Bars(stages, console) if console.is_terminal else _Lines(console)


def describe_progress(progress: Mapping[str, Any]) -> str:
    """Return one line about a stage's progress.

    >>> progress = {"phase": "train", "done": 8, "total": 20, "first_done": 4, "elapsed_seconds": 2.0, "figures": {"loss": 1.5}}
    >>> describe_progress(progress)
    'train 8/20, loss 1.500, 6 s left'
    """
    parts = [f"{progress['phase']} {progress['done']}/{progress['total']}"]
    parts += [text.format(progress["figures"][name]) for name, text in _SHOWN_FIGURES if name in progress["figures"]]
    num_new = progress["done"] - progress["first_done"]
    if num_new > 0 and progress["done"] < progress["total"]:
        left = progress["elapsed_seconds"] / num_new * (progress["total"] - progress["done"])
        parts.append(f"{format_seconds(left)} left")
    return ", ".join(parts)


def format_seconds(seconds: float) -> str:
    """Return a time for people.

    >>> format_seconds(7.4), format_seconds(75), format_seconds(3700)
    ('7 s', '1 min 15 s', '1 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def stage_table(states: Mapping[str, StageState]) -> Table:
    """Return the table of stages: executed or cached, and how long each took."""
    table = Table("stage", "", "time", box=None, header_style="bold")
    for name, state in states.items():
        is_cached = not state.is_started
        table.add_row(name, "cached" if is_cached else "executed", "" if state.seconds is None else format_seconds(state.seconds))
    return table


class _Lines:
    """Plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: dict[str, float] = {}
        self._done: set[str] = set()

    def show(self, states: Mapping[str, StageState]) -> None:
        now = time.monotonic()
        for name, state in states.items():
            if name in self._done or not state.is_started:
                continue
            if state.seconds is not None:
                self._say(f"{name}: done in {format_seconds(state.seconds)}")
                self._done.add(name)
            elif name not in self._told:
                self._say(f"{name}: started")
                self._told[name] = now
            elif now - self._told[name] >= _LINE_EVERY_SECONDS and state.progress is not None:
                self._say(f"{name}: {describe_progress(state.progress)}")
                self._told[name] = now

    def close(self) -> None:
        return

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Bars:
    """A bar per stage that has started."""

    def __init__(self, stages: Sequence[str], console: Console) -> None:
        self._number = {name: number for number, name in enumerate(stages, 1)}
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn(), console=console
        )
        self._progress.start()

    def show(self, states: Mapping[str, StageState]) -> None:
        for name, state in states.items():
            if not state.is_started:
                continue
            if name not in self._bars:
                title = f"{self._number[name]}/{len(self._number)} {name}"
                self._bars[name] = self._progress.add_task(title, total=None, told="")
            bar = self._bars[name]
            if state.seconds is not None:
                self._progress.update(bar, total=1, completed=1, told="done")
            elif state.progress is not None:
                told = describe_progress(state.progress)
                self._progress.update(bar, total=state.progress["total"], completed=state.progress["done"], told=told)

    def close(self) -> None:
        self._progress.stop()
