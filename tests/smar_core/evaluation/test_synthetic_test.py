from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.config import EvaluateConfig
from smar_core.evaluation.synthetic_test import draw_synthetic_test
from smar_core.evaluation.testset import ClickTest
from smar_core.schemas import SYNTHETIC
from smar_core.text import item_text


def trained_on(folder: Path, queries: list[str]) -> Artifact:
    """Return an artifact of synthetic queries."""
    rows = [
        {
            "query": query,
            "item_id": "z9",
            "fields": "title",
            "start_word": 0,
            "num_words": len(query.split()),
            "draw": draw,
            "num_redraws": 0,
        }
        for draw, query in enumerate(queries)
    ]
    with create_artifact(folder, "synthetic", config_digest="", parents={}) as path:
        pq.write_table(pa.Table.from_pylist(rows, SYNTHETIC), path / "synthetic.parquet")
        write_json(path / "drift.json", {})
    return open_artifact(folder, "synthetic")


def draw(finished_run: Any, synthetic: Artifact, **config: Any) -> ClickTest:
    return draw_synthetic_test(finished_run.items, finished_run.clicks, synthetic, EvaluateConfig.model_validate(config))


@pytest.fixture
def texts(finished_run) -> list[str]:
    """The items' texts in the order of the ids."""
    rows = finished_run.items.read_table("items", ["item_id", "title", "brand", "category"]).to_pylist()
    return [item_text(row["title"], row["brand"], row["category"]) for row in sorted(rows, key=lambda row: row["item_id"])]


def test_relevant_is_every_item_with_all_the_words(finished_run, texts: list[str]) -> None:
    test = draw(finished_run, finished_run.synthetic)
    assert len(test.queries) == 10
    for place, query in enumerate(test.queries):
        expected = [row for row, text in enumerate(texts) if set(query.split()) <= set(text.split())]
        assert test.qrels.row_E[test.qrels.query_E == place].tolist() == expected
        assert any(query in text for text in texts)


def test_a_query_is_new(finished_run, tmp_path: Path) -> None:
    """Neither a true query of any day nor one of training, even where that leaves an item without any."""
    seen = draw(finished_run, finished_run.synthetic).queries
    true = set(finished_run.clicks.read_table("queries")["query"].to_pylist())
    assert not true & set(seen)
    held_out = draw(finished_run, trained_on(tmp_path / "synthetic", seen)).queries
    assert held_out and not set(held_out) & (true | set(seen))
    longest = max(len(query.split()) for query in seen)
    assert max(len(query.split()) for query in held_out) <= longest


def test_no_query_is_longer_than_those_of_training(finished_run, tmp_path: Path) -> None:
    test = draw(finished_run, trained_on(tmp_path / "synthetic", ["red", "blue", "red shirt"]))
    assert {len(query.split()) for query in test.queries} <= {1, 2}
    assert "red" not in test.queries


def test_drawn_alike_by_seed(finished_run) -> None:
    few = {"num_synthetic_queries": 2}
    first = draw(finished_run, finished_run.synthetic, **few).queries
    assert len(first) == 2 and first == draw(finished_run, finished_run.synthetic, **few).queries
    others = [draw(finished_run, finished_run.synthetic, seed=seed, **few).queries for seed in (1, 2, 3)]
    assert any(other != first for other in others)
    assert draw(finished_run, finished_run.synthetic, num_synthetic_queries=0).queries == []
