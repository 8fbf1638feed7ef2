"""What README.md and the guides name is there: settings, commands with their options, files, secrets and their keys."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from pipelines.cli import app
from smar_core.config import PipelineConfig
from tests.manifests.test_objects import MADE_BY_SITE

PROJECT = Path(__file__).resolve().parents[2]
SECTIONS = PipelineConfig.model_fields
PAGES = ("README", "docs/data", "docs/kubeflow", "docs/operations", "docs/serving")


def text_of(page: str) -> str:
    return (PROJECT / f"{page}.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_settings_are_there(page: str) -> None:
    named = re.findall(rf"(?<![\w.])({'|'.join(SECTIONS)})\.([a-z]\w+)\b(?!\.)", text_of(page))
    assert len(named) > 3
    for section, key in named:
        assert key in SECTIONS[section].annotation.model_fields, f"{section}.{key}"


@pytest.mark.parametrize("page", PAGES)
def test_options_of_smar_are_there(page: str) -> None:
    commands = get_command(app).commands
    calls = options_of_smar(page)
    assert calls
    for name, options in calls:
        assert options <= {option for parameter in commands[name].params for option in parameter.opts}, name


def options_of_smar(page: str) -> list[tuple[str, set[str]]]:
    """Return the command of each call of smar on a page, with its options: those on continued lines, too."""
    calls = re.findall(r"(?:^|[`/])smar ([a-z]+)((?:\\\n|[^`\n])*)", text_of(page), re.MULTILINE)
    return [(name, set(re.findall(r"(?<!\S)--[a-z-]+", rest))) for name, rest in calls]


def test_options_on_continued_lines_are_compared() -> None:
    """The backslash at the end of a line was taken for a character like any other, and what followed was not read."""
    assert any({"--host", "--items", "--judgments", "--wait"} <= options for _, options in options_of_smar("docs/kubeflow"))


@pytest.mark.parametrize("page", PAGES)
def test_files_are_there(page: str) -> None:
    for path in re.findall(r"(?<![\w./])(?:manifests|docs)/[\w./-]*\w", text_of(page)):
        assert (PROJECT / path).exists() or path == "manifests/flink-job-server.jar", path  # the user's own


def test_every_secret_is_made_with_its_keys() -> None:
    made = re.findall(r"create secret generic (smar-[\w-]+)((?:.|\\\n)*?)\n(?! )", text_of("docs/kubeflow"))
    assert {name for name, _ in made} == set(MADE_BY_SITE)
    for name, rest in made:
        assert set(re.findall(r"--from-literal=(\w+)=", rest)) == MADE_BY_SITE[name], name
