"""The reference of all settings, ``docs/configuration.md``, written from the config models themselves.

``python -m smar_core.config_reference > docs/configuration.md`` makes it anew; a test compares the two. What a setting means
is said where it is declared, never here.
"""

import json
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union

from pydantic.fields import FieldInfo

from smar_core.config import PRESETS, REFRESH_STAGE_SECTIONS, STAGE_SECTIONS, PipelineConfig, Section, load_config

_HEAD = """# Configuration

Written by `python -m smar_core.config_reference`; do not edit by hand.

A setting is given as `--set section.key=value`, the value in YAML (`--set gate.visual_categories='[Shoes, Bags]'`). Each stage is
handed only the sections named here, so a changed setting re-runs the stages that read it and what follows from them.
"""


_OTHER_READERS = {"tracking": "the command line and the components", "cluster": "`smar compile` and `smar submit`"}


def render_reference() -> str:
    """Return the reference as Markdown."""
    return "\n".join([_HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    presets = {name: load_config(name) for name in PRESETS}
    by_stage = {**STAGE_SECTIONS, **REFRESH_STAGE_SECTIONS}
    for name, section_field in PipelineConfig.model_fields.items():
        model = section_field.annotation
        assert isinstance(model, type) and issubclass(model, Section)
        readers = [f"`{stage}`" for stage, sections in by_stage.items() if name in sections]
        yield f"## {name}\n"
        yield f"{_first_sentence(model)} Read by: {', '.join(readers) or _OTHER_READERS[name]}.\n"
        yield f"| key | kind | {' | '.join(PRESETS)} | meaning |"
        yield "|---" * (3 + len(PRESETS)) + "|"
        for key, field in model.model_fields.items():
            values = [_code(getattr(getattr(config, name), key)) for config in presets.values()]
            yield f"| `{key}` | {_kind(field)} | {' | '.join(values)} | {field.description or ''} |"
        yield ""


def _first_sentence(model: type[Section]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _kind(field: FieldInfo) -> str:
    return " ".join([_type_name(field.annotation), *_bounds(field.metadata)])


def _type_name(annotation: Any) -> str:
    """Return a type as a person writes it.

    >>> _type_name(int | None), _type_name(Literal["a", "b"])
    ('int or nothing', '`a`, `b`')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return " ".join([_type_name(arguments[0]), *_bounds(arguments[1].metadata)])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("nothing" if part is type(None) else _type_name(part) for part in arguments)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    return str(annotation.__name__)


def _bounds(metadata: list[Any]) -> list[str]:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    return [f"{sign} {getattr(bound, name):g}" for bound in metadata for name, sign in signs.items() if hasattr(bound, name)]


def _code(value: Any) -> str:
    """Return a value as it is written in YAML.

    >>> _code(("A", "B")), _code(None), _code(1 / 30)
    ('`[A, B]`', '`null`', '`0.0333`')
    """
    if value is None:
        return "`null`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return f"`{value:.3g}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
