"""Transformer layers of the towers: pre-norm, GELU, attention by ``scaled_dot_product_attention``.

Shapes: B sequences, L tokens (or patches) that ask, M tokens that are asked, T and S all those of a batch laid side by side
without padding, E hidden_size, D embed_dim.
Written out rather than taken from ``torch.nn.Transformer*`` because the multimodal tower needs a layer that attends to
another sequence only (no self-attention before it), and one definition should serve all four towers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smar_core.model.packing import Block, Packing


class Attention(nn.Module):
    """Multi-head attention of one sequence to another (or to itself)."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, x_TE: Tensor, context_SE: Tensor, blocks: Sequence[Block]) -> Tensor:
        """Attend from x to context, block by block. Returns [T, E].

        Args:
            x_TE: Places that ask, the blocks one after the other.
            context_SE: Places that are asked, likewise.
            blocks: Which belong together.
        """
        query_TE, key_value_SE = self.query(x_TE), self.key_value(context_SE)
        parts = zip(
            blocks,
            query_TE.split([block.num_rows * block.length for block in blocks]),
            key_value_SE.split([block.num_rows * block.context_length for block in blocks]),
            strict=True,
        )
        mixed = [self._attend(*part) for part in parts]
        out: Tensor = self.output(mixed[0] if len(mixed) == 1 else torch.cat(mixed))
        return out

    def _attend(self, block: Block, query_TE: Tensor, key_value_SE: Tensor) -> Tensor:
        width = query_TE.shape[-1]
        head_size = width // self.num_heads
        query = query_TE.view(block.num_rows, block.length, self.num_heads, head_size)
        key, value = key_value_SE.view(block.num_rows, block.context_length, 2, self.num_heads, head_size).unbind(2)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=None if block.context_mask_BM is None else block.context_mask_BM[:, None, None, :],
        )
        return mixed.transpose(1, 2).reshape(-1, width)


class FeedForward(nn.Sequential):
    """Position-wise part of a layer."""

    def __init__(self, hidden_size: int, inner_size: int) -> None:
        super().__init__(nn.Linear(hidden_size, inner_size), nn.GELU(), nn.Linear(inner_size, hidden_size))


class SelfAttentionLayer(nn.Module):
    """One layer of a query, text or image tower."""

    def __init__(self, hidden_size: int, num_heads: int, inner_size: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = Attention(hidden_size, num_heads)
        self.feed_forward_norm = nn.LayerNorm(hidden_size)
        self.feed_forward = FeedForward(hidden_size, inner_size)

    def forward(self, x_TE: Tensor, blocks: Sequence[Block]) -> Tensor:
        """Return the states [T, E] of packed sequences."""
        normed_TE = self.attention_norm(x_TE)
        x_TE = x_TE + self.attention(normed_TE, normed_TE, blocks)
        out: Tensor = x_TE + self.feed_forward(self.feed_forward_norm(x_TE))
        return out


class SelfAttentionLayers(nn.ModuleList):
    """The layers of a tower, on sequences that are packed before the first and unpacked after the last."""

    def __init__(self, num_layers: int, hidden_size: int, num_heads: int, inner_size: int) -> None:
        super().__init__(SelfAttentionLayer(hidden_size, num_heads, inner_size) for _ in range(num_layers))

    def forward(self, x_BLE: Tensor, mask_BL: Tensor | None) -> Tensor:
        """Return [B, L, E]; False in the mask hides padding, whose states mean nothing."""
        packing = Packing.of(x_BLE, mask_BL)
        x_TE = packing.pack(x_BLE)
        for layer in self:
            x_TE = layer(x_TE, packing.blocks)
        return packing.unpack(x_TE, x_BLE)


class CrossAttentionLayer(nn.Module):
    """One layer of the multimodal tower: text places ask, image patches answer (PAPER.md 4)."""

    def __init__(self, hidden_size: int, num_heads: int, inner_size: int) -> None:
        super().__init__()
        self.text_norm = nn.LayerNorm(hidden_size)
        self.image_norm = nn.LayerNorm(hidden_size)
        self.attention = Attention(hidden_size, num_heads)
        self.feed_forward_norm = nn.LayerNorm(hidden_size)
        self.feed_forward = FeedForward(hidden_size, inner_size)

    def forward(self, text_TE: Tensor, image_SE: Tensor, blocks: Sequence[Block]) -> Tensor:
        """Return packed text states [T, E], each with what it took from the patches of its item."""
        text_TE = text_TE + self.attention(self.text_norm(text_TE), self.image_norm(image_SE), blocks)
        out: Tensor = text_TE + self.feed_forward(self.feed_forward_norm(text_TE))
        return out


class Dropout(nn.Dropout):
    """Dropout at the two ends of a tower, none within its layers.

    There it would need random numbers for every state of every layer: 16% of a step on a CPU, and no more recall (docs/LOG.md).
    A class of its own, so that ``set_dropout`` leaves a checkpoint's alone.
    """


def set_dropout(module: nn.Module, dropout: float) -> None:
    """Set the share that the towers of a model drop."""
    for part in module.modules():
        if isinstance(part, Dropout):
            part.p = dropout


class TokenEmbedding(nn.Module):
    """Token plus position embedding."""

    def __init__(self, vocab_size: int, max_tokens: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, hidden_size)
        self.position = nn.Embedding(max_tokens, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Return [B, L, E]."""
        places_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        out: Tensor = self.dropout(self.norm(self.token(ids_BL) + self.position(places_L)))
        return out


class EmbeddingHead(nn.Module):
    """Mean over the places that count, a linear map, L2 norm (PAPER.md 6; mean pooling is our choice [C])."""

    def __init__(self, hidden_size: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)
        self.projection = nn.Linear(hidden_size, embed_dim)

    def forward(self, states_BLE: Tensor, mask_BL: Tensor | None) -> Tensor:
        """Return [B, D], float32, of length 1."""
        pooled_BE = self.dropout(masked_mean(self.norm(states_BLE), mask_BL))
        return F.normalize(self.projection(pooled_BE).float(), dim=-1)


def masked_mean(x_BLE: Tensor, mask_BL: Tensor | None) -> Tensor:
    """Mean over L of the places whose mask is True (all when None); [B, E]."""
    if mask_BL is None:
        return x_BLE.mean(dim=1)
    weight_BL1 = mask_BL.unsqueeze(-1).to(x_BLE.dtype)
    return (x_BLE * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1).clamp_min(1.0)
