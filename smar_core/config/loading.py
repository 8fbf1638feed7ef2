"""Building the configuration: a preset, a variant over it, and overrides; what is wrong with it, said in a sentence."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import yaml
from pydantic import ValidationError

from smar_core.config.ignored import find_ignored
from smar_core.config.pipeline import PipelineConfig
from smar_core.config.section import Section
from smar_core.errors import UserError

PRESETS = ("demo", "study", "small", "paper")
"""Sizes: data, towers and steps for a machine and a shop."""

VARIANTS = ("smar", "smar-nc", "smar-concat", "smar-ni", "smar-nt", "smar-nm", "smar-always", "dpsr", "dpsr-i")
"""Models of the paper's comparison, laid over a preset: towers, losses and gate (PAPER.md 16)."""


def load_config(
    preset: str | None = None, overrides: Sequence[str] = (), variant: str = "smar", *, shared: Sequence[str] = ()
) -> PipelineConfig:
    """Build the configuration from a preset, a variant and ``section.key=value`` overrides.

    Args:
        preset: One of ``PRESETS``; None takes the defaults, which are those of ``small``.
        overrides: Each ``section.key=value``, the value in YAML.
        variant: One of ``VARIANTS``; ``smar`` is the preset as it is.
        shared: Overrides below the others, which further configurations have too, so that this one need not read them.

    Raises:
        UserError: An unknown preset, variant, section or key, a value that does not fit, or one of ``overrides`` that nothing
            would read, naming it and the remedy.

    >>> load_config("demo", ["pretrain.num_steps=7"]).pretrain.num_steps
    7
    >>> load_config("demo", variant="dpsr").model.item_towers
    ('text',)
    """
    values = _read_preset(preset) if preset is not None else {}
    for section, settings in _read_variant(variant).items():
        values.setdefault(section, {}).update(settings)
    for override in (*shared, *overrides):
        _apply_override(values, override)
    return _refuse_ignored(parse_config(values), overrides)


def override_config(config: PipelineConfig, overrides: Sequence[str]) -> PipelineConfig:
    """Return a configuration with ``section.key=value`` overrides applied; raises UserError as ``load_config`` does."""
    values = config.model_dump(mode="json")
    for override in overrides:
        _apply_override(values, override)
    return _refuse_ignored(parse_config(values), overrides)


def parse_config(values: Mapping[str, Any]) -> PipelineConfig:
    """Validate nested values into a ``PipelineConfig``; raises UserError naming the key, its value and the remedy."""
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        raise _explain(error) from None


def _refuse_ignored(config: PipelineConfig, overrides: Sequence[str]) -> PipelineConfig:
    """Return the configuration; raises UserError for the first override that it does not read."""
    for error in find_ignored(config, overrides).values():
        raise error
    return config


def _read_preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}", f"choose one of {', '.join(PRESETS)}")
    return _read_yaml(f"{name}.yaml")


def _read_variant(name: str) -> dict[str, Any]:
    if name not in VARIANTS:
        raise UserError(f"there is no variant {name!r}", f"choose one of {', '.join(VARIANTS)}{_did_you_mean(name, VARIANTS)}")
    return _read_yaml("variants", f"{name}.yaml")


def _read_yaml(*parts: str) -> dict[str, Any]:
    text = resources.files("smar_core").joinpath("presets", *parts).read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text) or {}
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, field = key.strip().partition(".")
    if not equals or not dot or not section or not field:
        raise UserError(f"override {override!r} is not of the form section.key=value", "write for example pretrain.num_steps=200")
    _check_key(section, field)
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError:
        raise UserError(f"the value of {key} ({text!r}) is not valid YAML", "quote it") from None
    values.setdefault(section, {})[field] = value


def _check_key(section: str, field: str) -> None:
    sections = PipelineConfig.model_fields
    if section not in sections:
        hint = _did_you_mean(section, sections)
        raise UserError(f"there is no config section {section!r}", f"choose one of {', '.join(sections)}{hint}")
    model = sections[section].annotation
    assert isinstance(model, type) and issubclass(model, Section)
    if field not in model.model_fields:
        raise UserError(
            f"config section {section!r} has no key {field!r}",
            f"choose one of {', '.join(model.model_fields)}{_did_you_mean(field, model.model_fields)}",
        )


def _did_you_mean(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _explain(error: ValidationError) -> UserError:
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        parts = [str(part) for part in first["loc"]]
        if len(parts) > 1:
            try:
                _check_key(parts[0], parts[1])
            except UserError as unknown:
                return unknown
        return UserError(f"unknown config key {location!r}", "remove it or correct its spelling")
    if first["type"] == "value_error":
        problem, _, remedy = str(first["ctx"]["error"]).rpartition(": ")
        return UserError(f"{location}: {problem}" if location else problem, remedy)
    message = first["msg"][0].lower() + first["msg"][1:]
    return UserError(f"config key {location} has the value {first['input']!r}", f"{message.replace('input should', 'it should')}")
