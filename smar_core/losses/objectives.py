"""The objectives of the two training stages, as modules: what they learn themselves is trained with the model and resumed.

Search has no use for it, so of what is learned the finished model only records figures (``training.json``).

Pre-training (PAPER.md 8): L = alpha * L_t + beta * L_i + gamma * L_m, each the mean over the batch, or learned weights.
Fine-tuning (PAPER.md 11): per pair max(1 - P, text_weight) * L_t + P * L_m, P without gradient; where one representation
answers every query, its loss alone.
Every L may be the mean over the embeddings and their first dimensions (``loss.matryoshka_dims``), have a learned temperature
and be corrected for popularity.
Shapes: B pairs, N distinct items, K parts, D embed_dim.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smar_core.config import ItemTower, LossConfig
from smar_core.losses.contrastive import contrastive_loss
from smar_core.losses.temperature import LearnedTemperature
from smar_core.losses.weights import LearnedWeights, first_weights
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
        log_q_N: Log of the probability that an item of the catalogue is in a batch, for ``loss.popularity`` logq; else None.
    """

    log_q_N: Tensor | None

    def __init__(self, loss: LossConfig, log_q_N: Tensor | None = None) -> None:
        super().__init__()
        assert (log_q_N is not None) == (loss.popularity == "logq")
        self._loss = loss
        self.temperature = LearnedTemperature(loss.temperature) if loss.temperature_mode == "learned" else None
        self.register_buffer("log_q_N", log_q_N, persistent=False)

    def pair_losses(self, tower: ItemTower, query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations) -> Tensor:
        """Return the loss of each pair [B] against one representation; 0 for L_i where the pair's item has no picture."""
        excluded_BN = relations.excluded_BN
        if tower == "image":
            excluded_BN = excluded_BN | ~relations.has_image_N
        losses_B = self._contrast(query_BD, items[tower], excluded_BN, relations)
        for num_dims in self._loss.matryoshka_dims:
            losses_B = losses_B + self._contrast(
                truncate(query_BD, num_dims), truncate(items[tower], num_dims), excluded_BN, relations
            )
        losses_B = losses_B / (1 + len(self._loss.matryoshka_dims))
        return losses_B if tower != "image" else torch.where(_counts(tower, relations), losses_B, 0.0)

    def mean_loss(self, tower: ItemTower, query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations) -> Tensor:
        """Return L_t, L_i or L_m: the mean over the pairs that count; 0 if there is none."""
        return _mean(tower, self.pair_losses(tower, query_BD, items, relations), relations)

    def learned_figures(self) -> dict[str, Tensor]:
        """Return the learned temperature, if there is one, by the name it is logged under."""
        return {"temperature": self.temperature()} if self.temperature is not None else {}

    def _contrast(self, query_BD: Tensor, item_ND: Tensor, excluded_BN: Tensor, relations: BatchRelations) -> Tensor:
        return contrastive_loss(
            query_BD,
            item_ND,
            relations.positive_B,
            excluded_BN,
            kind=self._loss.kind,
            temperature=self._loss.temperature if self.temperature is None else self.temperature(),
            margin=self._loss.margin,
            log_q_N=None if self.log_q_N is None else self.log_q_N[relations.item_N],
        )


