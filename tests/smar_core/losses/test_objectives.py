"""The two objectives: weights, items without a picture, the gate."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from smar_core.config import LossConfig
from smar_core.losses.objectives import BatchRelations, FinetuningObjective, PretrainingObjective
from smar_core.model.modeling import ItemEmbeddings

Parts = tuple[Tensor, ItemEmbeddings, BatchRelations]


@pytest.fixture
def batch() -> Parts:
    torch.manual_seed(0)
    query, text, image, multimodal = (F.normalize(torch.randn(4, 8), dim=-1) for _ in range(4))
    relations = BatchRelations(
        torch.arange(4),
        torch.zeros(4, 4, dtype=torch.bool),
        torch.tensor([True, True, False, True]),
        torch.arange(4),
        torch.arange(4),
    )
    return query, {"text": text, "image": image, "multimodal": multimodal}, relations


def test_total_is_the_weighted_sum(batch: Parts) -> None:
    total, parts = PretrainingObjective(LossConfig(alpha=0.5, beta=2.0, gamma=3.0))(*batch)
    expected = 0.5 * parts["loss_text"] + 2.0 * parts["loss_image"] + 3.0 * parts["loss_multimodal"]
    assert torch.allclose(total, expected)


def test_weight_zero_leaves_the_part_out(batch: Parts) -> None:
    _, parts = PretrainingObjective(LossConfig(beta=0.0))(*batch)
    assert set(parts) == {"loss_text", "loss_multimodal"}


def test_item_without_picture_plays_no_part_in_the_image_loss(batch: Parts) -> None:
    query, items, relations = batch
    objective = PretrainingObjective(LossConfig(alpha=0.0, gamma=0.0))
    changed = items["image"].clone()
    changed[2] = -changed[2]
    assert torch.equal(objective(*batch)[0], objective(query, {**items, "image": changed}, relations)[0])


def test_image_loss_is_the_mean_over_pairs_with_a_picture(batch: Parts) -> None:
    query, items, _ = batch
    kept = torch.tensor([0, 1, 3])
    alone = BatchRelations(torch.arange(3), torch.zeros(3, 3, dtype=torch.bool), torch.ones(3, dtype=torch.bool), kept, kept)
    objective = PretrainingObjective(LossConfig(alpha=0.0, gamma=0.0))
    assert torch.allclose(objective(*batch)[0], objective(query[kept], {"image": items["image"][kept]}, alone)[0])


def test_image_loss_is_zero_without_any_picture(batch: Parts) -> None:
    query, items, relations = batch
    none = replace(relations, has_image_N=torch.zeros(4, dtype=torch.bool))
    assert PretrainingObjective(LossConfig())(query, items, none)[1]["loss_image"].item() == 0.0


def test_gate_weights_each_pair(batch: Parts) -> None:
    """P = 1 counts L_m and the least weight of L_t, P = 0 counts L_t alone."""
    both = ("text", "multimodal")
    closed, parts = FinetuningObjective(LossConfig(), both, torch.zeros(4), 0.1)(*batch)
    opened, _ = FinetuningObjective(LossConfig(), both, torch.ones(4), 0.1)(*batch)
    assert torch.allclose(closed, parts["loss_text"])
    assert torch.allclose(opened, parts["loss_multimodal"] + 0.1 * parts["loss_text"])


def test_gate_is_that_of_the_query(batch: Parts) -> None:
    """Pairs name rows of the true queries; another order of the pairs is the same loss."""
    query, items, relations = batch
    order = torch.tensor([2, 0, 3, 1])
    moved = replace(relations, positive_B=order, true_query_T=order, excluded_BN=relations.excluded_BN[order])
    objective = FinetuningObjective(LossConfig(), ("text", "multimodal"), torch.tensor([0.0, 0.2, 0.7, 1.0]), 0.1)
    assert torch.allclose(objective(*batch)[0], objective(query[order], items, moved)[0])


@pytest.mark.parametrize("tower", ["text", "image", "multimodal"])
def test_one_representation_is_trained_by_its_loss_alone(batch: Parts, tower: str) -> None:
    total, parts = FinetuningObjective(LossConfig(), (tower,), torch.zeros(4), 0.1)(*batch)
    _, expected = PretrainingObjective(LossConfig())(*batch)
    assert set(parts) == {f"loss_{tower}"}
    assert torch.equal(total, expected[f"loss_{tower}"])


def test_gate_on_items_is_that_of_the_pairs_item(batch: Parts) -> None:
    """P is looked up by the catalogue row of the pair's item: rows 6, 5, 3, 1 here, whatever its query is."""
    query, items, relations = batch
    moved = replace(
        relations,
        positive_B=torch.tensor([2, 0, 3, 1]),
        true_query_T=torch.tensor([3, 2, 1, 0]),
        item_N=torch.tensor([5, 1, 6, 3]),
    )
    gate_N = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    both = ("text", "multimodal")
    by_item, _ = FinetuningObjective(LossConfig(), both, gate_N, 0.1, gate_side="item")(query, items, moved)
    gate_Q = torch.tensor([0.1, 0.3, 0.5, 0.6])  # of queries 0 to 3, whose pairs are the last to the first
    by_query, _ = FinetuningObjective(LossConfig(), both, gate_Q, 0.1)(query, items, moved)
    assert torch.equal(by_item, by_query)
