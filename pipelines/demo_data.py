"""The data of ``smar demo``: drawn once into ``.smar``, under a name that moves with the code that draws it."""

import shutil
from pathlib import Path

from pipelines.code_digest import code_digest
from pipelines.state import StateFolder
from smar_core.data.demo import write_demo


def demo_data(state: StateFolder) -> Path:
    """Return the folder of items.parquet, clicks.parquet and judgments.parquet, drawn if it is not there."""
    folder = state.path / f"demo-data-{code_digest('smar_core.data.demo')[:16]}"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_demo(partial)
        partial.rename(folder)
    return folder
