"""Which pairs make a batch: grouped by item, so that an item and its picture are encoded once for several queries.

Encoding an item costs several times as much as encoding a query, so three queries an item give far more pairs a second.
A batch holds ``batch_size * (1 - synthetic_share)`` true pairs and the rest synthetic ones. True pairs come in epochs: each
item's pairs are shuffled and cut into groups of ``queries_per_item``, the groups shuffled; a group that a batch's end cuts goes
on in the next batch. Items of the true pairs that have places left in their group get synthetic queries first, since they are
encoded anyway, but never more than all but ``LEAST_IN_TURN`` of the synthetic pairs: the rest go to all items in turn, each once
an epoch, else items without a click would have none. A synthetic query is not seen again before the others drawn from its item
were. Everything is a function of (seed, state), and the state is small and saved.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from smar_core.config import OptimiserConfig
from smar_core.training.pairs import SyntheticPairs, TrainingData, TruePairs

LEAST_IN_TURN = 0.2
"""Least share of a batch's synthetic pairs that goes to items in turn, clicked or not."""


@dataclass(frozen=True)
class Batch:
    """One batch of pairs, true pairs first.

    Attributes:
        true_query: [Bt] rows of true queries.
        synthetic_query: [Bs] rows of synthetic queries.
        item: [N] distinct catalogue rows.
        positive: [Bt + Bs] place in ``item`` of each pair's item.
        num_hard_negatives: The last of the items, which are no pair's own.
    """

    true_query: np.ndarray
    synthetic_query: np.ndarray
    item: np.ndarray
    positive: np.ndarray
    num_hard_negatives: int = 0

    @property
    def num_pairs(self) -> int:
        """B."""
        return len(self.positive)

    def pairs(self, rows: slice) -> "Batch":
        """Return the batch with some of its pairs only, and all of its items."""
        start, stop, _ = rows.indices(self.num_pairs)
        num_true = len(self.true_query)
        synthetic = slice(max(0, start - num_true), max(0, stop - num_true))
        return replace(
            self,
            true_query=self.true_query[start:stop],
            synthetic_query=self.synthetic_query[synthetic],
            positive=self.positive[start:stop],
        )

    def with_hard_negatives(self, item: np.ndarray) -> "Batch":
        """Return the batch with more items, none of which it has."""
        return replace(self, item=np.concatenate([self.item, item]), num_hard_negatives=self.num_hard_negatives + len(item))


