"""Building the image of the stages: ``python -m pipelines.image_build``, which is what ``make image`` runs.

It needs Python and a container engine, no installed SMAR. Inside the build pip installs from where this machine's pip does: its
settings go in as a build secret, of which nothing stays in the image. Settings that name folders or files of this machine
(a folder of wheels, a certificate) need mounts, which podman has and docker has not.

Left out: pushing the image. Where to, and under which name, is between the user and a registry.
"""

import argparse
import ast
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from components.image import image_reference, source_digest
from smar_core import __version__
from smar_core.errors import EXIT_OK, EXIT_OUR_FAULT, UserError

ENGINES = ("docker", "podman")
VARIANTS = ("cpu", "cuda")
TARGETS = ("stages", "flink")
CONTAINERFILE = "manifests/Containerfile"

PIP_SECRET = "pip"
"""Id of the build secret in ``CONTAINERFILE``."""

_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "client-cert", "proxy", "timeout")
"""Settings that say where packages come from; others (say, ``user``) would make an install inside a build another one."""


@dataclass(frozen=True)
class Request:
    """What is to be built.

    Attributes:
        engine: Program that builds, one of ``ENGINES``; None: the first that answers.
        base_image: Image to build on; None: the one that ``CONTAINERFILE`` names.
        variant: Which build of torch, one of ``VARIANTS``.
        target: Stage of ``CONTAINERFILE``, one of ``TARGETS``.
        more: Further arguments of the engine's ``build``.
    """

    engine: str | None = None
    base_image: str | None = None
    variant: str = "cpu"
    target: str = "stages"
    more: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Name and tag of the image; what is not the common case stands behind the digest."""
        suffixes = [s for s, common in ((self.variant, "cpu"), (self.target, "stages")) if s != common]
        return "-".join([image_reference(), *suffixes])


def find_engine(name: str | None = None) -> str:
    """Return a container engine that answers.

    Args:
        name: The one to take; None for the first of ``ENGINES``.

    Raises:
        UserError: None does.
    """
    for engine in (name,) if name else ENGINES:
        if shutil.which(engine) and subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
            return engine
    problem = f"{name} does not answer" if name else "neither docker nor podman answers"
    raise UserError(f"no container engine: {problem}", "install podman, or start docker")


def pip_settings(listed: str) -> dict[str, str]:
    """Return where pip takes packages from, given what ``pip config list`` prints; the environment goes before files.

    >>> pip_settings("global.index-url='https://a'\\n:env:.index-url='https://b'\\nglobal.user='true'")
    {'index-url': 'https://b'}
    """
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            key = name.removeprefix(f"{section}.").removeprefix("default-")
            if name.startswith(f"{section}.") and key in _PIP_KEYS:
                settings[key] = ast.literal_eval(value)
    return settings


def local_paths(settings: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders and files of this machine that pip's settings name.

    Of an index that is a folder its parent is meant: the pages of an index link to files beside it.
    """
    for key, value in settings.items():
        for word in value.split():
            address = urlsplit(word)
            if address.scheme == "file":
                yield Path(address.path).parent if key.endswith("index-url") else Path(address.path)
            elif Path(word).is_absolute() and Path(word).exists():
                yield Path(word)


def pip_configuration(settings: Mapping[str, str]) -> str:
    """Return pip's configuration file of these settings.

    >>> pip_configuration({"timeout": "60", "find-links": "/a /b"})
    '[global]\\ntimeout = 60\\nfind-links = /a /b\\n'
    """
    lines = (f"{key} = {' '.join(value.split())}\n" for key, value in settings.items())
    return "".join(("[global]\n", *lines))


def build_command(request: Request, engine: str, settings: Mapping[str, str], configuration: Path) -> list[str]:
    """Return the command that builds an image.

    Args:
        request: What is to be built.
        engine: Program that builds it.
        settings: Pip's.
        configuration: File that holds them.
    """
    values = {"VARIANT": request.variant, "VERSION": __version__, "SOURCE_DIGEST": source_digest()}
    if request.base_image:
        values["BASE_IMAGE"] = request.base_image
    command = [engine, "build", "--file", CONTAINERFILE, "--target", request.target, "--tag", request.reference]
    command += [part for name, value in values.items() for part in ("--build-arg", f"{name}={value}")]
    command += ["--secret", f"id={PIP_SECRET},src={configuration}"]
    if engine == "podman":
        mounts = sorted({str(path) for path in local_paths(settings)})
        command += [part for path in mounts for part in ("--volume", f"{path}:{path}:ro")]
    return [*command, *request.more, "."]


def build(request: Request) -> None:
    """Build an image.

    Raises:
        UserError: There is no engine, or the build failed.
    """
    engine = find_engine(request.engine)
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    settings = pip_settings(listed.stdout)
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "pip.conf"
        configuration.write_text(pip_configuration(settings), encoding="utf-8")
        command = build_command(request, engine, settings, configuration)
        print(shlex.join(command), flush=True)
        project = Path(__file__).resolve().parents[1]
        if subprocess.run(command, cwd=project, check=False).returncode != 0:
            raise UserError(f"{engine} could not build the image", "see what it printed above")
    print(request.reference)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build as the command line says and return the exit code."""
    parser = argparse.ArgumentParser(prog="make image", description="Build the image of the stages.")
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--base-image")
    parser.add_argument("--variant", choices=VARIANTS, default="cpu")
    parser.add_argument("--target", choices=TARGETS, default="stages")
    parser.add_argument("more", nargs="*", help="further arguments of the engine's build")
    given = parser.parse_args(arguments)
    try:
        build(Request(given.engine, given.base_image, given.variant, given.target, tuple(given.more)))
    except UserError as error:
        print(error, file=sys.stderr)
        return EXIT_OUR_FAULT
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
