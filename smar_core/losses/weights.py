"""Weights of L_t, L_i and L_m that are learned with the towers instead of tuned (an extension of PAPER.md 8).

The paper tunes alpha, beta and gamma by grid search and asks for weights of each pair as future work. Here alpha, beta and
gamma are where the weights start, and a part whose weight is 0 stays out. Three ways:

- ``uncertainty``: one weight a part, exp(-s), for the loss exp(-s) * L + s.
- ``per_category``: a vector of weights for each top category of the pair's item.
- ``per_pair``: the weights are a function of the query embedding.

The last two are softmax weights that add up to alpha + beta + gamma for every pair. A weight that only multiplies its loss
moves to wherever the loss is least: all of it ends on the easiest part, and the hard parts, which need the training, vanish.
So the entropy of the weights is added to what is maximised, times ``loss.weight_entropy``. The best weights are then in
proportion to exp(-L / weight_entropy): a part that is harder by one ``weight_entropy`` has 1 / e of the weight. Large values
keep the weights equal, 0 lets them collapse. In ``uncertainty`` the term s has that office.

Cost: a softmax over B x K numbers a step. Left out: weights that look at the item's embedding or at gradients.
Shapes: B pairs, K parts, D embed_dim, C categories.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from smar_core.config import ItemTower, LossConfig
from smar_core.losses.pace import PACE

MAX_LOG_WEIGHT = 5.0
"""Bound of the logarithm of an ``uncertainty`` weight, either way: the weight of a loss of 0.007."""


class LearnedWeights(nn.Module, ABC):
    """Sums the losses of the parts by weights of its own.

    Args:
        start: First weight of each part, above 0; the order is that of K.
    """

    log_start_K: Tensor

    def __init__(self, start: Mapping[ItemTower, float]) -> None:
        super().__init__()
        self.register_buffer("log_start_K", torch.tensor(list(start.values())).log(), persistent=False)

    @abstractmethod
    def forward(self, losses_BK: Tensor, counts_BK: Tensor, query_BD: Tensor, item_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the total, and the mean weight of each part [K] without gradient.

        Args:
            losses_BK: Loss of each pair by each part; 0 where it does not count.
            counts_BK: False where the pair has no such loss: L_i of an item without a picture.
            query_BD: Query embeddings.
            item_B: Catalogue row of each pair's item, int64.
        """


class UncertaintyWeights(LearnedWeights):
    """One weight a part: the sum of exp(-s) * L + s over the parts, each L the mean over the pairs that count.

    At its best a weight is 1 / L, so the parts weigh alike however hard they are. The sum of the weights is not constant. The
    weight of a loss of 0, which a hinge reaches, would grow for ever: its logarithm stays within ``MAX_LOG_WEIGHT``.

    Source: Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics", CVPR 2018,
    equations 9 and 10, s = log sigma^2. Deviation: theirs adds s / 2 for cross-entropy. Adding s doubles every best weight, so
    it scales the loss as a whole.
    """

    def __init__(self, start: Mapping[ItemTower, float]) -> None:
        super().__init__(start)
        self.log_variance_by_pace_K = nn.Parameter(-self.log_start_K / PACE)

    def forward(self, losses_BK: Tensor, counts_BK: Tensor, query_BD: Tensor, item_B: Tensor) -> tuple[Tensor, Tensor]:
        """See ``LearnedWeights``; a part that counts for no pair of the batch is left out, its s as well."""
        with torch.no_grad():
            self.log_variance_by_pace_K.clamp_(-MAX_LOG_WEIGHT / PACE, MAX_LOG_WEIGHT / PACE)
        num_K = counts_BK.sum(dim=0)
        log_variance_K = PACE * self.log_variance_by_pace_K
        weight_K = (-log_variance_K).exp()
        terms_K = weight_K * losses_BK.sum(dim=0) / num_K.clamp_min(1) + log_variance_K
        return torch.where(num_K > 0, terms_K, 0.0).sum(), weight_K.detach()


