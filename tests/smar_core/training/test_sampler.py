"""Batches: sizes, shares, epochs, grouping, resumption."""

import numpy as np
import pyarrow as pa
import pytest

from smar_core.training.pairs import SyntheticPairs, TruePairs, no_synthetic_pairs
from smar_core.training.sampler import Batch, PairSampler

NUM_ITEMS = 12
TRUE = TruePairs([f"q{k}" for k in range(9)], np.arange(20) % 9, np.arange(20) % 7)
SYNTHETIC = SyntheticPairs(
    pa.array([f"s{k}" for k in range(NUM_ITEMS * 4)]),
    np.repeat(np.arange(NUM_ITEMS), 4),
    np.arange(NUM_ITEMS * 4),
    np.arange(NUM_ITEMS + 1) * 4,
)


def _sampler(**changes: object) -> PairSampler:
    values = {"batch_size": 10, "queries_per_item": 2, "synthetic_share": 0.4, "seed": 3} | changes
    return PairSampler(TRUE, SYNTHETIC, **values)  # type: ignore[arg-type]


def _pairs(batch: Batch) -> list[tuple[str, int, int]]:
    queries = [("true", int(q)) for q in batch.true_query] + [("synthetic", int(q)) for q in batch.synthetic_query]
    return [(kind, query, int(batch.item[place])) for (kind, query), place in zip(queries, batch.positive, strict=True)]


def test_every_batch_has_its_size_and_share() -> None:
    sampler = _sampler()
    for _ in range(30):
        batch = sampler.draw()
        assert (len(batch.true_query), len(batch.synthetic_query)) == (6, 4)
        assert len(set(batch.item.tolist())) == len(batch.item)


def test_pairs_are_real_ones() -> None:
    true = set(zip(TRUE.query.tolist(), TRUE.item.tolist(), strict=True))
    sampler = _sampler()
    for _ in range(30):
        for kind, query, item in _pairs(sampler.draw()):
            assert (query, item) in true if kind == "true" else SYNTHETIC.item[query] == item


@pytest.mark.parametrize("queries_per_item", [1, 2, 3])
def test_an_epoch_holds_every_true_pair_once(queries_per_item: int) -> None:
    """A group that a batch's end cuts goes on in the next batch."""
    sampler = _sampler(batch_size=4, queries_per_item=queries_per_item, synthetic_share=0.0)
    drawn = [pair for _ in range(5) for pair in _pairs(sampler.draw())]
    assert len(set(drawn)) == 20


def test_a_query_that_an_item_holds_twice_counts_once() -> None:
    pair = np.arange(NUM_ITEMS * 4) // 2
    sampler = PairSampler(
        TRUE,
        SyntheticPairs(SYNTHETIC.queries, SYNTHETIC.item, pair, SYNTHETIC.first),
        batch_size=10,
        queries_per_item=2,
        synthetic_share=0.8,
        seed=0,
    )
    for _ in range(40):
        sampler.draw()
    assert sampler.num_distinct_synthetic_seen == NUM_ITEMS * 2


def test_items_are_grouped() -> None:
    """Two queries an item: fewer distinct items than pairs."""
    sampler = _sampler(batch_size=10, queries_per_item=2, synthetic_share=0.5)
    assert np.mean([len(sampler.draw().item) for _ in range(50)]) < 7


def test_synthetic_queries_do_not_repeat_before_all_were_seen() -> None:
    sampler = _sampler(batch_size=12, synthetic_share=0.99)
    seen = np.zeros(len(SYNTHETIC.item), dtype=int)
    for _ in range(20):
        np.add.at(seen, sampler.draw().synthetic_query, 1)
    by_item = seen.reshape(NUM_ITEMS, 4)
    assert (by_item.max(axis=1) - by_item.min(axis=1) <= 1).all()
    assert sampler.num_distinct_synthetic_seen == (seen > 0).sum()


def test_without_synthetic_pairs_all_are_true() -> None:
    sampler = PairSampler(TRUE, no_synthetic_pairs(NUM_ITEMS), batch_size=8, queries_per_item=3, synthetic_share=0.5, seed=0)
    assert len(sampler.draw().true_query) == 8


@pytest.mark.parametrize("num_before", [0, 1, 7, 25])
def test_resumed_equals_uninterrupted(num_before: int) -> None:
    first = _sampler()
    for _ in range(num_before):
        first.draw()
    second = _sampler()
    second.restore(*first.state())
    for _ in range(20):
        assert _pairs(first.draw()) == _pairs(second.draw())


def test_seed_changes_the_batches() -> None:
    assert _pairs(_sampler(seed=1).draw()) != _pairs(_sampler(seed=2).draw())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_items_without_clicks_get_synthetic_queries_at_any_share(share: float) -> None:
    """Sparse clicks: every clicked item has two free places. Topping them up row by row took all queries to the lowest rows."""
    num_items, num_clicked = 120, 90
    true = TruePairs([f"q{k}" for k in range(num_clicked)], np.arange(num_clicked), np.arange(num_clicked))
    synthetic = SyntheticPairs(
        pa.array([f"s{k}" for k in range(num_items * 6)]),
        np.repeat(np.arange(num_items), 6),
        np.arange(num_items * 6),
        np.arange(num_items + 1) * 6,
    )
    sampler = PairSampler(true, synthetic, batch_size=60, queries_per_item=3, synthetic_share=share, seed=0)
    drawn = np.zeros(num_items, dtype=int)
    for _ in range(400):
        np.add.at(drawn, synthetic.item[sampler.draw().synthetic_query], 1)
    of_unclicked = drawn[num_clicked:].sum() / drawn.sum()
    assert of_unclicked > 0.9 * 0.2 * (num_items - num_clicked) / num_items  # a fifth of the queries, in turn over all items
    by_rows = drawn[:num_clicked].reshape(3, -1).sum(axis=1)
    assert by_rows.max() < 1.15 * by_rows.min()
