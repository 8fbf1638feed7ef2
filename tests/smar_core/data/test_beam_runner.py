"""Beam pipelines that run elsewhere: Beam's own job service and worker pools, as processes of this machine."""

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import apache_beam as beam
import pytest

from smar_core.artifact import open_artifact
from smar_core.config import BeamConfig
from smar_core.data.beam_runner import read_counts, run_pipeline, write_counts
from smar_core.data.exchange import NOT_SHARED, check_shared, open_exchange
from smar_core.data.filesystems import create_file, list_files
from smar_core.data.prepare import prepare_data
from smar_core.data.sources import PrepareOutputs, Sources
from smar_core.data.synthetic import generate_synthetic_queries
from smar_core.errors import UserError
from smar_core.stage import StageContext
from tests.conftest import Prepared

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def serve(module: str, port_option: str, log: Path, **environment: str) -> Iterator[str]:
    """Run a module of Beam that serves at a port, and give its address once it listens."""
    port = free_port()
    # The pool starts its workers with whatever "python" is first in the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = dict(os.environ) | {"PATH": path, "PYTHONPATH": str(ROOT)} | environment
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, f"{port_option}={port}"],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield f"localhost:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def job_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("job_service") / "log"
    with serve("apache_beam.runners.portability.local_job_service_main", "--job_port", log) as address:
        yield address


@pytest.fixture(scope="module")
def start_pool(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., contextlib.AbstractContextManager[str]]:
    """Return what starts a worker pool in the environment of this moment."""

    def start(**environment: str) -> contextlib.AbstractContextManager[str]:
        log = tmp_path_factory.mktemp("pool") / "log"
        return serve("apache_beam.runners.worker.worker_pool_main", "--service_port", log, **environment)

    return start


def portable(job_service: str, pool: str, shared_folder: str) -> BeamConfig:
    options = (f"--job_endpoint={job_service}", "--environment_type=EXTERNAL", f"--environment_config={pool}")
    return BeamConfig(runner="portable", options=options, shared_folder=shared_folder)


def test_both_stages_give_the_same_artifacts_on_workers_elsewhere(
    job_service: str, start_pool: Callable, bucket: str, prepared: Prepared, tiny_shop: Path, tmp_path: Path
) -> None:
    """Input and shared folder are in a bucket, so that workers have nothing of the stage's disk."""
    for name in ("items.parquet", "clicks.parquet"):
        with create_file(f"{bucket}/shop/{name}") as handle:
            handle.write((tiny_shop / name).read_bytes())
    kinds, config = ("items", "clicks", "tokenizer", "rejects"), prepared.config
    context = StageContext(config_digest="config", work=tmp_path / "work")
    with start_pool() as pool:
        runner = portable(job_service, pool, f"{bucket}/exchange")
        sources = Sources(f"{bucket}/shop/items.parquet", f"{bucket}/shop/clicks.parquet")
        prepare_data(sources, PrepareOutputs(*(tmp_path / kind for kind in kinds)), config.prepare, runner, context)
        items, clicks, tokenizer, rejects = (open_artifact(tmp_path / kind, kind) for kind in kinds)
        generate_synthetic_queries(items, clicks, tokenizer, tmp_path / "synthetic", config.synthetic, runner, context)
    assert items.digest == prepared.items.digest
    assert clicks.digest == prepared.clicks.digest
    assert tokenizer.digest == prepared.tokenizer.digest
    assert rejects.digest == prepared.rejects.digest
    assert open_artifact(tmp_path / "synthetic", "synthetic").digest == prepared.synthetic.digest
    with pytest.raises(UserError, match="does not exist"):
        list_files(f"{bucket}/exchange")


def test_a_worker_that_does_not_see_the_shared_folder_is_a_users_error(
    job_service: str, start_pool: Callable, bucket: str, tmp_path: Path
) -> None:
    with start_pool(AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}") as pool:
        runner = portable(job_service, pool, f"{bucket}/exchange")
        with open_exchange(runner, tmp_path) as exchange, pytest.raises(UserError, match=f"beam.shared_folder {bucket}/exchange"):
            run_pipeline(
                lambda pipeline: pipeline | beam.Create([exchange.notes]) | beam.Map(check_shared), runner, tmp_path / "log"
            )


@pytest.mark.parametrize(
    ("runner", "option"), [("portable", "job_endpoint"), ("spark", "job_endpoint"), ("flink", "flink_master")]
)
def test_a_runner_that_nobody_serves_is_told_in_seconds(tmp_path: Path, runner: str, option: str) -> None:
    address = f"localhost:{free_port()}"
    jar = ("--flink_job_server_jar=/no/such.jar",) if runner == "flink" else ()
    config = BeamConfig(runner=runner, options=(f"--{option}={address}", *jar), shared_folder=str(tmp_path))
    started = time.monotonic()
    with pytest.raises(UserError, match=f"answers at {address}, which beam.options name by --{option}"):
        run_pipeline(lambda pipeline: pipeline | beam.Create([1]), config, tmp_path / "log")
    assert time.monotonic() - started < 30  # half of what Beam itself would wait