class PairSampler:
    """Endless stream of batches that can be stopped and resumed.

    Args:
        true: Clicked pairs, at least one.
        synthetic: Synthetic pairs; may be empty, then every pair is a true one.
        batch_size: Pairs a batch.
        queries_per_item: Most queries an item gets in a batch from one draw.
        synthetic_share: Share of a batch that is synthetic.
        seed: Of every shuffle.
    """

    def __init__(
        self,
        true: TruePairs,
        synthetic: SyntheticPairs,
        *,
        batch_size: int,
        queries_per_item: int,
        synthetic_share: float,
        seed: int,
    ) -> None:
        self._true, self._synthetic, self._seed = true, synthetic, seed
        self._queries_per_item = queries_per_item
        share = synthetic_share if len(synthetic.item) else 0.0
        self.num_synthetic_a_batch = round(batch_size * share)
        self.num_true_a_batch = batch_size - self.num_synthetic_a_batch
        self.max_top_up_a_batch = math.floor((1 - LEAST_IN_TURN) * self.num_synthetic_a_batch)
        self._num_queries_of_item = np.diff(synthetic.first)
        self._items_with_synthetic = np.flatnonzero(self._num_queries_of_item)
        self._num_taken_of_item = np.zeros(len(synthetic.first) - 1, dtype=np.int64)
        self._epoch = {"true": 0, "item": 0}
        self._position = {"true": 0, "true_offset": 0, "item": 0}  # of the next group, within it, and of the next item
        self._groups = self._shuffle_groups()
        self._item_order = self._shuffle_items()

    @classmethod
    def of(cls, data: TrainingData, config: OptimiserConfig, *, synthetic_share: float) -> "PairSampler":
        """Return the sampler of a training's pairs."""
        return cls(
            data.true,
            data.synthetic,
            batch_size=config.batch_size,
            queries_per_item=config.queries_per_item,
            synthetic_share=synthetic_share,
            seed=config.seed,
        )

    @property
    def num_distinct_synthetic_seen(self) -> int:
        """Different synthetic (query, item) pairs drawn so far; an item may hold a query several times."""
        place_in_item = np.arange(len(self._synthetic.item)) - self._synthetic.first[self._synthetic.item]
        is_taken = place_in_item < self._num_taken_of_item[self._synthetic.item]
        return len(np.unique(self._synthetic.pair[is_taken]))

    def state(self) -> tuple[dict[str, Any], np.ndarray]:
        """Return what a resumed sampler needs: small values for JSON, and draws taken of each item [N]."""
        return {"epoch": dict(self._epoch), "position": dict(self._position)}, self._num_taken_of_item.copy()

    def restore(self, values: dict[str, Any], num_taken_of_item: np.ndarray) -> None:
        """Continue where ``state`` was taken."""
        self._epoch, self._position = dict(values["epoch"]), dict(values["position"])
        self._num_taken_of_item = num_taken_of_item.copy()
        self._groups, self._item_order = self._shuffle_groups(), self._shuffle_items()

    def fork(self) -> "PairSampler":
        """Return a sampler that draws what this one will draw, without moving it."""
        ahead = copy.copy(self)
        ahead._epoch, ahead._position = dict(self._epoch), dict(self._position)
        ahead._num_taken_of_item = self._num_taken_of_item.copy()
        return ahead

    def draw(self) -> Batch:
        """Return the next batch."""
        pairs = self._draw_true()
        true_item = self._true.item[pairs]
        synthetic_query = self._draw_synthetic(true_item)
        rows = np.concatenate([true_item, self._synthetic.item[synthetic_query]])
        item, positive = np.unique(rows, return_inverse=True)
        return Batch(self._true.query[pairs], synthetic_query, item, positive)

    def _draw_true(self) -> np.ndarray:
        taken: list[np.ndarray] = []
        missing = self.num_true_a_batch
        while missing > 0:
            if self._position["true"] == len(self._groups):
                self._epoch["true"] += 1
                self._position["true"] = 0
                self._groups = self._shuffle_groups()
            group = self._groups[self._position["true"]]
            part = group[self._position["true_offset"] :][:missing]
            self._position["true_offset"] += len(part)
            if self._position["true_offset"] == len(group):
                self._position["true"] += 1
                self._position["true_offset"] = 0
            taken.append(part)
            missing -= len(part)
        return np.concatenate(taken) if taken else np.empty(0, dtype=np.int64)

    def _draw_synthetic(self, true_item: np.ndarray) -> np.ndarray:
        missing = self.num_synthetic_a_batch
        taken: list[int] = []
        for item, count in zip(*self._top_up(true_item), strict=True):
            taken += self._next_queries(int(item), int(count))
        while len(taken) < missing:
            if self._position["item"] == len(self._item_order):
                self._epoch["item"] += 1
                self._position["item"] = 0
                self._item_order = self._shuffle_items()
            item = int(self._item_order[self._position["item"]])
            self._position["item"] += 1
            taken += self._next_queries(item, min(self._queries_per_item, missing - len(taken)))
        return np.array(taken, dtype=np.int64)

    def _top_up(self, true_item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the items of the true pairs, ascending, and how many synthetic queries each gets; the first drawn go first."""
        items, first, counts = np.unique(true_item, return_index=True, return_counts=True)
        free = np.clip(self._queries_per_item - counts, 0, self._num_queries_of_item[items])
        as_drawn = np.argsort(first)
        used_before = np.zeros(len(items), dtype=np.int64)
        used_before[as_drawn] = np.cumsum(free[as_drawn]) - free[as_drawn]
        return items, np.clip(self.max_top_up_a_batch - used_before, 0, free)

    def _next_queries(self, item: int, wanted: int) -> list[int]:
        """Take the item's next queries in their order, beginning again after the last; none twice in one call."""
        available = int(self._num_queries_of_item[item])
        count = min(wanted, available)
        if count <= 0:
            return []
        start, first = int(self._num_taken_of_item[item]), int(self._synthetic.first[item])
        self._num_taken_of_item[item] += count
        return [first + (start + k) % available for k in range(count)]

    def _shuffle_groups(self) -> list[np.ndarray]:
        """Cut each item's pairs, shuffled, into groups, and shuffle the groups."""
        rng = np.random.default_rng([self._seed, 0, self._epoch["true"]])
        order = np.lexsort((rng.random(len(self._true.item)), self._true.item))
        item = self._true.item[order]
        is_first = np.r_[True, item[1:] != item[:-1]]
        start_of_item = np.maximum.accumulate(np.where(is_first, np.arange(len(item)), 0))
        is_start = (np.arange(len(item)) - start_of_item) % self._queries_per_item == 0
        groups = np.split(order, np.flatnonzero(is_start)[1:])
        return [groups[k] for k in rng.permutation(len(groups))]

    def _shuffle_items(self) -> np.ndarray:
        return np.random.default_rng([self._seed, 1, self._epoch["item"]]).permutation(self._items_with_synthetic)