class PretrainingObjective(Objective):
    """alpha * L_t + beta * L_i + gamma * L_m, or learned weights in their place. A part of weight 0 is not computed.

    Args:
        loss: Form of the contrastive loss, and weights.
        weights: Learned weights, unless ``loss.weights`` is fixed.
        log_q_N: As for ``Objective``.
    """

    def __init__(self, loss: LossConfig, weights: LearnedWeights | None = None, log_q_N: Tensor | None = None) -> None:
        super().__init__(loss, log_q_N)
        assert (weights is not None) == (loss.weights != "fixed")
        self.weights = weights

    def forward(self, query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total, and its parts and what is learned by the names they are logged under."""
        fixed = first_weights(self._loss)
        losses = {tower: self.pair_losses(tower, query_BD, items, relations) for tower in fixed}
        means = {tower: _mean(tower, losses_B, relations) for tower, losses_B in losses.items()}
        figures = {f"loss_{tower}": mean for tower, mean in means.items()} | self.learned_figures()
        total = query_BD.new_zeros(())
        if self.weights is None:
            for tower, mean in means.items():
                total = total + fixed[tower] * mean
            return total, figures
        counts_BK = torch.stack([_counts(tower, relations) for tower in fixed], dim=1)
        item_B = relations.item_N[relations.positive_B]
        total, weight_K = self.weights(torch.stack(list(losses.values()), dim=1), counts_BK, query_BD, item_B)
        return total, figures | {f"weight_{tower}": weight for tower, weight in zip(fixed, weight_K, strict=True)}


class FinetuningObjective(Objective):
    """(1 - P) * L_t + P * L_m under a learned gate, else the loss of the one representation that answers.

    Args:
        loss: Form of the contrastive loss; alpha, beta, gamma and learned weights play no part here.
        towers: Item towers that answer, as ``Gate.towers``.
        gate_G: P of every true query, or of every item, 0..1, without gradient; 0 or 1 for a hard gate.
        text_weight: Least weight of L_t under a learned gate.
        log_q_N: As for ``Objective``.
        gate_side: Whether ``gate_G`` holds queries or items; the latter's P weighs the pairs whose positive they are.
    """

    gate_G: Tensor

    def __init__(
        self,
        loss: LossConfig,
        towers: tuple[ItemTower, ...],
        gate_G: Tensor,
        text_weight: float,
        log_q_N: Tensor | None = None,
        gate_side: Literal["query", "item"] = "query",
    ) -> None:
        super().__init__(loss, log_q_N)
        self._towers, self._text_weight, self._gate_side = towers, text_weight, gate_side
        self.register_buffer("gate_G", gate_G, persistent=False)

    def forward(self, query_BD: Tensor, items: ItemEmbeddings, relations: BatchRelations) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its parts by the names they are logged under; every pair is a true one."""
        if len(self._towers) == 1:
            total = self.mean_loss(self._towers[0], query_BD, items, relations)
            return total, {f"loss_{self._towers[0]}": total} | self.learned_figures()
        is_on_items = self._gate_side == "item"
        gate_B = self.gate_G[relations.item_N[relations.positive_B] if is_on_items else relations.true_query_T]
        text_B = self.pair_losses("text", query_BD, items, relations)
        multimodal_B = self.pair_losses("multimodal", query_BD, items, relations)
        total = ((1.0 - gate_B).clamp_min(self._text_weight) * text_B + gate_B * multimodal_B).mean()
        return total, {"loss_text": text_B.mean(), "loss_multimodal": multimodal_B.mean()} | self.learned_figures()


def truncate(embedding_ND: Tensor, num_dims: int) -> Tensor:
    """Return the first dimensions of embeddings [N, num_dims], L2-normalised again; a zero row stays zero.

    Source: Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022. There the losses of all sizes are added up; our
    mean keeps the size of the loss, and with it alpha, beta and gamma against weight_entropy.

    >>> truncate(torch.tensor([[0.6, 0.0, 0.8]]), 2).tolist()
    [[1.0, 0.0]]
    """
    return F.normalize(embedding_ND[:, :num_dims], dim=-1)


def _counts(tower: ItemTower, relations: BatchRelations) -> Tensor:
    """Return the pairs [B] that have a loss against a representation: all, but for ``image`` those with a picture."""
    has_image_B = relations.has_image_N[relations.positive_B]
    return has_image_B if tower == "image" else torch.ones_like(has_image_B)


def _mean(tower: ItemTower, losses_B: Tensor, relations: BatchRelations) -> Tensor:
    return losses_B.sum() / _counts(tower, relations).sum().clamp_min(1)
