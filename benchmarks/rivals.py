"""Our speed against that of other libraries: one run, equal work, in turns, as ratios, with memory.

Every contender lives in a process of its own, which waits while the others have their turn; the order turns round from one
round to the next, so that whatever else the machine does meets all of them alike. The first round is not counted.
Equal work: the same batches, not grouped by item (``queries_per_item`` 1), of which each distinct item is encoded once,
the same token lengths, towers of one size.
``benchmarks/requirements.txt`` holds the other libraries; the project does not depend on them.
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks import contenders
from benchmarks.contenders import Contender
from benchmarks.stages import Figures, Job
from smar_core.config import override_config


@dataclass(frozen=True)
class Race:
    """Contenders that do the same work; the first is ours, and the others are measured against it.

    Attributes:
        title: What is counted.
        variant: Of ours, with the towers that this work needs and no other.
        is_training: Steps of a batch of pairs; else passes over the catalogue.
        contenders: By name.
    """

    title: str
    variant: str
    is_training: bool
    contenders: Mapping[str, Contender]


RACES = (
    Race(
        "text, pairs of pre-training",
        "dpsr",
        True,
        {"smar (dpsr)": contenders.smar_training, "sentence-transformers": contenders.sentence_transformers_training},
    ),
    Race(
        "text, items of export",
        "dpsr",
        False,
        {"smar (dpsr)": contenders.smar_export, "sentence-transformers": contenders.sentence_transformers_export},
    ),
    Race(
        "images, pairs of pre-training",
        "dpsr-i",
        True,
        {
            "smar (dpsr-i)": contenders.smar_training,
            "sentence-transformers (CLIP)": contenders.clip_training,
            "open_clip": contenders.open_clip_training,
        },
    ),
    Race(
        "images, items of export",
        "dpsr-i",
        False,
        {
            "smar (dpsr-i)": contenders.smar_export,
            "sentence-transformers (CLIP)": contenders.clip_export,
            "open_clip": contenders.open_clip_export,
        },
    ),
)

STEPS_A_ROUND = 4
SETTINGS = (
    "pretrain.queries_per_item=1",
    f"pretrain.num_steps={10**6}",
    f"pretrain.validate_every_steps={10**6}",
    f"pretrain.checkpoint_every_steps={10**6}",
)
"""Overrides of every race: batches that are not grouped by item, and no end."""


class RaceOverError(Exception):
    """The race is over."""


class Turns:
    """Called by a contender after each step: measures a round of steps, then waits for the next turn.

    Args:
        pipe: Gets (seconds of a round, peak megabytes); gives whether there is another round.
        steps: Of a round.
    """

    def __init__(self, pipe: Connection, steps: int) -> None:
        self._pipe, self._steps, self._done = pipe, steps, 0
        self._start = time.perf_counter()

    def __call__(self) -> None:
        self._done += 1
        if self._done < self._steps:
            return
        seconds = time.perf_counter() - self._start
        self._pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6))
        try:
            is_over = not self._pipe.recv()
        except EOFError:  # another contender failed
            is_over = True
        if is_over:
            raise RaceOverError
        self._done, self._start = 0, time.perf_counter()


def run_race(race: Race, job: Job, packages: Path, num_rounds: int) -> dict[str, Figures]:
    """Let the contenders of a race take turns and return each one's rate, spread, ratio to ours, and memory.

    A rival that is not installed has no figures, and a line on the error stream says so.

    Args:
        race: Who runs.
        job: With prepared data and the race's variant in its config; an item has one square picture, as CLIP needs.
        packages: Folder with what ``benchmarks/requirements.txt`` names.
        num_rounds: Counted rounds.

    Raises:
        ChildProcessError: A contender failed; its own words are above.
    """
    settings = SETTINGS if race.is_training else ()
    steps = STEPS_A_ROUND if race.is_training else 1
    units = steps * (job.config.pretrain.batch_size if race.is_training else job.artifact("items").counts["items"])
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    megabytes: dict[str, float] = {}
    processes = []
    for number, (name, contender) in enumerate(race.contenders.items()):
        ours, theirs = context.Pipe()
        own = job.beside(f"{race.title} {number}", override_config(job.config, settings))
        processes.append(context.Process(target=_compete, args=(contender, own, packages, theirs, steps), daemon=True))
        processes[-1].start()
        theirs.close()
        try:
            _receive(name, ours)  # the first round, which is not counted
        except ImportError as error:
            if number == 0:
                raise
            print(f"{race.title}: {name} is left out: {error}", file=sys.stderr)
            continue
        pipes[name] = ours
    rates: dict[str, list[float]] = {name: [] for name in pipes}
    for number in range(num_rounds):
        for name in list(pipes)[:: 1 if number % 2 == 0 else -1]:
            pipes[name].send(True)
            seconds, megabytes[name] = _receive(name, pipes[name])
            rates[name].append(units / seconds)
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
    first = rates[next(iter(rates))]
    absent: dict[str, Figures] = {name: {} for name in race.contenders if name not in rates}
    return absent | {
        name: {
            "per_second": statistics.median(found),
            "least": min(found),
            "most": max(found),
            "ours_to_this": statistics.median(ours / other for ours, other in zip(first, found, strict=True)),
            "peak_megabytes": megabytes[name],
        }
        for name, found in rates.items()
    }


def _receive(name: str, pipe: Connection) -> tuple[float, float]:
    try:
        found = pipe.recv()
    except EOFError:
        raise ChildProcessError(f"{name} did not finish its round") from None
    if isinstance(found, ImportError):
        raise found
    seconds, megabytes = found
    return seconds, megabytes


def _compete(contender: Contender, job: Job, packages: Path, pipe: Connection, steps: int) -> None:
    sys.path.append(str(packages))  # last, and after the project's own imports: it changes nothing for them
    torch.set_num_threads(job.config.runtime.num_threads)
    try:
        contender(job, Turns(pipe, steps))
    except ImportError as error:
        pipe.send(error)
    except RaceOverError:
        return
