"""Digest of the code that a component runs, so that a change of code re-runs the stages that use it and no other.

The digest covers the import closure of the component's file within ``components`` and ``smar_core``, found in the syntax
trees, imports inside functions included. It is taken of the trees without docstrings, so that words and layout can be
improved without a training. Templates count too: they shape the report. A module that is named in a string, as the one that
``torchrun`` starts is, counts alone: a stage imports itself what it needs of that one's imports, and the rest is other stages'.

Not covered: libraries (a new lock calls for ``--no-cache``), modules that only watch a stage, and the config's fields, which are
parameters themselves. What is worked out in the config, properties and constants, counts where it is imported.
"""

import ast
import hashlib
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from components.record import STAGE_OUTPUTS
from smar_core import config
from smar_core.digest import digest_file, digest_json

ROOTS = ("components", "smar_core")
EXEMPT = frozenset(
    {
        "components.hardware",
        "components.image",
        "components.side",
        "components.surroundings",
        "components.tracking",
        "smar_core.config",
        "smar_core.progress",
    }
)
"""Modules that cannot change what a stage makes from given inputs and config values, but for what ``_digest_config`` sees."""

_MODULE_NAME = re.compile(r"\w+(\.\w+)+")


def stage_digests() -> dict[str, str]:
    """Return the code digest of every stage."""
    return {stage: code_digest(f"components.{stage}") for stage in STAGE_OUTPUTS}


def code_digest(module: str) -> str:
    """Return the digest of a module and everything of this project that it imports, directly or not.

    Args:
        module: For example ``components.pretrain``.
    """
    closure = import_closure(module)
    assert module in closure, f"{module} is no module of this project"
    imported = {name for path in closure.values() for name in _read(path).imported}
    return digest_json({name: _digest_module(path) for name, path in closure.items()} | _digest_config(imported))


def import_closure(module: str) -> dict[str, Path]:
    """Return the files of a module's import closure within the project, and of what is named in it, by module name."""
    found: dict[str, Path] = {}
    named: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _module_file(name)
        if name in found or path is None or _is_exempt(name):
            continue
        found[name] = path
        waiting += _read(path).imported
        named.update(_read(path).named)
    started = {name: path for name in named if not _is_exempt(name) and (path := _module_file(name)) is not None}
    return dict(sorted((started | found).items()))


def _is_exempt(name: str) -> bool:
    """Whether a module, or a package that it is in, is exempt."""
    return any(name == exempt or name.startswith(f"{exempt}.") for exempt in EXEMPT)


@cache
def _module_file(name: str) -> Path | None:
    """Return the file of one of the project's modules; None for a name that is none."""
    package, _, last = name.rpartition(".")
    if name.partition(".")[0] not in ROOTS:
        return None
    if not package:
        spec = find_spec(name)
        return Path(spec.origin) if spec is not None and spec.origin else None
    package_file = _module_file(package)
    if package_file is None or package_file.name != "__init__.py":
        return None
    folder = package_file.parent
    candidates = (folder / last / "__init__.py", folder / f"{last}.py")
    return next((path for path in candidates if path.is_file()), None)


def _digest_module(path: Path) -> str:
    templates = {
        str(f.relative_to(path.parent)): digest_file(f) for f in sorted((path.parent / "templates").glob("**/*")) if f.is_file()
    }
    return digest_json({"code": _read(path).digest, "templates": templates})


def _digest_config(names: Iterable[str]) -> dict[str, str]:
    """Return the digests of those names that stand for a constant of the config, or for a section of it with properties."""
    prefix = f"{config.__name__}."
    values = {name: getattr(config, name.removeprefix(prefix), None) for name in names if name.startswith(prefix)}
    digests = {name: digest_json(value) for name, value in values.items() if isinstance(value, tuple)}
    for name, value in values.items():
        properties = _properties(value) if isinstance(value, type) else {}
        if properties:
            digests[name] = digest_json({part: _parse(source).digest for part, source in properties.items()})
    return digests


def _properties(section: type) -> dict[str, str]:
    """Return the source of a config section's properties, those of its bases too, by name."""
    bases = [base for base in reversed(section.__mro__) if base.__module__.startswith(config.__name__)]
    members = {name: member for base in bases for name, member in vars(base).items()}
    return {
        name: textwrap.dedent(inspect.getsource(member.fget))
        for name, member in members.items()
        if isinstance(member, property) and member.fget is not None
    }


@dataclass(frozen=True)
class _Parsed:
    """What a module's text says.

    Attributes:
        imported: Names that it may import.
        named: Strings in it that may name a module.
        digest: Of its syntax tree without docstrings.
    """

    imported: tuple[str, ...]
    named: tuple[str, ...]
    digest: str


def _read(path: Path) -> _Parsed:
    return _parse(path.read_text(encoding="utf-8"))


@cache
def _parse(text: str) -> _Parsed:
    """Parse a module, once for all stages that it is part of: 0.5 s for all of them, and 1.3 s where each parses anew."""
    tree = ast.parse(text)
    imported, named = tuple(_imported_names(tree)), tuple(_module_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return _Parsed(imported, named, hashlib.sha256(ast.dump(tree).encode()).hexdigest())


def _imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield every name that may be imported: packages above it come with it, and ``from a import b`` may name a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: length + 1]) for length in range(len(parts)))


def _module_names(tree: ast.Module) -> Iterator[str]:
    """Yield every string that has the form of a module's name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _MODULE_NAME.fullmatch(node.value):
            yield node.value
