"""The two objectives: weights, items without a picture, the gate."""

import pytest
import torch
from torch.nn import functional as F

from smar_core.config import LossConfig
from smar_core.losses.objectives import BatchRelations, finetuning_loss, image_loss, pretraining_loss
from smar_core.model.modeling import ItemEmbeddings


@pytest.fixture
def batch() -> tuple[torch.Tensor, ItemEmbeddings, BatchRelations]:
    torch.manual_seed(0)
    query, text, image, multimodal = (F.normalize(torch.randn(4, 8), dim=-1) for _ in range(4))
    items = ItemEmbeddings(text, image, multimodal)
    relations = BatchRelations(torch.arange(4), torch.zeros(4, 4, dtype=torch.bool), torch.tensor([True, True, False, True]))
    return query, items, relations


def test_total_is_the_weighted_sum(batch: tuple) -> None:
    total, parts = pretraining_loss(*batch, LossConfig(alpha=0.5, beta=2.0, gamma=3.0))
    expected = 0.5 * parts["loss_text"] + 2.0 * parts["loss_image"] + 3.0 * parts["loss_multimodal"]
    assert torch.allclose(total, expected)


def test_weight_zero_leaves_the_part_out(batch: tuple) -> None:
    _, parts = pretraining_loss(*batch, LossConfig(beta=0.0))
    assert set(parts) == {"loss_text", "loss_multimodal"}


def test_item_without_picture_plays_no_part_in_the_image_loss(batch: tuple) -> None:
    query, items, relations = batch
    before = image_loss(query, items, relations, LossConfig())
    changed = items.image_ND.clone()
    changed[2] = -changed[2]
    assert torch.equal(
        before, image_loss(query, ItemEmbeddings(items.text_ND, changed, items.multimodal_ND), relations, LossConfig())
    )


def test_image_loss_is_zero_without_any_picture(batch: tuple) -> None:
    query, items, relations = batch
    none = BatchRelations(relations.positive_B, relations.excluded_BN, torch.zeros(4, dtype=torch.bool))
    assert image_loss(query, items, none, LossConfig()).item() == 0.0


def test_gate_weights_each_pair(batch: tuple) -> None:
    """P = 1 counts L_m and the least weight of L_t, P = 0 counts L_t alone."""
    query, items, relations = batch
    _, parts = finetuning_loss(query, items, relations, LossConfig(), torch.zeros(4), 0.1)
    closed, _ = finetuning_loss(query, items, relations, LossConfig(), torch.zeros(4), 0.1)
    opened, _ = finetuning_loss(query, items, relations, LossConfig(), torch.ones(4), 0.1)
    assert torch.allclose(closed, parts["loss_text"])
    assert torch.allclose(opened, parts["loss_multimodal"] + 0.1 * parts["loss_text"])
