"""The first task of every pipeline: what the input files hold now."""

from pathlib import Path

import pytest

from components.digest_inputs import digest_inputs
from smar_core.data.files import digest_inputs as digest_of
from smar_core.errors import UserError

NAMES = ("items", "clicks", "images", "judgments")


def take_digests(paths: dict[str, str], known: dict[str, str], gate: str = "") -> dict[str, str]:
    """Run the task as Kubeflow would."""
    found = digest_inputs.python_func(
        **{f"{name}_path": paths.get(name, "") for name in NAMES},
        **{f"{name}_digest": known.get(name, "") for name in NAMES},
        column_map="{}",
        gate_section=gate,
    )
    return {name: digest for name, digest in zip(NAMES, found, strict=True) if digest}


@pytest.fixture
def paths(tiny_shop: Path) -> dict[str, str]:
    return {name: str(tiny_shop / f"{name}.parquet") for name in ("items", "clicks", "judgments")}


def test_digests_that_nobody_knows_are_those_of_the_files(paths: dict[str, str]) -> None:
    assert take_digests(paths, {}) == {name: digest_of(path) for name, path in paths.items()}
    assert take_digests(paths, {"clicks": "as told"}) == {name: digest_of(path) for name, path in paths.items()} | {
        "clicks": "as told"
    }


def test_where_all_are_known_no_file_is_looked_at() -> None:
    """A local run, whose files the command line has read a moment ago."""
    nowhere = {"items": "/nowhere/items", "clicks": "/nowhere/clicks"}
    assert take_digests(nowhere, {"items": "1", "clicks": "2"}) == {"items": "1", "clicks": "2"}
    with pytest.raises(UserError, match="/nowhere/items"):
        take_digests(nowhere, {"items": "1"})


@pytest.mark.parametrize("known", [{}, {"items": "1", "clicks": "2", "judgments": "3"}])
def test_categories_that_teach_the_gate_nothing_end_the_run_here(paths: dict[str, str], known: dict[str, str]) -> None:
    """On a cluster ``train_gate`` said it, after pre-training; ``smar submit`` hands the digests over, and cannot look itself."""
    with pytest.raises(UserError, match=r"no item is under gate\.visual_categories=\['Toys'\]"):
        take_digests(paths, known, '{"visual_categories": ["Toys"]}')
    assert take_digests(paths, known, '{"visual_categories": ["Toys"], "supervision": "utility"}').keys() == paths.keys()
