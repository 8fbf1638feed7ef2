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
    temperature: float | Tensor,
    margin: float,
    log_q_N: Tensor | None = None,
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
        log_q_N: Log of the probability that an item is in a batch (info_nce), subtracted from its logits: the logQ
            correction of in-batch negatives, which else push popular items away for being there often.

    Source:
        logQ: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019. As there,
        the positive's logit is corrected too: given which items the batch holds, the odds that one of them is the clicked one
        are P(item | query) / q(item), so that the optimum is the log of P(item | query) up to a constant of the query. The
        other form (Khrylchenko et al., RecSys 2025) leaves the positive, which is there by design, as it is.
    """
    score_BN = query_BD @ item_ND.T
    positive_B1 = positive_B.unsqueeze(1)
    if kind == "info_nce":
        logits_BN = score_BN / temperature
        if log_q_N is not None:
            logits_BN = logits_BN - log_q_N
        logits_BN = logits_BN.masked_fill(excluded_BN.scatter(1, positive_B1, False), -torch.inf)
        return F.cross_entropy(logits_BN, positive_B, reduction="none")
    is_negative_BN = ~excluded_BN.scatter(1, positive_B1, True)
    violation_BN = F.relu(margin - score_BN.gather(1, positive_B1) + score_BN) * is_negative_BN
    return violation_BN.sum(dim=1) / is_negative_BN.sum(dim=1).clamp_min(1)
