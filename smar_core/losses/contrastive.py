"""In-batch contrastive losses of one query tower against one item tower: pure tensor functions (PAPER.md 9).

Shapes: B pairs (one query each), N distinct items of the batch, D embed_dim. Rows of both sides are L2-normalised, so
``query_BD @ item_ND.T`` is the cosine. The direction is query to item [C]: that is what search ranks.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

LossKind = Literal["info_nce", "hinge"]


def contrastive_loss(
    query_BD: Tensor,
    item_ND: Tensor,
    positive_B: Tensor,
    excluded_BN: Tensor,
    *,
    kind: LossKind,
    temperature: float,
    margin: float,
) -> Tensor:
    """Return each pair's loss [B].

    Args:
        query_BD: Query embeddings.
        item_ND: Item embeddings, one row a distinct item.
        positive_B: Row of each pair's item, int64.
        excluded_BN: True where an item may not serve as a negative of a query; ignored at the positive itself.
        kind: ``info_nce``: cross-entropy over the items; ``hinge``: mean over the negatives of
            max(0, margin - s(positive) + s(negative)), the form DPSR uses.
        temperature: Divides the cosine (info_nce).
        margin: Margin of the cosine (hinge).
    """
    score_BN = query_BD @ item_ND.T
    is_positive_BN = F.one_hot(positive_B, item_ND.shape[0]).bool()
    is_negative_BN = ~(excluded_BN | is_positive_BN)
    if kind == "info_nce":
        logits_BN = (score_BN / temperature).masked_fill(~(is_negative_BN | is_positive_BN), -torch.inf)
        return F.cross_entropy(logits_BN, positive_B, reduction="none")
    positive_score_B1 = score_BN.gather(1, positive_B.unsqueeze(1))
    violation_BN = F.relu(margin - positive_score_B1 + score_BN) * is_negative_BN
    return violation_BN.sum(dim=1) / is_negative_BN.sum(dim=1).clamp_min(1)
