from pathlib import Path

import numpy as np
import pytest

from smar_core.config import ExportConfig
from smar_core.errors import UserError
from smar_core.retrieval.exact import NO_ITEM, exact_search
from smar_core.retrieval.index import ItemIndex

DIM = 24


def unit_rows(num_rows: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num_rows, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def config(kind: str, **others: int) -> ExportConfig:
    return ExportConfig.model_validate({"index": kind, "pq_num_codes": 12, "ivf_num_lists": 8, "ivf_num_probes": 8} | others)


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean([len(set(f) & set(e)) / len(e) for f, e in zip(found.tolist(), expected.tolist(), strict=True)]))


def test_flat_is_exact() -> None:
    items, queries = unit_rows(200, 0), unit_rows(15, 1)
    found, expected = ItemIndex.build(items, config("flat")).search(queries, items, 10), exact_search(queries, items, 10)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.scores_QK, expected.scores_QK)


@pytest.mark.parametrize(("kind", "least"), [("hnsw", 0.99), ("ivf_pq", 0.6)])
def test_approximate_finds_most(kind: str, least: float) -> None:
    items, queries = unit_rows(600, 0), unit_rows(40, 1)
    found = ItemIndex.build(items, config(kind)).search(queries, items, 10)
    expected = exact_search(queries, items, 10)
    assert overlap(found.rows_QK, expected.rows_QK) >= least
    exact_scores = np.take_along_axis(queries @ items.T, found.rows_QK, axis=1)
    assert np.allclose(found.scores_QK, exact_scores, atol=1e-6)
    assert (np.diff(found.scores_QK, axis=1) <= 0).all()


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf_pq"])
def test_equal_inputs_give_equal_files_that_read_back(kind: str, tmp_path: Path) -> None:
    items, queries = unit_rows(400, 0), unit_rows(5, 1)
    for name in ("a", "b"):
        ItemIndex.build(items, config(kind)).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    built = ItemIndex.build(items, config(kind))
    loaded = ItemIndex.load(tmp_path / "a", built.settings)
    assert np.array_equal(loaded.search(queries, items, 10).rows_QK, built.search(queries, items, 10).rows_QK)


@pytest.mark.parametrize("kind", ["hnsw", "ivf_pq"])
def test_seed_matters(kind: str, tmp_path: Path) -> None:
    items = unit_rows(400, 0)
    for seed in (0, 1):
        ItemIndex.build(items, config(kind, seed=seed)).save(tmp_path / str(seed))
    assert (tmp_path / "0").read_bytes() != (tmp_path / "1").read_bytes()


def test_lists_are_lowered_to_the_catalogue_and_recorded() -> None:
    settings = ItemIndex.build(unit_rows(300, 0), config("ivf_pq", ivf_num_lists=64, ivf_num_probes=16)).settings
    assert (settings["num_lists"], settings["num_probes"]) == (7, 7)


def test_too_few_items_to_quantise_get_a_flat_index() -> None:
    assert ItemIndex.build(unit_rows(100, 0), config("ivf_pq")).settings["kind"] == "flat"


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf_pq"])
def test_one_item_and_top_k_beyond_it(kind: str) -> None:
    items = unit_rows(1, 0)
    assert ItemIndex.build(items, config(kind)).search(items, items, 3).rows_QK.tolist() == [[0, NO_ITEM, NO_ITEM]]


def test_no_queries() -> None:
    items = unit_rows(10, 0)
    assert ItemIndex.build(items, config("hnsw")).search(items[:0], items, 3).rows_QK.shape == (0, 3)


def test_codes_that_do_not_divide_the_embedding_are_named() -> None:
    with pytest.raises(UserError, match=r"pq_num_codes \(7\).*choose one of 1, 2, 3, 4, 6, 8, 12, 24"):
        ItemIndex.build(unit_rows(300, 0), config("ivf_pq", pq_num_codes=7))
