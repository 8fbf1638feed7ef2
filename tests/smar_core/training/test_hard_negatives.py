"""Hard negatives: the margin, what is never one, joining a batch, and candidates by a plain loop."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from smar_core.config import FinetuneConfig
from smar_core.retrieval.mining import hardest_items
from smar_core.stage import StageContext
from smar_core.training.distributed import ALONE
from smar_core.training.hard_negatives import HardNegatives, choose
from smar_core.training.negatives import FalseNegatives
from smar_core.training.pairs import SyntheticPairs, TrainingData, TruePairs
from smar_core.training.sampler import Batch, PairSampler

ITEMS = ["red cotton shirt acme", "blue cotton shirt acme", "red mug", "red shirt zeta", "red mug", "shirt red", "green sock"]
NO_TOKENS = np.empty((0, 1), dtype=np.int32)


def test_items_near_the_positive_are_skipped() -> None:
    """Scores 1 (the positive), .96, .8, 0: a margin of a tenth lets .8 through, one of a hundredth .96 too."""
    items = np.array([[1, 0], [0.96, 0.28], [0.8, 0.6], [0, 1]], dtype=np.float32)
    found = {margin: hardest_items(items[:1], items, np.array([0]), depth=6, margin=margin) for margin in (0.1, 0.01, 1.0)}
    assert found[0.1].tolist() == [[-1, -1, 2, 3, -1, -1]]
    assert found[0.01].tolist() == [[-1, 1, 2, 3, -1, -1]]
    assert found[1.0].tolist() == [[-1, -1, -1, 3, -1, -1]]


def test_margin_of_a_positive_with_a_negative_score_lies_below_it() -> None:
    items = np.array([[-1, 0], [-0.96, 0.28], [-0.6, 0.8]], dtype=np.float32)
    query = np.array([[1, 0]], dtype=np.float32)
    assert hardest_items(query, items, np.array([1]), depth=3, margin=0.1).tolist() == [[-1, -1, -1]]
    assert hardest_items(query, items, np.array([1]), depth=3, margin=0.01).tolist() == [[-1, -1, 0]]


def _data() -> TrainingData:
    """Clicked: "mug" item 2, "red shirt" items 0 and 1. Synthetic: "red" from item 4, "shirt acme" from item 0."""
    true = TruePairs(["mug", "red shirt"], np.array([0, 1, 1]), np.array([2, 0, 1]))
    synthetic = SyntheticPairs(
        pa.array(["red", "shirt acme"]), np.array([4, 0]), np.arange(2), np.array([0, 1, 1, 1, 1, 2, 2, 2])
    )
    return TrainingData(true, synthetic, ITEMS, NO_TOKENS, NO_TOKENS, NO_TOKENS)


@pytest.mark.parametrize("pairs_a_block", [1, 3, 128])
def test_what_is_never_a_hard_negative(monkeypatch: pytest.MonkeyPatch, pairs_a_block: int) -> None:
    """ "mug": its item and that of the same text; "red shirt": both its items; a synthetic query: what holds its words."""
    monkeypatch.setattr("smar_core.training.negatives._PAIRS_A_BLOCK", pairs_a_block)
    batch = Batch(np.array([0, 1]), np.array([0, 1]), np.array([0, 2, 4]), np.array([1, 0, 2, 0]))
    everything = np.tile(np.arange(len(ITEMS), dtype=np.int32), (4, 1))
    is_false = FalseNegatives(_data()).are_false(batch, everything)
    assert [np.flatnonzero(row).tolist() for row in is_false] == [[2, 4], [0, 1], [0, 2, 3, 4, 5], [0, 1]]


def test_hard_negatives_of_a_batch_are_masked_like_any_item() -> None:
    """And where their text is that of a pair's own item, which an item of another pair need not be."""
    batch = Batch(np.array([0, 1]), np.array([0, 1]), np.array([0, 2]), np.array([1, 0, 1, 0]))
    excluded = FalseNegatives(_data()).excluded(batch.with_hard_negatives(np.array([1, 4, 6])))
    assert [np.flatnonzero(row).tolist() for row in excluded] == [[1, 3], [0, 2], [0, 1, 3], [0, 2]]


def test_chosen_are_distinct_new_and_from_every_pair_first() -> None:
    candidates = np.array([[1, 2, 3], [4, -1, -1], [1, -1, -1], [-1, -1, -1]], dtype=np.int32)
    for seed in range(20):
        chosen = choose(candidates, np.array([2, 9]), 2, np.random.default_rng(seed)).tolist()
        assert len(set(chosen)) == 2
        assert set(chosen) <= {1, 3, 4}
    assert sorted(choose(candidates, np.array([2, 9]), 50, np.random.default_rng(0)).tolist()) == [1, 3, 4]
    assert len(choose(np.full((2, 3), -1), np.array([0]), 4, np.random.default_rng(0))) == 0


