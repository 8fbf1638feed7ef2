"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import smar_core

MODULES = sorted(module.name for module in pkgutil.walk_packages(smar_core.__path__, "smar_core."))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
