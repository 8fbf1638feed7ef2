"""The objectives of the two training stages, as modules: what they learn themselves is trained and saved with the model.

Pre-training (PAPER.md 8): L = alpha * L_t + beta * L_i + gamma * L_m, each the mean over the batch.
Fine-tuning (PAPER.md 11): per pair max(1 - P, text_weight) * L_t + P * L_m, P without gradient; where one representation
answers every query, its loss alone.
Shapes: B pairs, N distinct items, D embed_dim.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smar_core.config import ItemTower, LossConfig
from smar_core.losses.contrastive import contrastive_loss
from smar_core.model.modeling import ItemEmbeddings


@dataclass(frozen=True)
class BatchRelations:
    """Which item belongs to which query of a batch.

    Attributes:
        positive_B: Row of each pair's item, int64.
        excluded_BN: True where an item may not serve as a negative.
        has_image_N: Whether the item has an image embedding.
        true_query_T: Rows of the true queries, which are the first T pairs, int64.
        item_N: Catalogue rows of the batch's items, int64.
    """

    positive_B: Tensor
    excluded_BN: Tensor
    has_image_N: Tensor
    true_query_T: Tensor
    item_N: Tensor


class Objective(nn.Module):
    """A loss over one batch of embeddings.

    Args:
        loss: Form of the contrastive loss, and weights.
    """

    def __init__(self, loss: LossConfig) -> None:
        super().__init__()
        self._loss = loss

    def pair_losses(self, tower: ItemTower, query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations) -> Tensor:
        """Return the loss of each pair [B] against one representation; 0 for L_i where the pair's item has no picture."""
        excluded_BN = relations.excluded_BN
        if tower == "image":
            excluded_BN = excluded_BN | ~relations.has_image_N
        losses_B = contrastive_loss(
            query_BD,
            items[tower],
            relations.positive_B,
            excluded_BN,
            kind=self._loss.kind,
            temperature=self._loss.temperature,
            margin=self._loss.margin,
        )
        if tower == "image":
            losses_B = torch.where(relations.has_image_N[relations.positive_B], losses_B, 0.0)
        return losses_B

    def mean_loss(self, tower: ItemTower, query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations) -> Tensor:
        """Return L_t, L_i or L_m: the mean over the pairs that count; 0 if there is none."""
        losses_B = self.pair_losses(tower, query_BD, items, relations)
        if tower != "image":
            return losses_B.mean()
        return losses_B.sum() / relations.has_image_N[relations.positive_B].sum().clamp_min(1)


class PretrainingObjective(Objective):
    """alpha * L_t + beta * L_i + gamma * L_m. A part of weight 0 is not computed."""

    def forward(self, query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its parts by the names they are logged under."""
        weights: dict[ItemTower, float] = {"text": self._loss.alpha, "image": self._loss.beta, "multimodal": self._loss.gamma}
        parts = {tower: self.mean_loss(tower, query_BD, items, relations) for tower, weight in weights.items() if weight}
        total = query_BD.new_zeros(())
        for tower, part in parts.items():
            total = total + weights[tower] * part
        return total, {f"loss_{tower}": part for tower, part in parts.items()}


class FinetuningObjective(Objective):
    """(1 - P) * L_t + P * L_m under a learned gate, else the loss of the one representation that answers.

    Args:
        loss: Form of the contrastive loss; alpha, beta and gamma play no part here.
        modalities: Representations that answer, as ``Gate.modalities``.
        gate_Q: P(q) of every true query, 0..1, without gradient; 0 or 1 for a hard gate.
        text_weight: Least weight of L_t under a learned gate.
    """

    gate_Q: Tensor

    def __init__(self, loss: LossConfig, modalities: tuple[ItemTower, ...], gate_Q: Tensor, text_weight: float) -> None:
        super().__init__(loss)
        self._modalities, self._text_weight = modalities, text_weight
        self.register_buffer("gate_Q", gate_Q, persistent=False)

    def forward(self, query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its parts by the names they are logged under; every pair is a true one."""
        if len(self._modalities) == 1:
            total = self.mean_loss(self._modalities[0], query_BD, items, relations)
            return total, {f"loss_{self._modalities[0]}": total}
        gate_B = self.gate_Q[relations.true_query_T]
        text_B = self.pair_losses("text", query_BD, items, relations)
        multimodal_B = self.pair_losses("multimodal", query_BD, items, relations)
        total = ((1.0 - gate_B).clamp_min(self._text_weight) * text_B + gate_B * multimodal_B).mean()
        return total, {"loss_text": text_B.mean(), "loss_multimodal": multimodal_B.mean()}
