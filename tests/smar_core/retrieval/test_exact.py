import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smar_core.retrieval.exact import NO_ITEM, exact_search, rerank


def unit_rows(num_rows: int, dim: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num_rows, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_finds_what_faiss_finds() -> None:
    items, queries = unit_rows(300, 24, 0), unit_rows(20, 24, 1)
    index = faiss.IndexFlatIP(24)
    index.add(items)
    scores, rows = index.search(queries, 10)
    ranking = exact_search(queries, items, 10)
    assert np.array_equal(ranking.rows_QK, rows)
    assert np.allclose(ranking.scores_QK, scores, atol=1e-6)


def test_ties_at_the_cut_go_to_the_smaller_row() -> None:
    items = np.repeat(unit_rows(1, 8, 0), 6, axis=0)
    items[4] = -items[4]
    assert exact_search(items[:1], items, 3).rows_QK.tolist() == [[0, 1, 2]]
    assert exact_search(items[:1], items, 6).rows_QK.tolist() == [[0, 1, 2, 3, 5, 4]]


def test_top_k_may_exceed_the_catalogue() -> None:
    ranking = exact_search(unit_rows(2, 8, 0), unit_rows(3, 8, 1), 5)
    assert (ranking.rows_QK[:, 3:] == NO_ITEM).all() and (ranking.rows_QK[:, :3] != NO_ITEM).all()
    assert (ranking.scores_QK[:, 3:] == -np.inf).all()


def test_empty_catalogue_and_no_queries() -> None:
    assert exact_search(unit_rows(2, 8, 0), np.empty((0, 8), np.float32), 4).rows_QK.tolist() == [[NO_ITEM] * 4] * 2
    assert exact_search(np.empty((0, 8), np.float32), unit_rows(3, 8, 0), 4).rows_QK.shape == (0, 4)


@pytest.mark.parametrize("scores_in_memory", [1, 70, 1000, 2**24])
def test_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch, scores_in_memory: int) -> None:
    """Half the items are copies, so that rounding which depends on the chunk would show as another order."""
    items = np.concatenate([unit_rows(50, 24, 0)] * 2)
    queries = unit_rows(37, 24, 1)
    expected = exact_search(queries, items, 10)
    monkeypatch.setattr("smar_core.retrieval.exact.MAX_SCORES_IN_MEMORY", scores_in_memory)
    found = exact_search(queries, items, 10)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.scores_QK, expected.scores_QK)


def test_excluded_rows_are_not_ranked() -> None:
    items = unit_rows(20, 8, 0)
    excluded = [np.array([0, 3], np.int32), np.array([], np.int32), np.arange(20, dtype=np.int32)]
    everything = exact_search(items[:3], items, 20).rows_QK
    found = exact_search(items[:3], items, 20, excluded=excluded).rows_QK
    assert found[0, :18].tolist() == [row for row in everything[0] if row not in (0, 3)]
    assert found[1].tolist() == everything[1].tolist()
    assert (found[0, 18:] == NO_ITEM).all() and (found[2] == NO_ITEM).all()


def test_hidden_rows_are_ranked_for_no_query() -> None:
    items = unit_rows(20, 8, 0)
    hidden_N = np.arange(20) % 3 == 0
    of_each = [np.array([1], np.int32), np.array([], np.int32)]
    both = [np.union1d(rows, np.flatnonzero(hidden_N)) for rows in of_each]
    expected = exact_search(items[:2], items, 5, excluded=both)
    found = exact_search(items[:2], items, 5, excluded=of_each, hidden_N=hidden_N)
    assert found.rows_QK.tolist() == expected.rows_QK.tolist()
    assert (exact_search(items[:2], items, 5, hidden_N=np.full(20, True)).rows_QK == NO_ITEM).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 10**6))
def test_agrees_with_sorting_everything(num_items: int, top_k: int, seed: int) -> None:
    """Coordinates of -1, 0, 1 make many ties, and sums that are exact in any order."""
    rng = np.random.default_rng(seed)
    items = rng.integers(-1, 2, size=(num_items, 4)).astype(np.float32)
    query = rng.integers(-1, 2, size=(1, 4)).astype(np.float32)
    scores = (items @ query[0]).tolist()
    expected = sorted(range(num_items), key=lambda row: (-scores[row], row))[:top_k]
    ranking = exact_search(query, items, top_k)
    assert ranking.rows_QK[0, : len(expected)].tolist() == expected
    assert ranking.scores_QK[0, : len(expected)].tolist() == [scores[row] for row in expected]


def test_rerank_of_all_rows_is_the_exact_search() -> None:
    items, queries = unit_rows(30, 8, 0), unit_rows(4, 8, 1)
    shuffled = np.stack([np.random.default_rng(q).permutation(30) for q in range(4)])
    found, expected = rerank(queries, items, shuffled, 7), exact_search(queries, items, 7)
    assert np.array_equal(found.rows_QK, expected.rows_QK)
    assert np.array_equal(found.scores_QK, expected.scores_QK)
