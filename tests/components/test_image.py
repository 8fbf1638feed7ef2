"""The image's name moves with what goes into the image, and what goes into it is what its code imports."""

import ast
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from components.image import CONTENT, IMAGE, image_reference

PROJECT = Path(__file__).resolve().parents[2]
INDIRECT = {"alembic", "sqlalchemy"}
"""What MLflow imports, whose small form does not bring it along."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project with all that an image is made of."""
    for name in CONTENT:
        path = tmp_path / name
        if (PROJECT / name).is_dir():
            path.mkdir()
            (path / "__init__.py").write_text("")
        else:
            path.parent.mkdir(exist_ok=True)
            shutil.copyfile(PROJECT / name, path)
    return tmp_path


@pytest.mark.parametrize("name", CONTENT)
def test_a_change_of_any_content_makes_another_tag(project: Path, name: str) -> None:
    before = image_reference(project)
    path = project / name
    (path / "module.py" if path.is_dir() else path).write_text("changed")
    after = image_reference(project)
    assert before != after
    assert {before.partition(":")[0], after.partition(":")[0]} == {IMAGE}


def test_files_that_are_not_in_the_image_change_nothing(project: Path) -> None:
    before = image_reference(project)
    (project / "README.md").write_text("changed")
    (project / "smar_core" / "__pycache__").mkdir()
    (project / "smar_core" / "__pycache__" / "module.cpython-311.pyc").write_bytes(b"compiled")
    assert image_reference(project) == before


def test_a_file_that_moved_makes_another_tag(project: Path) -> None:
    before = image_reference(project)
    (project / "smar_core" / "__init__.py").rename(project / "smar_core" / "other.py")
    assert image_reference(project) != before


def test_requirements_of_the_image_are_what_its_code_imports() -> None:
    lines = (PROJECT / "manifests" / "image-requirements.txt").read_text().splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    providers = _providers_of_imports()
    assert {module for module, names in providers.items() if not names & (listed | {"kfp"})} == set()
    assert listed - set().union(*providers.values()) == INDIRECT


def _providers_of_imports() -> dict[str, set[str]]:
    """Return the distributions of every library that a module of the image imports, imports inside functions included."""
    names = packages_distributions()
    modules = {m for root in ("smar_core", "components") for path in (PROJECT / root).rglob("*.py") for m in _imported(path)}
    ours = {"smar_core", "components"} | sys.stdlib_module_names
    return {module: {name.lower() for name in names[module]} for module in modules - ours}


def _imported(path: Path) -> Iterator[str]:
    """Yield the packages that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from (name.partition(".")[0] for name in names)