def test_a_listener_that_is_no_job_service_is_told_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smar_core.data.beam_runner._CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match="no answer"):
        config = portable(f"127.0.0.1:{silent.getsockname()[1]}", "localhost:50000", str(tmp_path))
        run_pipeline(lambda pipeline: pipeline | beam.Create([1]), config, tmp_path / "log")


def test_dataflow_without_googles_libraries_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.dataflow", None)
    options = ("--project=p", "--region=r", "--temp_location=gs://shop/tmp", "--sdk_container_image=i")
    config = BeamConfig(runner="dataflow", options=options, shared_folder="gs://shop/exchange")
    with pytest.raises(UserError, match="not here"):
        run_pipeline(lambda pipeline: pipeline | beam.Create([1]), config, tmp_path / "log")


class StubFlink(BaseHTTPRequestHandler):
    """As much of Flink's REST interface as Beam uses to send a job and to follow it."""

    jar = b""
    state = "FINISHED"
    exception = ""

    def _answer(self, body: dict) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/jars/upload":
            type(self).jar = content
        self._answer({"filename": "/uploads/beam.jar"} if self.path == "/v1/jars/upload" else {"jobid": "job"})

    def do_GET(self) -> None:
        answers = {
            "execution-result": {"status": {"id": "COMPLETED"}},
            "job": {"state": self.state},
            "exceptions": {"all-exceptions": [{"timestamp": 1, "exception": self.exception}]},
        }
        self._answer(answers[self.path.rpartition("/")[2]])

    def do_DELETE(self) -> None:
        self._answer({})

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def flink(tmp_path: Path) -> Iterator[BeamConfig]:
    """The section for a Flink that takes every job; what it was sent is in ``StubFlink.jar``."""
    with zipfile.ZipFile(tmp_path / "job-server.jar", "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "")
    with ThreadingHTTPServer(("127.0.0.1", 0), StubFlink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = (
            f"--flink_master=127.0.0.1:{server.server_port}",
            f"--flink_job_server_jar={tmp_path / 'job-server.jar'}",
            "--parallelism=4",
        )
        yield BeamConfig(runner="flink", options=options, shared_folder=str(tmp_path))
        server.shutdown()


def test_flink_is_sent_a_jar_whose_tasks_run_in_the_pool_beside_them(flink: BeamConfig, tmp_path: Path) -> None:
    run_pipeline(lambda pipeline: pipeline | beam.Create([1]), flink, tmp_path / "log")
    with zipfile.ZipFile(io.BytesIO(StubFlink.jar)) as jar:
        pipeline, options = (
            json.loads(jar.read(f"BEAM-PIPELINE/pipeline/{name}.json")) for name in ("pipeline", "pipeline-options")
        )
    (environment,) = pipeline["components"]["environments"].values()
    assert environment["urn"] == "beam:env:external:v1"
    assert b"localhost:50000" in base64.b64decode(environment["payload"])
    assert options["beam:option:parallelism:v1"] == "4"


def test_an_option_that_beam_refuses_is_named(flink: BeamConfig, tmp_path: Path) -> None:
    config = flink.model_copy(update={"options": (*flink.options, "--parallelism=four")})
    with pytest.raises(UserError, match="argument --parallelism: invalid int value: 'four'"):
        run_pipeline(lambda pipeline: pipeline | beam.Create([1]), config, tmp_path / "log")


def test_what_fails_on_flink_is_told(flink: BeamConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StubFlink, "state", "FAILED")
    monkeypatch.setattr(StubFlink, "exception", "java.lang.RuntimeException: no space left")
    with pytest.raises(RuntimeError, match="no space left"):
        run_pipeline(lambda pipeline: pipeline | beam.Create([1]), flink, tmp_path / "log")
    monkeypatch.setattr(StubFlink, "exception", f"RuntimeError: {NOT_SHARED} on worker flink-1")
    with pytest.raises(UserError, match="a worker does not see what this stage wrote"):
        run_pipeline(lambda pipeline: pipeline | beam.Create([1]), flink, tmp_path / "log")


def test_counts_of_one_name_add_up_over_transforms(tmp_path: Path) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        counts = [pipeline | f"counts {n}" >> beam.Create([("rows", n), (f"rows {n}", 1)]) for n in (2, 3)]
        write_counts(counts, str(tmp_path))

    run_pipeline(build, BeamConfig(num_workers=1), tmp_path / "log")
    assert read_counts(str(tmp_path)) == {"rows": 5, "rows 2": 1, "rows 3": 1}
    assert read_counts(str(tmp_path))["never counted"] == 0
