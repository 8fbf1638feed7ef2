"""The committed reference of settings is that of the config models."""

from pathlib import Path

from smar_core.config import PipelineConfig
from smar_core.config_reference import render_reference

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_committed_reference_is_current() -> None:
    """When this fails: python -m smar_core.config_reference > docs/configuration.md."""
    assert REFERENCE.read_text(encoding="utf-8") == render_reference()


def test_every_setting_is_in_the_reference() -> None:
    text = render_reference()
    for name, section in PipelineConfig():
        block = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert [line.split("`")[1] for line in block.splitlines() if line.startswith("| `")] == list(type(section).model_fields)
