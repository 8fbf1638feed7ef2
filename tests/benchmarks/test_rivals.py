"""Contenders take turns, and their rates and ratios are what they say. The other libraries are not needed here."""

import time
from pathlib import Path

import pytest

from benchmarks.contenders import Contender, StepDone
from benchmarks.rivals import STEPS_A_ROUND, Race, RaceOverError, Turns, run_race
from benchmarks.stages import PREPARED, Job
from smar_core.config import load_config


class Pipe:
    """Stands in for the other end of a race."""

    def __init__(self, answers: list[bool]) -> None:
        self.sent: list[tuple[float, float]] = []
        self._answers = iter(answers)

    def send(self, value: tuple[float, float]) -> None:
        self.sent.append(value)

    def recv(self) -> bool:
        time.sleep(0.2)  # the others' turn
        return next(self._answers)


def test_a_round_is_measured_without_the_wait_for_the_next_and_the_last_one_ends_the_contender() -> None:
    pipe = Pipe([True, True, False])
    turns = Turns(pipe, steps=2)  # type: ignore[arg-type]  # of a connection it has what Turns asks for
    with pytest.raises(RaceOverError):
        for _ in range(100):
            time.sleep(0.01)
            turns()
    assert len(pipe.sent) == 3
    assert all(0.02 <= seconds < 0.2 for seconds, _ in pipe.sent)
    assert all(megabytes > 1 for _, megabytes in pipe.sent)


def slow(job: Job, step_done: StepDone) -> None:
    while True:
        time.sleep(0.08)
        step_done()


def quick(job: Job, step_done: StepDone) -> None:
    while True:
        time.sleep(0.02)
        step_done()


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
    assert figures["theirs"]["ours_to_this"] == pytest.approx(4, rel=0.4)
    assert figures["ours"]["ours_to_this"] == 1.0
    assert figures["theirs"]["per_second"] == pytest.approx(10 / 0.08, rel=0.3)
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
