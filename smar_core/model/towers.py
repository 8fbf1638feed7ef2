"""Query, item text, item image and item multimodal tower (PAPER.md 1-4).

Shapes: B queries, N items, L tokens, P patches, E hidden_size, D embed_dim.
Any of the three encoders may instead start from a checkpoint (``CheckpointEncoder``); a linear map brings its states to E.
Query and item text towers trained from scratch share the token embedding [C]: with a vocabulary of thousands and few clicks,
most words are seen on one side only.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init

from smar_core.model.configuration import SmarConfig
from smar_core.model.layers import CrossAttentionLayer, EmbeddingHead, SelfAttentionLayer, TokenEmbedding


class SmarPreTrainedModel(PreTrainedModel):
    """Base of the saved models: config class and how weights start."""

    config_class = SmarConfig
    base_model_prefix = "smar"

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, ImageTower) and module.position_PE is not None:
            init.normal_(module.position_PE, std=0.02)


class CheckpointEncoder(nn.Module):
    """An encoder of ``transformers`` with a linear map to the towers' width.

    Args:
        encoder_config: The encoder's config as a dict with ``model_type``.
        hidden_size: Width of the towers.
    """

    def __init__(self, encoder_config: dict[str, Any], hidden_size: int) -> None:
        super().__init__()
        values = dict(encoder_config)
        config = AutoConfig.for_model(values.pop("model_type"), **values)
        self.encoder = AutoModel.from_config(config)
        self.projection = nn.Linear(config.hidden_size, hidden_size)

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return the last hidden states [B, L, E]."""
        out: Tensor = self.projection(self.encoder(**inputs).last_hidden_state)
        return out


def _self_attention_layers(config: SmarConfig, num_layers: int) -> nn.ModuleList:
    return nn.ModuleList(
        SelfAttentionLayer(config.hidden_size, config.num_heads, config.feed_forward_size, config.dropout)
        for _ in range(num_layers)
    )


def _token_embedding(config: SmarConfig) -> TokenEmbedding:
    max_tokens = max(config.max_query_tokens, config.max_item_tokens)
    return TokenEmbedding(config.vocab_size, max_tokens, config.hidden_size, config.dropout)


class QueryTower(SmarPreTrainedModel):
    """Q(q): token embedding, transformer, mean, L2 norm. A model of its own, because search needs nothing else."""

    def __init__(self, config: SmarConfig) -> None:
        super().__init__(config)
        self.embedding = None if config.query_encoder else _token_embedding(config)
        self.layers = None if config.query_encoder else _self_attention_layers(config, config.num_query_layers)
        self.checkpoint = CheckpointEncoder(config.query_encoder, config.hidden_size) if config.query_encoder else None
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim)
        self.post_init()

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Return the queries' embeddings [B, D], L2-normalised."""
        if self.checkpoint is not None:
            states_BLE = self.checkpoint(input_ids=ids_BL, attention_mask=mask_BL.long())
        else:
            assert self.embedding is not None and self.layers is not None
            states_BLE = self.embedding(ids_BL)
            for layer in self.layers:
                states_BLE = layer(states_BLE, mask_BL)
        out: Tensor = self.head(states_BLE, mask_BL)
        return out


class ItemTextTower(nn.Module):
    """H_t and S_t(s): title, brand and category through one layer."""

    def __init__(self, config: SmarConfig) -> None:
        super().__init__()
        # From scratch beside a query tower from scratch: that tower's embedding is used (see forward).
        has_own_embedding = not config.text_encoder and bool(config.query_encoder)
        self.embedding = _token_embedding(config) if has_own_embedding else None
        self.layers = None if config.text_encoder else _self_attention_layers(config, config.num_text_layers)
        self.checkpoint = CheckpointEncoder(config.text_encoder, config.hidden_size) if config.text_encoder else None
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim)

    def forward(self, ids_NL: Tensor, mask_NL: Tensor, shared_embedding: TokenEmbedding | None) -> tuple[Tensor, Tensor]:
        """Return H_t [N, L, E] and S_t [N, D], the latter L2-normalised."""
        if self.checkpoint is not None:
            states_NLE = self.checkpoint(input_ids=ids_NL, attention_mask=mask_NL.long())
        else:
            embedding = self.embedding if self.embedding is not None else shared_embedding
            assert embedding is not None and self.layers is not None
            states_NLE = embedding(ids_NL)
            for layer in self.layers:
                states_NLE = layer(states_NLE, mask_NL)
        return states_NLE, self.head(states_NLE, mask_NL)


class ImageTower(nn.Module):
    """H_i and S_i(s): square patches through a transformer."""

    def __init__(self, config: SmarConfig) -> None:
        super().__init__()
        self.patch_size_px = config.patch_size_px
        self.pixel_mean, self.pixel_std = config.pixel_mean, config.pixel_std
        is_fresh = not config.image_encoder
        self.checkpoint = CheckpointEncoder(config.image_encoder, config.hidden_size) if config.image_encoder else None
        self.patch = nn.Linear(3 * config.patch_size_px**2, config.hidden_size) if is_fresh else None
        self.position_PE = nn.Parameter(torch.empty(config.num_patches, config.hidden_size)) if is_fresh else None
        self.layers = _self_attention_layers(config, config.num_image_layers) if is_fresh else None
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim)

    def forward(self, pixels_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Return H_i [N, P, E] and S_i [N, D] of uint8 RGB pictures [N, H, W, 3]; S_i is L2-normalised."""
        mean = torch.tensor(self.pixel_mean, device=pixels_NHWC.device)
        std = torch.tensor(self.pixel_std, device=pixels_NHWC.device)
        scaled_NHWC = (pixels_NHWC.float() / 255.0 - mean) / std
        if self.checkpoint is not None:
            states_NPE = self.checkpoint(pixel_values=scaled_NHWC.permute(0, 3, 1, 2).contiguous())
        else:
            assert self.patch is not None and self.layers is not None
            states_NPE = self.patch(to_patches(scaled_NHWC, self.patch_size_px)) + self.position_PE
            for layer in self.layers:
                states_NPE = layer(states_NPE, None)
        return states_NPE, self.head(states_NPE, None)


class MultimodalTower(nn.Module):
    """S_m(s): cross-attention with H_t as query and H_i as key and value."""

    def __init__(self, config: SmarConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossAttentionLayer(config.hidden_size, config.num_heads, config.feed_forward_size, config.dropout)
            for _ in range(config.num_fusion_layers)
        )
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim)

    def forward(self, text_NLE: Tensor, text_mask_NL: Tensor, image_NPE: Tensor) -> Tensor:
        """Return S_m [N, D], L2-normalised."""
        for layer in self.layers:
            text_NLE = layer(text_NLE, image_NPE)
        out: Tensor = self.head(text_NLE, text_mask_NL)
        return out


def to_patches(pixels_NHWC: Tensor, patch_size_px: int) -> Tensor:
    """Cut pictures into square patches, row by row: [N, H, W, C] -> [N, P, patch * patch * C].

    >>> to_patches(torch.arange(16.0).view(1, 4, 4, 1), 2)[0, 1].tolist()
    [2.0, 3.0, 6.0, 7.0]
    """
    num, height, width, channels = pixels_NHWC.shape
    size = patch_size_px
    grid = pixels_NHWC.view(num, height // size, size, width // size, size, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(num, -1, size * size * channels)
