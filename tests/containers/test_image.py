"""What is in the image, what is not, and what it says of itself."""

import json
from pathlib import Path

import docker
import pytest

from components.image import IMAGE, source_digest
from pipelines import preflight
from smar_core import __version__
from smar_core.errors import UserError
from tests.containers.engine import run_hardened

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
MAX_BYTES = 2.5e9

LIST_LIBRARIES = """
import json
from importlib.metadata import distributions
print(json.dumps({d.name.lower().replace("_", "-"): d.version.partition("+")[0] for d in distributions()}))
"""
FIND_MISSING = """
import ast, json
from importlib.util import find_spec
from pathlib import Path
files = [file for package in ("components", "smar_core") for file in Path(find_spec(package).origin).parent.rglob("*.py")]
missing = {}
for file in files:
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for name in names:
            try:
                is_there = find_spec(name) is not None
            except ModuleNotFoundError:
                is_there = False
            if not is_there:
                missing[name] = str(file)
print(json.dumps([len(files), missing]))
"""
UNWANTED_LIBRARIES = {"pip", "setuptools", "pytest", "hypothesis", "mypy", "ruff", "matplotlib", "flask", "docker"}
UNWANTED_PROGRAMS = ("pip", "pip3", "gcc", "cc", "g++", "make", "git", "pytest", "smar")


def test_libraries_are_those_of_the_lock(engine: docker.DockerClient, image: str) -> None:
    listed = run_hardened(engine, image, ["python3", "-c", LIST_LIBRARIES])
    held = json.loads(listed.log)
    pinned = (line.strip().split("==") for line in LOCK.read_text().splitlines() if "==" in line)
    locked = {name.replace("_", "-"): version for name, version in pinned}
    assert {name: version for name, version in held.items() if locked.get(name) != version} == {}
    assert set(held) & UNWANTED_LIBRARIES == set()
    assert {"torch", "apache-beam", "kfp"} <= set(held)


def test_whatever_any_task_imports_is_there(engine: docker.DockerClient, image: str) -> None:
    """Also what only a refresh, an experiment or the exit handler imports, and only when it is called."""
    looked = run_hardened(engine, image, ["python3", "-c", FIND_MISSING])
    assert looked.code == 0, looked.log
    num_files, missing = json.loads(looked.log)
    assert num_files > 100
    assert missing == {}


def test_nothing_installs_or_compiles(engine: docker.DockerClient, image: str) -> None:
    find = f"command -v {' '.join(UNWANTED_PROGRAMS)}; python3 -m pip --version; python3 -m ensurepip --version; true"
    found = run_hardened(engine, image, ["sh", "-c", find]).log.splitlines()
    assert len(found) == 2
    assert all("No module named" in line for line in found)


def test_it_is_small_and_its_user_is_not_root(engine: docker.DockerClient, image: str) -> None:
    attributes = engine.images.get(image).attrs
    assert attributes["Size"] <= MAX_BYTES
    assert attributes["Config"]["User"] == "10001:10001"


def test_labels_say_what_it_was_built_from(engine: docker.DockerClient, image: str) -> None:
    labels = engine.images.get(image).labels
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["smar.source-digest"] == source_digest()
    assert labels["smar.variant"] == "cpu"


def test_a_run_without_the_image_says_how_to_make_it(engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "image_reference", lambda: f"{IMAGE}:never-built")
    with pytest.raises(UserError, match=r"there is no image localhost/smar:never-built.*'make image'"):
        preflight.check_runner("docker")
