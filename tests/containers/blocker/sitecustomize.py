"""Makes one installed distribution, the one that ``BLOCKED`` names, impossible to import: Python runs this file as it starts."""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distribution


class Blocker:
    """Finds the modules of a distribution first, and refuses them."""

    def __init__(self, name: str) -> None:
        """Look up the distribution's files."""
        held = distribution(name)
        self._name = name
        self._files = {str(held.locate_file(file)) for file in held.files or ()}

    def find_spec(self, module: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Refuse a module of the distribution; leave any other to the next finder."""
        spec = PathFinder.find_spec(module, path)
        if spec is not None and spec.origin in self._files:
            raise ModuleNotFoundError(f"{module} of {self._name} is blocked", name=module)
        return None


if os.environ.get("BLOCKED"):
    sys.meta_path.insert(0, Blocker(os.environ["BLOCKED"]))
