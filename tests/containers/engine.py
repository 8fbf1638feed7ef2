"""A container engine for the tests: one that answers, or podman's service, started for as long as the tests run."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

_START_SECONDS = 20.0
_RUN_SECONDS = 600
ANY_USER = "4321:4321"
"""A user whom no image knows."""


@dataclass(frozen=True)
class Ended:
    """How a container ended.

    Attributes:
        code: Its exit code.
        log: What it printed.
    """

    code: int
    log: str


@contextmanager
def open_engine(folder: Path) -> Iterator[docker.DockerClient]:
    """Yield a client of a container engine; while it is open, ``DOCKER_HOST`` names the engine.

    Args:
        folder: For the socket of a service that is started here; its path must be short.

    Raises:
        AssertionError: There is no engine.
    """
    if _answers():
        yield docker.from_env()
        return
    assert shutil.which("podman"), "no container engine answers: start docker, or install podman"
    before = os.environ.get("DOCKER_HOST")
    address = os.environ["DOCKER_HOST"] = f"unix://{folder}/podman.sock"
    service = subprocess.Popen(["podman", "system", "service", "--time=0", address])
    try:
        end = time.monotonic() + _START_SECONDS
        while not _answers():
            assert time.monotonic() < end, "podman's service does not answer"
            time.sleep(0.2)
        yield docker.from_env()
    finally:
        service.terminate()
        service.wait()
        del os.environ["DOCKER_HOST"]
        if before is not None:
            os.environ["DOCKER_HOST"] = before


def run_hardened(
    client: docker.DockerClient,
    image: str,
    command: Sequence[str],
    *,
    readable: Mapping[Path, str] | None = None,
    writable: Mapping[Path, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command as a strict cluster would: no network, an unknown user, no rights, nothing to write but /tmp and its outputs.

    Args:
        client: The engine.
        image: Reference of the image.
        command: The command with its arguments.
        readable: Folders to mount, and where.
        writable: Likewise.
        environment: Variables.
    """
    volumes = {str(path): {"bind": place, "mode": "ro"} for path, place in (readable or {}).items()}
    volumes |= {str(path): {"bind": place, "mode": "rw"} for path, place in (writable or {}).items()}
    container = client.containers.run(
        image,
        list(command),
        detach=True,
        network_mode="none",
        user=ANY_USER,
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        volumes=volumes,
        environment=dict(environment or {}),
    )
    try:
        code = container.wait(timeout=_RUN_SECONDS)["StatusCode"]
        return Ended(code, container.logs().decode(errors="replace"))
    finally:
        container.remove(force=True)


def _answers() -> bool:
    try:
        client = docker.from_env(timeout=10)
    except docker.errors.DockerException:
        return False
    client.close()
    return True
