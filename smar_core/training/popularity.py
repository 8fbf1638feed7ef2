"""How likely each item is to be in a batch, from the sampler's rule: what the logQ correction subtracts.

In-batch negatives are drawn by how often an item is clicked, not evenly, so an often clicked item is pushed away more than its
share. Worked out once, from counts, instead of estimated while training goes on (Yi et al. 2019): the sampler is ours, so
its rule is known. Two simplifications: the groups of an item fall into a batch independently, and the synthetic queries that
top up a true item's group are taken at their mean. Against counted batches see ``tests/smar_core/training/test_popularity.py``.
Left out: negatives that are mined instead of drawn, which the config therefore refuses beside it.

Shapes: N items of the catalogue.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smar_core.config import LossConfig, OptimiserConfig
from smar_core.training.pairs import SyntheticPairs, TrainingData, TruePairs
from smar_core.training.sampler import PairSampler


def popularity_correction(loss: LossConfig, data: TrainingData, sampler: PairSampler, config: OptimiserConfig) -> Tensor | None:
    """Return what ``loss.popularity`` subtracts from the logits of each catalogue item [N]; None for nothing."""
    if loss.popularity == "none":
        return None
    log_q_N = log_inclusion(
        data.true,
        data.synthetic,
        num_true_a_batch=sampler.num_true_a_batch,
        num_synthetic_a_batch=sampler.num_synthetic_a_batch,
        max_top_up_a_batch=sampler.max_top_up_a_batch,
        queries_per_item=config.queries_per_item,
    )
    return torch.from_numpy(log_q_N)


def log_inclusion(
    true: TruePairs,
    synthetic: SyntheticPairs,
    *,
    num_true_a_batch: int,
    num_synthetic_a_batch: int,
    max_top_up_a_batch: int,
    queries_per_item: int,
) -> NDArray[np.float32]:
    """Return the log of each item's probability to be in a batch [N].

    A batch is a window of T pairs in a shuffled row of P true pairs, in groups of an item: a group of g pairs is touched by it
    with probability (T + g - 1) / P, by an empty one (T = 0) with none. The synthetic pairs that do not top up those groups go
    to items in turn. An item of which no pair is drawn is in no batch; it is given the least probability of the others.

    Args:
        true, synthetic: The pairs.
        num_true_a_batch, num_synthetic_a_batch: As ``PairSampler`` has them.
        queries_per_item: Most pairs of an item in a group.
    """
    num_true_N = np.bincount(true.item, minlength=len(synthetic.first) - 1)
    num_synthetic_N = np.diff(synthetic.first)
    rest_N = num_true_N % queries_per_item

    def touched(group_size: int | NDArray[np.int64]) -> NDArray[np.float64]:
        num_places = (num_true_a_batch + np.asarray(group_size) - 1) * (num_true_a_batch > 0)
        return np.minimum(1.0, num_places / len(true.item))

    absent_N = (1 - touched(queries_per_item)) ** (num_true_N // queries_per_item) * np.where(rest_N, 1 - touched(rest_N), 1.0)
    has_synthetic_N = num_synthetic_N > 0
    if num_synthetic_a_batch and has_synthetic_N.any():
        top_up_N = np.where(rest_N, np.minimum(queries_per_item - rest_N, num_synthetic_N), 0)
        num_top_up = min(max_top_up_a_batch, min(1.0, num_true_a_batch / len(true.item)) * top_up_N.sum())
        queries_a_turn = np.minimum(queries_per_item, num_synthetic_N[has_synthetic_N]).mean()
        num_turns = (num_synthetic_a_batch - num_top_up) / queries_a_turn
        absent_N = absent_N * np.where(has_synthetic_N, 1 - min(1.0, num_turns / has_synthetic_N.sum()), 1.0)
    present_N = 1 - absent_N
    return np.log(np.where(present_N > 0, present_N, present_N[present_N > 0].min())).astype(np.float32)
