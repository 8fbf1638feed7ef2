"""``make image``: the engine's command line, and what it says when there is no engine."""

import os
import stat
from pathlib import Path

import pytest

from components.image import image_reference, source_digest
from pipelines.image_build import Request, build_command, find_engine, local_paths, main, pip_settings
from smar_core import __version__
from smar_core.errors import UserError

NO_SETTINGS: dict[str, str] = {}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search path of its own: an empty folder."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write_engine(folder: Path, name: str, code: int) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho $@\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_without_an_engine_there_is_one_sentence(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "no container engine: neither docker nor podman answers; install podman, or start docker.\n"


def test_an_engine_that_does_not_answer_is_passed_over(programs: Path) -> None:
    write_engine(programs, "docker", code=1)
    write_engine(programs, "podman", code=0)
    assert find_engine() == "podman"


def test_the_engine_that_was_asked_for_is_taken_or_refused(programs: Path) -> None:
    write_engine(programs, "docker", code=0)
    assert find_engine("docker") == "docker"
    with pytest.raises(UserError, match="podman does not answer"):
        find_engine("podman")


def test_a_build_that_fails_is_told(programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (programs / "podman").write_text('#!/bin/sh\ntest "$1" = info\n')
    (programs / "podman").chmod(0o755)
    assert main([]) == 1
    assert "podman could not build the image" in capfd.readouterr().err


def test_the_command_names_and_labels_the_image(tmp_path: Path) -> None:
    command = build_command(Request(base_image="my/python:3.11", more=("--pull",)), "docker", NO_SETTINGS, tmp_path / "pip.conf")
    assert command[:2] == ["docker", "build"]
    assert command[-2:] == ["--pull", "."]
    assert f"VERSION={__version__}" in command
    assert f"SOURCE_DIGEST={source_digest()}" in command
    assert "BASE_IMAGE=my/python:3.11" in command
    assert command[command.index("--tag") + 1] == image_reference()


@pytest.mark.parametrize(
    ("request_", "suffix"),
    [
        (Request(), ""),
        (Request(variant="cuda"), "-cuda"),
        (Request(target="flink"), "-flink"),
        (Request(variant="cuda", target="flink"), "-cuda-flink"),
    ],
)
def test_tags_tell_variants_apart(request_: Request, suffix: str) -> None:
    assert request_.reference == image_reference() + suffix


def test_what_pip_reads_on_this_machine_is_mounted_for_podman(tmp_path: Path) -> None:
    wheels, index, certificate = tmp_path / "wheels", tmp_path / "pypi" / "simple", tmp_path / "ca.pem"
    for folder in (wheels, index):
        folder.mkdir(parents=True)
    certificate.touch()
    settings = {
        "find-links": str(wheels),
        "index-url": "https://pypi.example/simple",
        "extra-index-url": f"file://{index}",
        "cert": str(certificate),
        "timeout": "60",
    }
    assert sorted(local_paths(settings)) == sorted([wheels, index.parent, certificate])
    secret = tmp_path / "pip.conf"
    by_podman, by_docker = (build_command(Request(), engine, settings, secret) for engine in ("podman", "docker"))
    assert f"{wheels}:{wheels}:ro" in by_podman
    assert "--volume" not in by_docker
    assert f"id=pip,src={secret}" in by_podman
    assert f"id=pip,src={secret}" in by_docker


def test_settings_of_other_commands_are_left_out() -> None:
    listed = os.linesep.join(
        [
            "download.cert='/a.pem'",
            "global.extra-index-url='file:///a file:///b'",
            "global.require-virtualenv='true'",
            "install.index-url='https://c'",
            ":env:.default-timeout='180'",
        ]
    )
    assert pip_settings(listed) == {"extra-index-url": "file:///a file:///b", "index-url": "https://c", "timeout": "180"}
