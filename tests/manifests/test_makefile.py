"""Targets of the Makefile whose failure would cost something."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.manifests.rendering import MANIFESTS

LOCK = "# One lock file.\nkfp==2.17.0\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that is set up already, with a lock."""
    shutil.copyfile(MANIFESTS.parent / "Makefile", tmp_path / "Makefile")
    (tmp_path / "requirements.lock").write_text(LOCK)
    for name in ("setup.cfg", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def make_lock(project: Path, pip_compile: str) -> int:
    """Run ``make lock`` with a shell script in the place of pip-compile, and return its exit code."""
    program = project / ".venv" / "bin" / "pip-compile"
    program.write_text(f"#!/bin/sh\n{pip_compile}\n")
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", "lock"], cwd=project, env=environment, check=False, capture_output=True).returncode


def test_a_resolution_that_fails_leaves_the_lock_as_it_was(project: Path) -> None:
    """The lock became its comment alone, since a pipe ends as its last command does."""
    assert make_lock(project, "echo kfp==2.18.0; exit 2") != 0
    assert (project / "requirements.lock").read_text() == LOCK


def test_a_new_lock_has_the_comment_of_the_old_one_and_no_build_of_torch(project: Path) -> None:
    assert make_lock(project, "printf 'kfp==2.18.0\\n    # via smar\\n\\ntorch==2.13.0+cpu\\n'") == 0
    assert (project / "requirements.lock").read_text() == "# One lock file.\nkfp==2.18.0\ntorch==2.13.0\n"