def test_pairs_of_a_batch() -> None:
    batch = Batch(np.array([5, 6, 7]), np.array([8, 9]), np.array([0, 1]), np.array([0, 1, 0, 1, 1]))
    part = batch.pairs(slice(2, 4))
    assert (part.true_query.tolist(), part.synthetic_query.tolist(), part.positive.tolist()) == ([7], [8], [0, 1])


def test_looking_ahead_moves_nothing(workbench: Any) -> None:
    data = workbench.data
    samplers = [
        PairSampler(data.true, data.synthetic, batch_size=4, queries_per_item=2, synthetic_share=0.5, seed=1) for _ in range(2)
    ]
    ahead = samplers[0].fork()
    drawn = [ahead.draw() for _ in range(9)]
    for batch in drawn:
        for sampler in samplers:
            again = sampler.draw()
            assert again.item.tolist() == batch.item.tolist()
            assert again.synthetic_query.tolist() == batch.synthetic_query.tolist()


@pytest.fixture
def mined(finished_run: Any, workbench: Any, tmp_path: Path):
    """Return what mining at step 2 of 5 leaves: source, sampler and model."""
    config = FinetuneConfig(
        batch_size=4, num_steps=5, mine_every_steps=2, hard_negatives=3, hard_negative_depth=8, hard_negative_margin=0.2
    )
    data, model = workbench.data, workbench.model().eval()
    sampler = PairSampler(data.true, data.synthetic, batch_size=4, queries_per_item=2, synthetic_share=0.5, seed=1)
    source = HardNegatives(finished_run.items, "multimodal", config, StageContext("", tmp_path))
    source.get_ready(2, sampler, workbench.encoder(model), workbench.tokenizer, ALONE)
    return source, sampler, model


def test_candidates_are_those_of_a_plain_loop(finished_run: Any, workbench: Any, mined: Any, tmp_path: Path) -> None:
    _, sampler, model = mined
    encoder, texts = workbench.encoder(model), workbench.data.item_texts
    everything = Batch(
        np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.arange(len(texts)), np.empty(0, dtype=np.int64)
    )
    with torch.no_grad():
        item_ND = encoder.items(everything)["multimodal"].numpy()
    clicked = set(zip(workbench.data.true.query.tolist(), workbench.data.true.item.tolist(), strict=True))
    candidates = np.load(tmp_path / "candidates-00000002.npy")
    assert candidates.shape == (2, 4, 8)
    assert (candidates >= 0).any()
    for candidate_BC in candidates:
        batch = sampler.draw()
        with torch.no_grad():
            score_BN = encoder.queries(batch).numpy() @ item_ND.T
        for pair, score_N in enumerate(score_BN):
            own = batch.item[batch.positive[pair]]
            words = [] if pair < 2 else workbench.data.synthetic.queries[int(batch.synthetic_query[pair - 2])].as_py().split()
            wanted = [
                row
                for row in np.argsort(-score_N)[:8]
                if score_N[row] <= score_N[own] - 0.2 * abs(score_N[own])
                and texts[row] != texts[own]
                and not (pair < 2 and (batch.true_query[pair], row) in clicked)
                and not (words and set(words) <= set(texts[row].split()))
            ]
            assert [row for row in candidate_BC[pair].tolist() if row >= 0] == wanted


def test_batch_gets_its_hard_negatives_always_the_same(mined: Any) -> None:
    source, sampler, _ = mined
    batch = sampler.draw()
    joined = source.join(batch, 2)
    assert 0 < joined.num_hard_negatives <= 3
    assert len(set(joined.item.tolist())) == len(joined.item) == len(batch.item) + joined.num_hard_negatives
    assert joined.positive.tolist() == batch.positive.tolist()
    assert source.join(batch, 2).item.tolist() == joined.item.tolist()


def test_candidates_are_kept_as_long_as_a_resumed_run_may_need_them(mined: Any, workbench: Any, tmp_path: Path) -> None:
    """A checkpoint of step 3 needs those mined at step 2; the last mining serves the one step that is left."""
    source, sampler, model = mined
    source.get_ready(4, sampler, workbench.encoder(model), workbench.tokenizer, ALONE)
    assert np.load(tmp_path / "candidates-00000004.npy").shape == (1, 4, 8)
    source.forget_before(3)
    assert sorted(path.name for path in tmp_path.glob("candidates-*")) == ["candidates-00000002.npy", "candidates-00000004.npy"]
    source.forget_before(4)
    assert [path.name for path in tmp_path.glob("candidates-*")] == ["candidates-00000004.npy"]
