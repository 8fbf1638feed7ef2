"""What is looked at before anything runs, so that a slip costs a second and not half an hour."""

import os
from collections.abc import Iterable
from pathlib import Path

from components.image import image_reference
from components.surroundings import read_tracking_uri
from components.tracking import check_uri, default_uri
from smar_core.config import TrackingConfig
from smar_core.data.filesystems import without_file_scheme
from smar_core.errors import UserError

RUNNERS = ("subprocess", "docker")
MARKS = {"metrics.json": "a training", "decision.json": "a refresh", "experiment.json": "an experiment"}
"""A file that only results of one kind have, and which."""


def parse_column_map(pairs: list[str]) -> dict[str, str]:
    """Parse ``field=column`` pairs.

    Raises:
        UserError: A pair has another form, or a field is mapped twice.

    >>> parse_column_map(["title=name"])
    {'title': 'name'}
    """
    return parse_pairs(pairs, "--map", "field=column", "title=product_name")


def parse_pairs(pairs: list[str], option: str, form: str, example: str) -> dict[str, str]:
    """Parse an option of the form ``name=value`` that may be repeated.

    Args:
        pairs: What was given.
        option: The option.
        form: Its form, as its help has it.
        example: A value that fits.

    Raises:
        UserError: A pair has another form, or a name is given twice.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (name and equals and value):
            raise UserError(f"{option} {pair!r} is not of the form {form}", f"write for example {option} {example}")
        if name in values:
            raise UserError(f"{option} names the {form.partition('=')[0].lower()} {name!r} twice", "give it once")
        values[name] = value
    return values


def absolute(path: str) -> str:
    """Return a local path, or a ``file://`` URI's, made absolute; another URI as it is.

    >>> absolute("file:///shop/./items.csv"), absolute("gs://shop/items.csv")
    ('/shop/items.csv', 'gs://shop/items.csv')
    """
    local = without_file_scheme(path)
    return local if "://" in local else str(Path(local).expanduser().resolve())


def check_settings(overrides: Iterable[str]) -> None:
    """See whether a run on this machine reads all settings that it is given.

    Args:
        overrides: ``section.key=value`` each.

    Raises:
        UserError: One is for a cluster.
    """
    for override in overrides:
        if override.replace(" ", "") == "runtime.launcher=trainjob":
            raise UserError(
                f"{override.strip()} trains in pods of a cluster, and this run stays on this machine",
                "set runtime.launcher to torchrun or local, or give it to smar submit",
            )
        if override.strip().startswith("cluster."):
            raise UserError(
                f"{override.strip()} places tasks on a cluster, and this run stays on this machine",
                "leave it out, or give it to smar submit or smar compile",
            )


def check_out(out: Path, mark: str | None = None) -> None:
    """See whether results can be left in a folder.

    Args:
        out: The folder.
        mark: The one of ``MARKS`` that these results have; None for results that may lie beside any.

    Raises:
        UserError: It is a file, cannot be made or written, or has results of another kind, which would be half replaced.
    """
    for other, what in MARKS.items():
        if mark not in (None, other) and (out / other).exists():
            raise UserError(f"{out} has the results of {what}", "name another folder with --out")
    existing = next(folder for folder in (out.resolve(), *out.resolve().parents) if folder.exists())
    if not existing.is_dir():
        raise UserError(f"{existing} is a file", "name a folder with --out")
    if not os.access(existing, os.W_OK):
        raise UserError(f"{existing} cannot be written", "name another folder with --out")


def tracking_uri(config: TrackingConfig, folder: Path) -> str:
    """Return the tracking URI, without a password: of the config, else of MLFLOW_TRACKING_URI, else a SQLite file in a folder.

    Raises:
        UserError: It cannot be used.
    """
    uri = config.uri or read_tracking_uri(os.environ) or default_uri(folder)
    if uri.startswith("sqlite:///"):
        uri = f"sqlite:///{(folder / uri.removeprefix('sqlite:///')).resolve()}"
    check_uri(uri)
    return uri


def check_runner(runner: str) -> None:
    """See whether a runner can work.

    Raises:
        UserError: It is unknown, or there is no container engine, or no image.
    """
    if runner not in RUNNERS:
        raise UserError(f"there is no runner {runner!r}", f"choose one of {', '.join(RUNNERS)}")
    if runner == "docker":
        _check_docker()


def _check_docker() -> None:
    import docker  # comes with MLflow

    try:
        docker.from_env(timeout=10).images.get(image_reference())
    except docker.errors.ImageNotFound:
        problem = f"there is no image {image_reference()}, named by the digest of this program's code"
        raise UserError(problem, "build it with 'make image' in the project's folder") from None
    except docker.errors.DockerException as error:
        raise UserError(f"no container engine answers ({error})", "start one, or set DOCKER_HOST to its socket") from None
