"""Running a Beam pipeline on this machine: in this process, or spread over worker processes.

Beam handles an element at a cost of some ten microseconds, so elements here are not rows but serialised Arrow tables. Shuffled
data lies in the memory of the process that runs the pipeline, which bounds a click log to some ten million rows. Worker
processes take about four seconds to start, which pays off for large pictures and logs of millions. ``FnApiRunner`` is named
outright because ``DirectRunner`` may look for a runner on the network.
"""

import contextlib
import logging
import shlex
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from smar_core.config import BeamConfig
from smar_core.progress import Progress


def run_pipeline(build: Callable[[beam.Pipeline], None], runner: BeamConfig, log: Path) -> Counter[str]:
    """Run a pipeline to its end.

    Args:
        build: Adds the transforms to a pipeline.
        runner: How many worker processes; with 1, everything runs in this process.
        log: File for what the workers print.

    Returns:
        The pipeline's counters by name, those of one name added up over its transforms; 0 for one that never counted.
    """
    environment = None
    if runner.num_workers > 1:
        log.parent.mkdir(parents=True, exist_ok=True)
        # "exec", so that the shell does not stand between a worker and the one who ends it.
        command = f"exec {shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main 2>>{shlex.quote(str(log))}"
        environment = SubprocessSDKEnvironment.from_command_string(command)
    options = PipelineOptions(flags=[], direct_num_workers=runner.num_workers)
    with _quiet_beam():
        pipeline = beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=options)
        build(pipeline)
        result = pipeline.run()
        result.wait_until_finish()
    counts: Counter[str] = Counter()
    for counter in result.metrics().query()["counters"]:
        counts[counter.key.metric.name] += counter.committed
    return counts


@contextlib.contextmanager
def watch_files(folders: Iterable[Path], total: int, phase: str, progress: Progress) -> Iterator[None]:
    """Tell how many files have been written to folders while the block runs: Beam itself tells nothing before its end."""
    folders, done = list(folders), threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            num_files = sum(1 for folder in folders for f in folder.glob("*-of-*") if f.is_file())
            progress.update(phase, min(num_files, total - 1), total)

    watcher = threading.Thread(target=watch, daemon=True)
    progress.update(phase, 0, total)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    progress.update(phase, total, total)


def pack(table: pa.Table) -> bytes:
    """Return a table as bytes, in Arrow's stream format."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def unpack(packed: bytes) -> pa.Table:
    """Return the table that ``pack`` packed."""
    return pa.ipc.open_stream(packed).read_all()


def shard_of(text: str, num_shards: int) -> int:
    """Return the shard of an id or a query, the same in every process.

    >>> shard_of("item-1", 8)
    1
    """
    return zlib.crc32(text.encode()) % num_shards


@contextlib.contextmanager
def _quiet_beam() -> Iterator[None]:
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
