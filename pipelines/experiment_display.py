"""What a person sees while an experiment runs: which trial of all, its stage, how far that is, and the time left.

On a terminal a bar for the trials and one for the stage at work; elsewhere a line now and then, as for a single run.
"""

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from components.experiment import NAME_OF_COMPARISON, NAME_OF_RECORD
from components.record import STAGE_OUTPUTS
from components.side import TRIALS, StageState
from pipelines.display import describe_progress, format_seconds

SHARED_STAGE, *TRIAL_STAGES = STAGE_OUTPUTS
_LINE_EVERY_SECONDS = 30.0


def stages_to_follow(trials: Sequence[str]) -> list[str]:
    """Return the names under which the side files of an experiment's stages are found."""
    of_trials = [f"{TRIALS}/{trial}/{stage}" for trial in trials for stage in ("configure", *TRIAL_STAGES, NAME_OF_RECORD)]
    return ["configure", SHARED_STAGE, *of_trials, NAME_OF_COMPARISON]


class TimeLeft:
    """Tells how long an experiment still takes, from its trials that had something to do.

    Args:
        num_trials: Trials of this run.
    """

    def __init__(self, num_trials: int) -> None:
        self._num_trials = num_trials
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._num_ended = 0

    def update(self, trial: str, now: float, *, is_ended: bool, has_worked: bool) -> None:
        """Say that a trial is at work or has ended, and whether it trained to its end, not from the cache."""
        self._started.setdefault(trial, now)
        if is_ended:
            self._num_ended += 1
            if has_worked:
                self._seconds[trial] = now - self._started[trial]

    def estimate(self, now: float, current: str | None) -> float | None:
        """Return seconds; None before the first trial with something to do has ended."""
        if not self._seconds:
            return None
        mean = sum(self._seconds.values()) / len(self._seconds)
        spent = now - self._started[current] if current in self._started else 0.0
        return max(0.0, mean * (self._num_trials - self._num_ended) - min(spent, mean))


class ExperimentDisplay:
    """Shows an experiment; ``show`` is called several times a second.

    Args:
        trials: Names of the trials of this run, in their order.
        console: Where to show it.
    """

    def __init__(self, trials: Sequence[str], console: Console) -> None:
        self._trials, self._console = trials, console
        self._left = TimeLeft(len(trials))
        self._ended: set[str] = set()
        self._said: dict[str, float] = {}
        self._bars: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
            self._bars = Progress(*columns, console=console)
            self._all = self._bars.add_task("trials", total=len(trials), told="")
            self._one = self._bars.add_task("", total=None, told="")
            self._bars.start()

    def show(self, states: Mapping[str, StageState]) -> None:
        """Show the states of ``stages_to_follow``."""
        now = time.monotonic()
        if not self._trials_at_work(states):
            self._show_stage(SHARED_STAGE, states[SHARED_STAGE], now)
            return
        for trial in self._trials_at_work(states):
            of = {stage: states[f"{TRIALS}/{trial}/{stage}"] for stage in ("configure", *TRIAL_STAGES, NAME_OF_RECORD)}
            error = next((state.error for state in of.values() if state.error is not None), None)
            is_ended = of[NAME_OF_RECORD].seconds is not None or error is not None
            has_worked = any(of[stage].is_started for stage in TRIAL_STAGES)
            self._left.update(trial, now, is_ended=is_ended, has_worked=has_worked and error is None)
            title = f"{self._trials.index(trial) + 1}/{len(self._trials)} {trial}"
            running = [stage for stage, state in of.items() if state.is_started and state.seconds is None]
            if error is not None:
                self._say(f"{title}: failed ({error.problem})")
            elif is_ended:
                took = sum(state.seconds or 0.0 for state in of.values())
                self._say(
                    f"{title}: done, {format_seconds(took) if has_worked else 'from the cache'}{self._told_left(now, None)}"
                )
            elif running:
                self._show_stage(f"{title} {running[-1]}", of[running[-1]], now, self._told_left(now, trial))
            if is_ended:
                self._ended.add(trial)
                if self._bars is not None:
                    self._bars.update(self._all, completed=len(self._ended), told=self._told_left(now, None).removeprefix("; "))

    def close(self) -> None:
        """Show nothing more."""
        if self._bars is not None:
            self._bars.stop()

    def _trials_at_work(self, states: Mapping[str, StageState]) -> list[str]:
        """Return the trials that have begun and of which nothing final was said yet."""
        begun = []
        for trial in self._trials:
            of = [states[f"{TRIALS}/{trial}/{stage}"] for stage in ("configure", *TRIAL_STAGES, NAME_OF_RECORD)]
            if trial not in self._ended and any(state.is_started or state.error is not None for state in of):
                begun.append(trial)
        return begun

    def _show_stage(self, title: str, state: StageState, now: float, left: str = "") -> None:
        if not state.is_started:
            return
        told = describe_progress(state.progress) if state.progress is not None else "started"
        if self._bars is not None:
            progress = state.progress or {"total": None, "done": 0}
            self._bars.update(self._one, description=title, total=progress["total"], completed=progress["done"], told=told + left)
        elif state.seconds is not None:
            if title not in self._said or self._said[title] >= 0:
                self._say(f"{title}: done in {format_seconds(state.seconds)}")
                self._said[title] = -1.0
        elif title not in self._said or (state.progress is not None and now - self._said[title] >= _LINE_EVERY_SECONDS):
            self._say(f"{title}: {told}{left}")
            self._said[title] = now

    def _told_left(self, now: float, current: str | None) -> str:
        seconds = self._left.estimate(now, current)
        return "" if seconds is None or seconds < 1 else f"; about {format_seconds(seconds)} left in all"

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
