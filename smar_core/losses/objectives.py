"""The objectives of the two training stages.

Pre-training (PAPER.md 8): L = alpha * L_t + beta * L_i + gamma * L_m, each the mean over the batch.
Fine-tuning (PAPER.md 11): per pair max(1 - P, text_weight) * L_t + P * L_m, P without gradient.
Shapes: B pairs, N distinct items, D embed_dim.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smar_core.config import LossConfig
from smar_core.losses.contrastive import contrastive_loss
from smar_core.model.modeling import ItemEmbeddings


@dataclass(frozen=True)
class BatchRelations:
    """Which item belongs to which query of a batch.

    Attributes:
        positive_B: Row of each pair's item, int64.
        excluded_BN: True where an item may not serve as a negative.
        has_image_N: Whether the item has a picture.
    """

    positive_B: Tensor
    excluded_BN: Tensor
    has_image_N: Tensor


def text_losses(query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations, loss: LossConfig) -> Tensor:
    """L_t of each pair [B]: query against S_t."""
    return _pair_losses(query_BD, items.text_ND, relations.positive_B, relations.excluded_BN, loss)


def multimodal_losses(query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations, loss: LossConfig) -> Tensor:
    """L_m of each pair [B]: query against S_m, which is S_t for an item without a picture."""
    return _pair_losses(query_BD, items.multimodal_ND, relations.positive_B, relations.excluded_BN, loss)


def image_loss(query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations, loss: LossConfig) -> Tensor:
    """L_i, the mean over pairs whose item has a picture; items without one are no negatives either. 0 if there is none."""
    has_image_B = relations.has_image_N[relations.positive_B]
    excluded_BN = relations.excluded_BN | ~relations.has_image_N
    losses_B = _pair_losses(query_BD, items.image_ND, relations.positive_B, excluded_BN, loss)
    return torch.where(has_image_B, losses_B, 0.0).sum() / has_image_B.sum().clamp_min(1)


def pretraining_loss(
    query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations, loss: LossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the total and its parts by the names they are logged under. A part of weight 0 is not computed."""
    parts: dict[str, Tensor] = {}
    total = query_BD.new_zeros(())
    if loss.alpha:
        parts["loss_text"] = text_losses(query_BD, items, relations, loss).mean()
        total = total + loss.alpha * parts["loss_text"]
    if loss.beta:
        parts["loss_image"] = image_loss(query_BD, items, relations, loss)
        total = total + loss.beta * parts["loss_image"]
    if loss.gamma:
        parts["loss_multimodal"] = multimodal_losses(query_BD, items, relations, loss).mean()
        total = total + loss.gamma * parts["loss_multimodal"]
    return total, parts


def finetuning_loss(
    query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations, loss: LossConfig, gate_B: Tensor, text_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the total and its parts.

    Args:
        query_BD: Query embeddings.
        items: The batch's items.
        relations: Positives and exclusions.
        loss: Form of the contrastive loss; alpha, beta and gamma play no part here.
        gate_B: P(q) of each pair, 0..1, without gradient; 0 or 1 for a hard gate.
        text_weight: Least weight of L_t.
    """
    text_B = text_losses(query_BD, items, relations, loss)
    multimodal_B = multimodal_losses(query_BD, items, relations, loss)
    total = ((1.0 - gate_B).clamp_min(text_weight) * text_B + gate_B * multimodal_B).mean()
    return total, {"loss_text": text_B.mean(), "loss_multimodal": multimodal_B.mean()}


def _pair_losses(query_BD: Tensor, item_ND: Tensor, positive_B: Tensor, excluded_BN: Tensor, loss: LossConfig) -> Tensor:
    return contrastive_loss(
        query_BD, item_ND, positive_B, excluded_BN, kind=loss.kind, temperature=loss.temperature, margin=loss.margin
    )
