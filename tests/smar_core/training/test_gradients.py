"""Chunked training against the full batch: the loss and the gradient of every parameter."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smar_core.config import LossConfig
from smar_core.losses.objectives import FinetuningObjective, Objective, PretrainingObjective
from smar_core.model.modeling import ItemEmbeddings, SmarModel
from smar_core.training.gradients import BatchGradients
from smar_core.training.sampler import Batch

FUSIONS = ("cross_attention", "pooled", "early_concatenation")


class _Scaled(PretrainingObjective):
    """An objective with a parameter of its own."""

    def __init__(self, loss: LossConfig) -> None:
        super().__init__(loss)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, query_BD: Tensor, items: ItemEmbeddings, relations: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(query_BD * self.scale, items, relations)


def _gradients(
    workbench: Any, batch: Batch, model: SmarModel, objective: Objective, chunk_size: int | None, seed: int = 5
) -> tuple[float, dict[str, Tensor | None]]:
    model.zero_grad(set_to_none=True)
    objective.zero_grad(set_to_none=True)
    loss, _ = BatchGradients(workbench.encoder(model.train()), objective, chunk_size)(batch, seed)
    parameters = [*model.named_parameters(), *objective.named_parameters()]
    return float(loss), {name: None if p.grad is None else p.grad.clone() for name, p in parameters}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("config", [LossConfig(), LossConfig(kind="hinge", margin=0.5)], ids=["info_nce", "hinge"])
@pytest.mark.parametrize("chunk_size", [1, 3, 7])
def test_chunks_equal_the_full_batch(
    workbench, batch, assert_same_gradients, fusion: str, config: LossConfig, chunk_size: int
) -> None:
    """Chunks of one item without a picture are among them, and an objective that learns a parameter."""
    model, objective = workbench.model(fusion=fusion), _Scaled(config)
    whole, whole_gradients = _gradients(workbench, batch, model, objective, None)
    loss, gradients = _gradients(workbench, batch, model, objective, chunk_size)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert_same_gradients(whole_gradients, gradients)
    assert whole_gradients["scale"] is not None


def test_what_plays_no_part_has_no_gradient_in_chunks_either(workbench, batch, assert_same_gradients) -> None:
    """Else weight decay would move it."""
    model, objective = workbench.model(), PretrainingObjective(LossConfig(beta=0.0, gamma=0.0))
    model.query_tower.requires_grad_(False)
    _, whole = _gradients(workbench, batch, model, objective, None)
    _, chunked = _gradients(workbench, batch, model, objective, 2)
    assert_same_gradients(whole, chunked)
    assert chunked["image_tower.head.projection.weight"] is None


def test_chunks_equal_the_full_batch_with_a_convolutional_stem(workbench, batch, assert_same_gradients) -> None:
    model, objective = workbench.model(patch_stem="convolution"), PretrainingObjective(LossConfig())
    whole, whole_gradients = _gradients(workbench, batch, model, objective, None)
    loss, gradients = _gradients(workbench, batch, model, objective, 3)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert_same_gradients(whole_gradients, gradients)


def test_single_tower_with_a_fallback(workbench, batch, assert_same_gradients) -> None:
    """DPSR-i: an item without a picture is a learned embedding."""
    model, objective = workbench.model(item_towers=("image",)), PretrainingObjective(LossConfig(alpha=0.0, gamma=0.0))
    _, whole = _gradients(workbench, batch, model, objective, None)
    _, chunked = _gradients(workbench, batch, model, objective, 2)
    assert_same_gradients(whole, chunked)
    assert chunked["image_tower.missing_D"] is not None


def test_finetuning_in_chunks(workbench, batch, assert_same_gradients) -> None:
    true = batch.true_query, np.empty(0, dtype=np.int64), *np.unique(workbench.data.true.item, return_inverse=True)
    model, gate_Q = workbench.model(), torch.tensor([0.1, 0.9, 0.4])
    objective = FinetuningObjective(LossConfig(), ("text", "multimodal"), gate_Q, 0.1)
    whole, whole_gradients = _gradients(workbench, Batch(*true), model, objective, None)
    loss, gradients = _gradients(workbench, Batch(*true), model, objective, 2)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert_same_gradients(whole_gradients, gradients)


def test_dropout_is_the_same_in_both_passes(workbench, batch) -> None:
    """The gradient of a chunk is that of the loss that was computed: checked by a step of finite length along it."""
    model, objective = workbench.model(dropout=0.3), PretrainingObjective(LossConfig(temperature=0.5))
    loss, gradients = _gradients(workbench, batch, model, objective, 2)
    length = torch.stack([g.norm() for g in gradients.values() if g is not None]).norm()
    step = 1e-3
    losses = {}
    for sign in (1, -1):
        other = workbench.model(dropout=0.3)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                if gradients[name] is not None:
                    parameter.add_(gradients[name], alpha=sign * step / float(length))
        losses[sign], _ = _gradients(workbench, batch, other, objective, 2)
    assert (losses[1] - losses[-1]) / (2 * step) == pytest.approx(float(length), rel=0.02)
    assert _gradients(workbench, batch, model, objective, 2)[0] == loss
    assert _gradients(workbench, batch, model, objective, 2, seed=6)[0] != loss


def test_repeated_items_change_nothing(workbench, batch, assert_same_gradients) -> None:
    """An item that serves several pairs is encoded once, and gives each of them the loss that it has alone."""
    twice = np.r_[[0], np.arange(batch.num_pairs), [batch.num_pairs - 1]]  # the first true pair and the last synthetic one
    grouped = Batch(
        np.r_[batch.true_query[:1], batch.true_query],
        np.r_[batch.synthetic_query, batch.synthetic_query[-1:]],
        batch.item,
        batch.positive[twice],
    )
    # L_i is a mean over fewer pairs, those with a picture.
    model, objective = workbench.model(), PretrainingObjective(LossConfig(beta=0.0))
    whole, whole_gradients = _gradients(workbench, grouped, model, objective, None)
    alone = [_gradients(workbench, grouped.pairs(slice(n, n + 1)), model, objective, None) for n in range(grouped.num_pairs)]
    assert whole == pytest.approx(np.mean([loss for loss, _ in alone]), rel=1e-5)
    mean = {
        name: None if gradient is None else torch.stack([of[name] for _, of in alone]).mean(0)
        for name, gradient in whole_gradients.items()
    }
    assert_same_gradients(whole_gradients, mean)


def test_order_of_the_pairs_changes_nothing(workbench, batch, assert_same_gradients) -> None:
    """Nor does the order of the items."""
    pair, item = (
        np.random.default_rng(0).permutation(len(batch.true_query)),
        np.random.default_rng(1).permutation(len(batch.item)),
    )
    place = np.argsort(item)[batch.positive]
    num_true = len(batch.true_query)
    other = Batch(
        batch.true_query[pair], batch.synthetic_query[::-1].copy(), batch.item[item], np.r_[place[pair], place[num_true:][::-1]]
    )
    model, objective = workbench.model(), PretrainingObjective(LossConfig())
    whole, whole_gradients = _gradients(workbench, batch, model, objective, None)
    loss, gradients = _gradients(workbench, other, model, objective, None)
    assert loss == pytest.approx(whole, rel=1e-5)
    assert_same_gradients(whole_gradients, gradients)