class ConstantSumWeights(LearnedWeights, ABC):
    """Softmax weights of each pair, over the parts that count for it, times the sum of the first weights.

    A pair whose item has no picture shares the whole sum among L_t and L_m [C].

    Args:
        start: First weight of each part.
        entropy: Weight of the entropy, as a share of the sum.
    """

    def __init__(self, start: Mapping[ItemTower, float], entropy: float) -> None:
        super().__init__(start)
        self._sum, self._entropy = sum(start.values()), entropy

    @abstractmethod
    def logits(self, query_BD: Tensor, item_B: Tensor) -> Tensor:
        """Return the logits of the weights [B, K] or [1, K]."""

    def forward(self, losses_BK: Tensor, counts_BK: Tensor, query_BD: Tensor, item_B: Tensor) -> tuple[Tensor, Tensor]:
        """See ``LearnedWeights``."""
        log_share_BK = self.logits(query_BD, item_B).masked_fill(~counts_BK, -torch.inf).log_softmax(dim=1)
        share_BK = log_share_BK.exp()
        # 0 * log 0 is 0: the -inf must not meet the 0, in the gradient neither.
        entropy_B = -(share_BK * log_share_BK.masked_fill(~counts_BK, 0.0)).sum(dim=1)
        total = self._sum * ((share_BK * losses_BK).sum(dim=1) - self._entropy * entropy_B).mean()
        weight_K = self._sum * share_BK.detach().sum(dim=0) / counts_BK.sum(dim=0).clamp_min(1)
        return total, weight_K


class CategoryWeights(ConstantSumWeights):
    """A vector of weights for each top category of the pair's item.

    Args:
        start: First weight of each part.
        entropy: Weight of the entropy.
        category_N: Number of each catalogue item's category, int64, 0..C-1.
    """

    category_N: Tensor

    def __init__(self, start: Mapping[ItemTower, float], entropy: float, category_N: Tensor) -> None:
        super().__init__(start, entropy)
        self.register_buffer("category_N", category_N, persistent=False)
        self.offset_by_pace_CK = nn.Parameter(torch.zeros(int(category_N.max()) + 1, len(start)))

    def logits(self, query_BD: Tensor, item_B: Tensor) -> Tensor:
        """See ``ConstantSumWeights``."""
        return self.log_start_K + PACE * self.offset_by_pace_CK[self.category_N[item_B]]


class PairWeights(ConstantSumWeights):
    """Weights by a linear map of the query embedding; no gradient goes into the query tower, which has its own task.

    The map needs no ``PACE``: a logit is a sum over embed_dim parameters, which move together.

    Args:
        start: First weight of each part, for every query: the map starts at 0.
        entropy: Weight of the entropy.
        embed_dim: Length of a query embedding.
    """

    def __init__(self, start: Mapping[ItemTower, float], entropy: float, embed_dim: int) -> None:
        super().__init__(start, entropy)
        self.map = nn.Linear(embed_dim, len(start))
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def logits(self, query_BD: Tensor, item_B: Tensor) -> Tensor:
        """See ``ConstantSumWeights``."""
        out: Tensor = self.log_start_K + self.map(query_BD.detach())
        return out


def first_weights(loss: LossConfig) -> dict[ItemTower, float]:
    """Return alpha, beta and gamma by their towers, those above 0.

    >>> first_weights(LossConfig(beta=0.0))
    {'text': 1.0, 'multimodal': 1.0}
    """
    weights: dict[ItemTower, float] = {"text": loss.alpha, "image": loss.beta, "multimodal": loss.gamma}
    return {tower: weight for tower, weight in weights.items() if weight}


def build_weights(loss: LossConfig, *, embed_dim: int, category_N: Tensor) -> LearnedWeights | None:
    """Return the weights that ``loss.weights`` names; None for ``fixed``.

    Args:
        loss: Kind, first weights, entropy.
        embed_dim: Length of a query embedding.
        category_N: Number of each catalogue item's top category, int64.
    """
    start = first_weights(loss)
    if loss.weights == "uncertainty":
        return UncertaintyWeights(start)
    if loss.weights == "per_category":
        return CategoryWeights(start, loss.weight_entropy, category_N)
    if loss.weights == "per_pair":
        return PairWeights(start, loss.weight_entropy, embed_dim)
    return None
