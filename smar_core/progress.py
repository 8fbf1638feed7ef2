"""How far a stage is, told without knowing who listens.

Stages run inside KFP, which turns their output into a flood, so a progress bar is drawn by whoever started them from a small
side file. A stage takes a ``Progress`` and calls ``update``; ``FileProgress`` writes the file, ``SILENT`` does nothing.
"""

import json
import time
from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Receiver of a stage's progress."""

    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        """Say that ``done`` of ``total`` steps of a phase are finished, with figures such as loss or pairs_per_second."""


class _Silent:
    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        return None


SILENT: Progress = _Silent()
"""Progress that nobody watches."""


class FileProgress:
    """Writes the latest state to a JSON file, at most five times a second and at a phase's end; never half a file.

    ``first_done`` is the number of steps that were done when the phase was first told of, which is far from 0 in a stage that
    goes on from a checkpoint; ``elapsed_seconds`` counts from then. A phase that falls back begins anew.

    Args:
        path: The file; its folder exists.
        stage: Name of the stage, repeated in every record.
    """

    def __init__(self, path: Path, stage: str) -> None:
        self._path, self._stage = path, stage
        self._first: dict[str, tuple[float, int]] = {}
        self._latest: dict[str, int] = {}
        self._last_write = 0.0

    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        """Write the state, unless the last one is younger than 0.2 s and the phase goes on."""
        now = time.monotonic()
        if done < self._latest.get(phase, done):
            del self._first[phase]
        self._latest[phase] = done
        started, first_done = self._first.setdefault(phase, (now, done))
        if now - self._last_write < 0.2 and done < total:
            return
        self._last_write = now
        record = {
            "stage": self._stage,
            "phase": phase,
            "done": done,
            "total": total,
            "first_done": first_done,
            "elapsed_seconds": round(now - started, 3),
            "figures": {name: float(value) for name, value in figures.items()},
        }
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record), encoding="utf-8")
        temporary.replace(self._path)
