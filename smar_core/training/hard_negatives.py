"""Hard negatives: items that the current model ranks high for a batch's queries, and that are none of their matches.

Every ``mine_every_steps`` steps the catalogue is encoded, and the batches of the steps until the next mining are drawn ahead:
only their queries are searched for, one batch after the other, so the cost does not grow with the number of pairs. The
candidates go to a file of the work folder, [steps, B, depth] int32, mapped into memory. While it is written, the embeddings of
the catalogue by every item tower, float32, are in memory too, although one tower ranks: the towers are encoded together. A
killed run goes on with the file of its checkpoint's step and thus takes the steps of an uninterrupted one.

A batch gets ``hard_negatives`` items as additional columns, each from another pair as far as they suffice. To every other
query of the batch they are negatives under the same rules as any item (``negatives``).
Left out: a separate index for queries that the gate sends to the text; candidates by any but one tower.
Shapes: B pairs, N items, C candidates.
"""

from pathlib import Path

import numpy as np
import torch

from smar_core.artifact import Artifact
from smar_core.config import ItemTower, OptimiserConfig
from smar_core.model.encoding import encode_catalogue
from smar_core.model.tokens import TextTokenizer
from smar_core.retrieval.exact import NO_ITEM
from smar_core.retrieval.mining import hardest_items
from smar_core.stage import StageContext
from smar_core.training.distributed import Ranks
from smar_core.training.encoder import BatchEncoder
from smar_core.training.sampler import Batch, PairSampler

_ITEMS_AT_A_TIME = 256


class HardNegatives:
    """Mines candidates and adds them to batches.

    Args:
        items: The catalogue.
        tower: The item tower by which candidates are ranked.
        config: How many, from how deep, how often.
        context: Work folder, and progress.
    """

    def __init__(self, items: Artifact, tower: ItemTower, config: OptimiserConfig, context: StageContext) -> None:
        self._items, self._tower, self._config, self._context = items, tower, config, context
        self._mined_at = -1
        self._candidate_SBC = np.empty((0, 0, 0), dtype=np.int32)

    def get_ready(self, step: int, sampler: PairSampler, encoder: BatchEncoder, tokenizer: TextTokenizer, ranks: Ranks) -> None:
        """See that there are candidates for a step's batch, which the sampler draws next: mine them if it is time."""
        mined_at = self._last_mining(step)
        if mined_at == self._mined_at:
            return
        with ranks.in_turn():
            if step == mined_at and ranks.is_first:
                self._mine(step, sampler, encoder, tokenizer)
            self._candidate_SBC = np.load(self._path(mined_at), mmap_mode="r")
        self._mined_at = mined_at

    def join(self, batch: Batch, step: int) -> Batch:
        """Return the batch of a step with its hard negatives."""
        rng = np.random.default_rng([self._config.seed, 2, step])
        candidate_BC = self._candidate_SBC[step - self._mined_at]
        return batch.with_hard_negatives(choose(candidate_BC, batch.item, self._config.hard_negatives, rng))

    def forget_before(self, step: int) -> None:
        """Remove the candidates that a run which goes on from a step does not need."""
        needed = self._path(self._last_mining(step))
        for path in self._context.work.glob("candidates-*.npy"):
            if path.name < needed.name:
                path.unlink()

    def _last_mining(self, step: int) -> int:
        return step - step % self._config.mine_every_steps

    def _path(self, mined_at: int) -> Path:
        return self._context.work / f"candidates-{mined_at:08d}.npy"

    @torch.no_grad()
    def _mine(self, step: int, sampler: PairSampler, encoder: BatchEncoder, tokenizer: TextTokenizer) -> None:
        """Write the candidates of the steps until the next mining."""
        num_steps = min(self._config.mine_every_steps, self._config.num_steps - step)
        catalogue = encode_catalogue(
            encoder.model,
            tokenizer,
            self._items,
            batch_size=_ITEMS_AT_A_TIME,
            device=encoder.device,
            progress=self._context.progress,
        )
        item_ND = catalogue.by_tower[self._tower]
        encoder.model.eval()
        self._context.work.mkdir(parents=True, exist_ok=True)
        unfinished = self._context.work / "candidates.tmp"
        shape = num_steps, self._config.batch_size, self._config.hard_negative_depth
        candidate_SBC = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.int32, shape=shape)
        ahead = sampler.fork()
        for place in range(num_steps):
            batch = ahead.draw()
            candidate_SBC[place] = hardest_items(
                encoder.queries(batch).cpu().numpy(),
                item_ND,
                batch.item[batch.positive],
                depth=self._config.hard_negative_depth,
                margin=self._config.hard_negative_margin,
            )
            candidate_SBC[place][encoder.negatives.are_false(batch, candidate_SBC[place])] = NO_ITEM
            self._context.progress.update("mine", place + 1, num_steps)
        candidate_SBC.flush()
        unfinished.replace(self._path(step))


def choose(candidate_BC: np.ndarray, item_N: np.ndarray, num_wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Choose hard negatives for a batch: at random one of each pair, then a second of each, until there are enough.

    Args:
        candidate_BC: Candidates of each pair; ``NO_ITEM`` is none.
        item_N: Items of the batch, which are not chosen again.
        num_wanted: How many; fewer where there are not as many.
        rng: Random numbers.

    >>> choose(np.array([[3, -1], [3, 5], [7, -1]]), np.array([7]), 9, np.random.default_rng(0)).tolist()
    [3, 5]
    """
    # By a random key, empty places last, so that the first column holds a candidate of every pair that has any.
    key_BC = rng.random(candidate_BC.shape) + (candidate_BC == NO_ITEM)
    shuffled_BC = np.take_along_axis(candidate_BC, key_BC.argsort(axis=1), axis=1)
    in_turn = shuffled_BC[rng.permutation(len(shuffled_BC))].T.ravel()
    free = in_turn[(in_turn != NO_ITEM) & ~np.isin(in_turn, item_N)]
    _, first = np.unique(free, return_index=True)
    return free[np.sort(first)][:num_wanted].astype(np.int64)
