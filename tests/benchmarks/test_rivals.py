"""Contenders take turns, and their rates and ratios are what they say. The other libraries are not needed here."""

from functools import partial
from pathlib import Path

import pytest

from benchmarks import rivals
from benchmarks.contenders import Contender, StepDone
from benchmarks.rivals import STEPS_A_ROUND, Race, RaceOverError, Turns, run_race
from benchmarks.stages import PREPARED, Job
from smar_core.config import load_config


class Clock:
    """Stands in for the module ``time``: it goes on when it is told to, however busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Pipe:
    """Stands in for the other end of a race."""

    def __init__(self, answers: list[bool], clock: Clock) -> None:
        self.sent: list[tuple[float, float]] = []
        self._answers, self._clock = iter(answers), clock

    def send(self, value: tuple[float, float]) -> None:
        self.sent.append(value)

    def recv(self) -> bool:
        self._clock.now += 100  # the others' turn
        return next(self._answers)


def test_a_round_is_measured_without_the_wait_for_the_next_and_the_last_one_ends_the_contender(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(rivals, "time", clock)
    pipe = Pipe([True, True, False], clock)
    turns = Turns(pipe, steps=2)  # type: ignore[arg-type]  # of a connection it has what Turns asks for
    with pytest.raises(RaceOverError):
        for _ in range(100):
            clock.now += 1
            turns()
    assert [seconds for seconds, _ in pipe.sent] == [2, 2, 2]
    assert all(megabytes > 1 for _, megabytes in pipe.sent)


def paced(seconds_a_step: float, job: Job, step_done: StepDone) -> None:
    """A contender, in a process of its own, with a clock of its own; its first round is not counted."""
    clock = Clock()
    rivals.time = clock  # type: ignore[assignment]  # it has what a round is measured by
    while True:
        clock.now += seconds_a_step
        step_done()


slow, quick = partial(paced, 0.08), partial(paced, 0.02)


def broken(job: Job, step_done: StepDone) -> None:
    return


def not_installed(job: Job, step_done: StepDone) -> None:
    raise ModuleNotFoundError("No module named 'open_clip'")


def dies_later(job: Job, step_done: StepDone) -> None:
    for _ in range(STEPS_A_ROUND):
        step_done()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for kind in PREPARED:
        (tmp_path / kind).mkdir()
    return Job("", "", tmp_path, load_config("demo", ["pretrain.batch_size=10", "runtime.num_threads=1"]))


def test_ratio_of_a_race_is_ours_to_theirs(job: Job, tmp_path: Path) -> None:
    figures = run_race(Race("race", "dpsr", True, {"ours": quick, "theirs": slow}), job, tmp_path, num_rounds=2)
    assert figures["theirs"]["ours_to_this"] == pytest.approx(4)
    assert figures["ours"]["ours_to_this"] == 1.0
    assert figures["theirs"]["per_second"] == pytest.approx(10 / 0.08)
    assert figures["ours"]["peak_megabytes"] > 1


def test_a_rival_that_is_not_installed_is_left_out_and_named(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    race = Race("race", "dpsr", True, {"ours": quick, "missing": not_installed, "theirs": slow})
    figures = run_race(race, job, tmp_path, num_rounds=1)
    assert {name for name, found in figures.items() if found} == {"ours", "theirs"} and figures["missing"] == {}
    assert "missing is left out: No module named 'open_clip'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rivals", [{"ours": broken, "theirs": quick}, {"ours": quick, "theirs": broken}, {"ours": quick, "theirs": dies_later}]
)
def test_a_contender_that_fails_is_named(job: Job, tmp_path: Path, rivals: dict[str, Contender]) -> None:
    failing = "ours" if rivals["ours"] is broken else "theirs"
    with pytest.raises(ChildProcessError, match=failing):
        run_race(Race("race", "dpsr", True, rivals), job, tmp_path, num_rounds=1)
