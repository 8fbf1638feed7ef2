"""P(q, s) is learned where there is something to learn, from training days alone, and the command reads a run's own artifacts."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import pair_gate
from benchmarks.lineage import open_made_from
from benchmarks.pair_gate import TEACHINGS, Candidates, Lesson, find, main, measure_pair_gate, teach
from smar_core.retrieval.exact import exact_search
from smar_core.training.gate_labels import ClickedPairs
from smar_core.training.validation import read_validation_queries, recall

N, D = 400, 16


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def shop() -> tuple[ClickedPairs, np.ndarray, np.ndarray]:
    """S_m is noise for the second half of the items, S_t for the first; which half an item is in can be read from either."""
    rng = np.random.default_rng(0)
    half_N = np.where(np.arange(N) < N // 2, 1.0, -1.0)
    truth_ND, *noises_ND = (rng.normal(size=(N, D)) for _ in range(3))
    is_noise_TN = np.stack([half_N > 0, half_N < 0])
    tower_TND = np.where(is_noise_TN[:, :, None], np.stack(noises_ND), truth_ND)
    tower_TND[:, :, 0] = half_N
    item_Q = np.repeat(np.arange(N), 3)
    query_QD = truth_ND[item_Q] + 0.3 * rng.normal(size=(3 * N, D))
    query_QD[:, 0] = 0
    pairs = ClickedPairs(
        query_ids=[f"{place:04}" for place in range(3 * N)],
        queries=[""] * (3 * N),
        split_P=np.tile(["train", "train", "validation"], N),
        query_P=np.arange(3 * N),
        item_P=item_Q,
        clicks_P=np.ones(3 * N, dtype=np.int64),
    )
    return pairs, unit(query_QD), np.stack([unit(tower_ND) for tower_ND in tower_TND])


def test_where_one_half_has_noise_for_s_m_either_teaching_beats_always_multimodal() -> None:
    pairs, query_QD, tower_TND = shop()
    results = measure_pair_gate(pairs, query_QD, tower_TND, np.arange(3 * N) < 3 * N // 2, num_seeds=1)
    for teaching in TEACHINGS:
        found = results[f"P(q, s) by {teaching}"]
        assert found["difference"]["low"] > 0.2
        assert 0.2 < found["mean_p"] < 0.8
    assert results["always multimodal"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert results["always multimodal"]["R@50"][0] < 0.7 < results["oracle"]["R@50"][0]
    assert results["the run's gate"]["R@50"] == results["oracle"]["R@50"]  # it knows the half, where the oracle sees the clicks


def test_test_days_change_nothing_and_validation_days_do_not_reach_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_gate, "NUM_STEPS", 5)
    pairs, query_QD, tower_TND = shop()
    split_P = np.where(np.arange(3 * N) % 6 == 2, "test", pairs.split_P)
    pairs = replace(pairs, split_P=split_P)
    other = replace(pairs, item_P=np.where(split_P == "test", 0, pairs.item_P))
    first, second = (measure_pair_gate(of, query_QD, tower_TND, None, num_seeds=2) for of in (pairs, other))
    assert first == second and "the run's gate" not in first
    other = replace(pairs, item_P=np.where(split_P == "validation", 0, pairs.item_P))
    for teaching in TEACHINGS:
        ours, theirs = (teach(Lesson.prepare(of, query_QD, tower_TND), teaching, 0).state_dict() for of in (pairs, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_probabilities_lie_in_0_to_1_and_equal_seeds_give_equal_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_gate, "NUM_STEPS", 20)
    monkeypatch.setattr(pair_gate, "LEARNING_RATE", 1.0)  # as far out as it goes
    lesson = Lesson.prepare(*shop())
    for teaching in TEACHINGS:
        headers = [teach(lesson, teaching, seed) for seed in (0, 0, 1)]
        first, again, other = (of(lesson.query_PD, lesson.item_NF, lesson.candidates.row_QC) for of in headers)
        assert first.min() >= 0 and first.max() <= 1
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_p_of_0_and_1_are_the_rankings_of_the_two_indexes_with_their_ties() -> None:
    _, query_QD, tower_TND = shop()
    tower_TND[:, 1::2] = tower_TND[:, ::2]
    row_QC = find(query_QD[:40], tower_TND, 60)
    candidates = Candidates.score(query_QD[:40], tower_TND, row_QC)
    assert all(len(set(row_C[row_C >= 0])) == (row_C >= 0).sum() for row_C in row_QC)
    for probability, item_ND in enumerate(tower_TND):
        found_QK = candidates.rank(torch.full(row_QC.shape, float(probability)))
        assert np.array_equal(found_QK, exact_search(query_QD[:40], item_ND, 50).rows_QK)


def test_a_half_is_the_mean_of_both_scores_by_hand() -> None:
    candidates = Candidates(torch.tensor([[4, -1, 2]]), torch.tensor([[[0.5, 9.0, 0.25]], [[0.0, 9.0, 0.75]]]))
    assert candidates.mix(torch.full((1, 3), 0.5)).tolist() == [[0.25, -torch.inf, 0.5]]
    assert candidates.rank(torch.full((1, 3), 0.5)).tolist() == [[2, 4, -1]]


def test_the_command_reads_the_clicks_that_the_bundle_comes_from(
    stored_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R@5 of the bundle's two indexes agrees with the one that training measures in the catalogue's own order of items."""
    monkeypatch.setattr(pair_gate, "NUM_STEPS", 2)
    monkeypatch.setattr(pair_gate, "CUTOFF", 5)
    monkeypatch.setattr(sys, "argv", ["pair_gate", str(stored_bundle), "--seeds", "2", "--out", str(tmp_path / "out.json")])
    main()
    systems = json.loads((tmp_path / "out.json").read_text())["systems"]
    assert len(systems["P(q, s) by contrast"]["R@5"]) == 2
    opened, items, clicks = open_made_from(stored_bundle)
    asked = read_validation_queries(items, clicks, 10_000)
    row_of = {item_id: row for row, item_id in enumerate(opened.item_ids)}
    ids = items.read_table("items", ["item_id"])["item_id"].to_pylist()
    clicked = [np.array([row_of[ids[row]] for row in rows]) for rows in asked.clicked]
    query_QD = opened.encode(asked.queries)
    for name, modality in (("always text", "text"), ("always multimodal", "multimodal")):
        expected = recall(query_QD, opened.embeddings(modality), clicked, 5).mean()
        assert systems[name]["R@5"] == [pytest.approx(expected)]
        assert 0 < expected < 1
