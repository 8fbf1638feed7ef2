"""A finished pipeline run on the tiny shop."""

from pathlib import Path

import pytest

from tests.pipelines.shop_runs import Shop


@pytest.fixture(scope="session")
def finished(tiny_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A working folder in which a run with OUT ``first`` has finished."""
    shop = Shop(tmp_path_factory.mktemp("shop"), tiny_shop)
    (shop.folder / "components.py").write_text("raise RuntimeError('a file of the user, which is not ours')")
    shop.run("first")
    return shop
