"""The click log by which two catalogues are compared."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smar_core.config import PrepareConfig
from smar_core.data.reference import read_reference
from smar_core.data.sources import Sources
from smar_core.errors import UserError

CONFIG = PrepareConfig(crawler_max_events=3, crawler_min_click_rate=0.5)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    rows = [
        ("2026-01-01T10:00:00", "s1", "Red  Shirt", "stays", True),
        ("2026-01-01T10:00:00", "s1", "Red  Shirt", "stays", True),  # a duplicate
        ("2026-01-01T10:00:01", "s1", "red shirt", "left", True),
        ("2026-01-01T10:00:02", "s1", "red shirt", "came", False),  # seen, not clicked
        ("2026-01-02T10:00:00", "s2", "red shirt", "stays", True),
        ("2026-01-02T10:00:00", "s2", "lamp", "nowhere", True),  # in neither catalogue
        *((f"2026-01-03T10:00:0{n}", "crawler", f"query {n}", "stays", True) for n in range(4)),
    ]
    names = ("timestamp", "session_id", "query", "item_id", "clicked")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), tmp_path / "clicks.parquet")
    return Sources(items=str(tmp_path / "items.parquet"), clicks=str(tmp_path / "clicks.parquet"))


def test_every_row_has_one_fate_and_clicks_on_items_that_left_stay(sources: Sources) -> None:
    reference = read_reference(sources, ["stays", "left", "came"], CONFIG)
    assert [(row["query"], row["item_id"], row["num_clicks"]) for row in reference.clicks.to_pylist()] == [
        ("red shirt", "left", 1),
        ("red shirt", "stays", 2),
    ]
    (rejects,) = reference.rejects
    assert rejects["value"].to_pylist() == ["nowhere"]
    told = reference.statistics
    assert told["num_rows"] == reference.num_rows == 10
    parts = ("num_rejects", "num_duplicates", "num_crawler_rows", "num_not_clicked", "num_clicks")
    assert [told[name] for name in parts] == [1, 1, 4, 1, 3]


def test_a_log_of_another_shop_is_a_users_mistake(sources: Sources) -> None:
    with pytest.raises(UserError, match="no usable click on an item of either catalogue"):
        read_reference(sources, ["something else"], CONFIG)
