"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import benchmarks
import components
import pipelines
import smar_core

PACKAGES = (benchmarks, components, pipelines, smar_core)
MODULES = sorted(
    module.name for package in PACKAGES for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
