"""Running a Beam pipeline: in this process, in others beside it, or where a Beam runner of a cluster takes it.

Beam handles an element at a cost of some ten microseconds, so elements here are not rows but serialised Arrow tables. With the
embedded runner shuffled data lies in the memory of this process, which bounds a click log to some ten million rows; worker
processes take about four seconds to start, which pays off for large pictures and logs of millions. ``FnApiRunner`` is named
outright because ``DirectRunner`` may look for a runner on the network.

Other runners get the pipeline, and workers of this program's image run it (``--environment_type=EXTERNAL``: Beam's worker pool
beside each task manager, at localhost:50000, unless the options say otherwise). Beam's own metrics are not relied upon: not
every runner reports committed ones, and those of attempts count a retried bundle twice. What a stage counts is therefore data
(``write_counts``).
"""

import contextlib
import importlib
import io
import logging
import shlex
import socket
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from smar_core.config import BeamConfig
from smar_core.data.exchange import NOT_SHARED, not_shared, read_note, write_note
from smar_core.data.filesystems import is_uri
from smar_core.errors import UserError
from smar_core.progress import Progress

COUNTS = "counts"
"""Tag of the output on which a transform yields (name, number) pairs, for ``write_counts``."""

_COUNTS_FILE = "counts.json"
_RUNNERS: Mapping[str, str] = {
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dataflow": "DataflowRunner",
    "portable": "PortableRunner",
}
_CONNECT_SECONDS = 10
# Beam has Python's job service close its stream of states after this long, and takes that for the end of the job.
_LONGEST_JOB_SECONDS = 7 * 24 * 3600


def run_pipeline(build: Callable[[beam.Pipeline], None], runner: BeamConfig, log: Path) -> None:
    """Run a pipeline to its end.

    Args:
        build: Adds the transforms to a pipeline.
        runner: Where it runs.
        log: File for what the embedded runner's worker processes print; others log where they run.

    Raises:
        UserError: The runner is not installed or not reached, Beam refuses an option, or workers do not see the shared folder.
    """
    if runner.runner == "embedded":
        with _quiet_beam():
            _run(beam.Pipeline(runner=_embedded(runner, log), options=_options(runner)), build)
        return
    for option, (host, port) in runner.addresses().items():
        _check_reachable(option, host, port)
    if runner.runner == "dataflow" and not _has_dataflow():
        raise UserError("beam.runner dataflow needs Google's libraries, which are not here", "add apache-beam[gcp] to the image")
    try:
        pipeline = beam.Pipeline(runner=_RUNNERS[runner.runner], options=_options(runner))
    except ValueError as error:
        raise UserError(f"Beam refuses beam.options {list(runner.options)} ({error})", "correct them") from None
    try:
        _run(pipeline, build)
    except RuntimeError as error:
        if NOT_SHARED in str(error):
            raise not_shared(runner) from None
        raise


def write_counts(counts: Iterable[beam.PCollection[tuple[str, int]]], notes: str) -> None:
    """Add up what transforms counted, once for each element whatever was tried again, and write it.

    Args:
        counts: (name, number) pairs of the transforms.
        notes: Folder of the exchange's notes.
    """
    _ = (
        (tuple(counts) | "counts" >> beam.Flatten())
        | "add counts" >> beam.CombinePerKey(sum)
        | "all counts" >> beam.combiners.ToList()
        | "write counts" >> beam.Map(_write_pairs, f"{notes}/{_COUNTS_FILE}")
    )


def read_counts(notes: str) -> Counter[str]:
    """Return what ``write_counts`` wrote: numbers by name, 0 for one that was never counted."""
    return Counter(read_note(f"{notes}/{_COUNTS_FILE}"))


@contextlib.contextmanager
def watch_files(folders: Iterable[str], total: int, phase: str, progress: Progress) -> Iterator[None]:
    """Tell how many files have been written to folders while the block runs: Beam itself tells nothing before its end.

    Folders that are URIs are not watched: each look would be a request.
    """
    local, done = [Path(folder) for folder in folders if not is_uri(folder)], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            num_files = sum(1 for folder in local for f in folder.glob("*-of-*") if f.is_file())
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


def _run(pipeline: beam.Pipeline, build: Callable[[beam.Pipeline], None]) -> None:
    build(pipeline)
    pipeline.run().wait_until_finish()


def _embedded(runner: BeamConfig, log: Path) -> FnApiRunner:
    if runner.num_workers == 1:
        return FnApiRunner()
    log.parent.mkdir(parents=True, exist_ok=True)
    # "exec", so that the shell does not stand between a worker and the one who ends it.
    command = f"exec {shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main 2>>{shlex.quote(str(log))}"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def _options(runner: BeamConfig) -> PipelineOptions:
    """Return Beam's options: ours first, since of two Beam takes the last."""
    if runner.runner == "embedded":
        return PipelineOptions(flags=[], direct_num_workers=runner.num_workers)
    ours = [f"--job_server_timeout={_LONGEST_JOB_SECONDS}"]
    if runner.runner == "flink":
        ours.append("--flink_submit_uber_jar")
    if runner.runner != "dataflow" and runner.option("environment_type") is None:
        # Beam's default is a container of Beam's own image, which has none of our code.
        ours += ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
    return _parse_options([*ours, *runner.options])


def _parse_options(flags: list[str]) -> PipelineOptions:
    """Parse options; raises ValueError where Beam would print how it is called and end this process."""
    options, said = PipelineOptions(flags=flags), io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options.get_all_options()
    except SystemExit:
        raise ValueError(said.getvalue().rpartition("error: ")[2].strip()) from None
    return options


def _check_reachable(option: str, host: str, port: int) -> None:
    """Find out in seconds that nobody listens: Beam itself would wait for minutes."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
        if option == "job_endpoint":
            with grpc.insecure_channel(f"{host}:{port}") as channel:
                grpc.channel_ready_future(channel).result(timeout=_CONNECT_SECONDS)
    except (OSError, grpc.FutureTimeoutError) as error:
        raise UserError(
            f"nothing that takes a pipeline answers at {host}:{port}, which beam.options name by --{option} "
            f"({str(error) or 'no answer'})",
            "start it, or correct the address",
        ) from None


def _has_dataflow() -> bool:
    try:
        importlib.import_module("google.cloud.dataflow")
    except ImportError:
        return False
    return True


def _write_pairs(pairs: Iterable[tuple[str, int]], place: str) -> None:
    write_note(place, dict(pairs))


@contextlib.contextmanager
def _quiet_beam() -> Iterator[None]:
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
