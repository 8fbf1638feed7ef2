"""Side files and the lock by which a stage notices that its starter is gone."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.side import ALIVE, StageError, first_error, hold_lock, read_state
from smar_core.errors import DivergedError, UserError

WATCHER = """
import os, signal, sys, time
from pathlib import Path
from components.side import die_with_starter
if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(int(sys.argv[2])))
die_with_starter(Path(sys.argv[1]))
print("watching", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("error", "kind", "problem"),
    [
        (UserError("no column", "add it"), "user", "no column"),
        (DivergedError("loss is nan at step 3"), "bug", "loss is nan at step 3"),
        (KeyError("x"), "bug", "KeyError: 'x'"),
        (KeyboardInterrupt(), "interrupted", "it was told to stop"),
    ],
)
def test_error_says_whose_fault_it_is(error: BaseException, kind: str, problem: str) -> None:
    told = StageError.of("pretrain", error)
    assert (told.kind, told.problem) == (kind, problem)


def test_stage_that_left_nothing_has_not_started(tmp_path: Path) -> None:
    state = read_state(tmp_path, "pretrain")
    assert not state.is_started
    assert state.seconds is None
    assert first_error(tmp_path, ["pretrain"]) is None


def test_lock_is_held_by_one_only_until_its_handle_is_closed(tmp_path: Path) -> None:
    first = hold_lock(tmp_path / ALIVE)
    assert first is not None
    assert hold_lock(tmp_path / ALIVE) is None
    first.close()
    second = hold_lock(tmp_path / ALIVE)
    assert second is not None
    second.close()


@pytest.mark.parametrize(("arguments", "code"), [([], 130), (["7"], 7)], ids=["plain", "handles SIGTERM"])
def test_process_lives_as_long_as_the_lock_is_held(arguments: list[str], code: int, tmp_path: Path) -> None:
    """One that handles SIGTERM, because it has to tell others of its end, is given the time."""
    lock = hold_lock(tmp_path / ALIVE)
    assert lock is not None
    watcher = subprocess.Popen([sys.executable, "-c", WATCHER, str(tmp_path), *arguments], stdout=subprocess.PIPE, text=True)
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "watching\n"
    time.sleep(1.2)
    assert watcher.poll() is None
    lock.close()
    assert watcher.wait(timeout=10) == code
    watcher.stdout.close()
