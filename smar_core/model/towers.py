"""Query, item text, item image and item multimodal tower (PAPER.md 1-4).

Shapes: B queries, N items, V views of an item, L tokens, P patches of a view, E hidden_size, D embed_dim.
Any of the three encoders may instead start from a checkpoint (``CheckpointEncoder``); a linear map brings its states to E.
Query and item text towers trained from scratch share the token embedding [C]: with a vocabulary of thousands and few clicks,
most words are seen on one side only.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init

from smar_core.model.configuration import SmarConfig
from smar_core.model.layers import CrossAttentionLayer, Dropout, EmbeddingHead, SelfAttentionLayers, TokenEmbedding, masked_mean
from smar_core.model.packing import Packing
from smar_core.model.stem import ConvolutionalStem


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
        elif isinstance(module, ImageTower):
            for parameter in (module.position_PE, module.view_VE, module.missing_D):
                if parameter is not None:
                    init.normal_(parameter, std=0.02)


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


def _self_attention_layers(config: SmarConfig, num_layers: int) -> SelfAttentionLayers:
    return SelfAttentionLayers(num_layers, config.hidden_size, config.num_heads, config.feed_forward_size)


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
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim, config.dropout)
        self.post_init()

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Return the queries' embeddings [B, D], L2-normalised."""
        if self.checkpoint is not None:
            states_BLE = self.checkpoint(input_ids=ids_BL, attention_mask=mask_BL.long())
        else:
            assert self.embedding is not None and self.layers is not None
            states_BLE = self.layers(self.embedding(ids_BL), mask_BL)
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
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim, config.dropout)

    def forward(self, ids_NL: Tensor, mask_NL: Tensor, shared_embedding: TokenEmbedding | None) -> tuple[Tensor, Tensor]:
        """Return H_t [N, L, E] and S_t [N, D], the latter L2-normalised."""
        if self.checkpoint is not None:
            states_NLE = self.checkpoint(input_ids=ids_NL, attention_mask=mask_NL.long())
        else:
            assert self.layers is not None
            states_NLE = self.layers(self.embed(ids_NL, shared_embedding), mask_NL)
        return states_NLE, self.head(states_NLE, mask_NL)

    def embed(self, ids_NL: Tensor, shared_embedding: TokenEmbedding | None) -> Tensor:
        """Return the token embeddings [N, L, E] of a tower trained from scratch."""
        embedding = self.embedding if self.embedding is not None else shared_embedding
        assert embedding is not None
        out: Tensor = embedding(ids_NL)
        return out


def _patch_stem(config: SmarConfig) -> nn.Linear | ConvolutionalStem:
    if config.patch_stem == "convolution":
        return ConvolutionalStem(config.patch_size_px, config.hidden_size)
    return nn.Linear(3 * config.patch_size_px**2, config.hidden_size)


class ImageTower(nn.Module):
    """H_i and S_i(s): square patches through a transformer, each view by itself.

    Every view but the first has a learned embedding on its states, so that attention over the patches of all views can tell
    them apart and an item of one view is what it would be in a catalogue of single pictures.
    """

    def __init__(self, config: SmarConfig) -> None:
        super().__init__()
        self.patch_size_px = config.patch_size_px
        self.pixel_mean, self.pixel_std = config.pixel_mean, config.pixel_std
        is_fresh = not config.image_encoder
        self.checkpoint = CheckpointEncoder(config.image_encoder, config.hidden_size) if config.image_encoder else None
        self.patch = _patch_stem(config) if is_fresh else None
        self.position_PE = nn.Parameter(torch.empty(config.num_patches, config.hidden_size)) if is_fresh else None
        self.layers = _self_attention_layers(config, config.num_image_layers) if is_fresh else None
        self.view_VE = nn.Parameter(torch.empty(config.num_views - 1, config.hidden_size)) if config.num_views > 1 else None
        self.missing_D = nn.Parameter(torch.empty(config.embed_dim)) if config.has_image_fallback else None
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim, config.dropout)

    def forward(self, pixels_NVHWC: Tensor, has_view_NV: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Encode items that have at least one view.

        Args:
            pixels_NVHWC: uint8 RGB; places without a view may hold anything.
            has_view_NV: bool.

        Returns:
            H_i [N, V * P, E], its mask [N, V * P] (None when every view is there), and S_i [N, D], L2-normalised.
        """
        states_NPE, mask_NP = self._over_views(pixels_NVHWC, has_view_NV, self._encode)
        return states_NPE, mask_NP, self.head(states_NPE, mask_NP)

    def embed(self, pixels_NVHWC: Tensor, has_view_NV: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return patch embeddings [N, V * P, E] before any layer, of a tower trained from scratch, and their mask."""
        return self._over_views(pixels_NVHWC, has_view_NV, self._embed)

    def missing(self) -> Tensor:
        """Return the learned embedding [D] of an item without a picture, L2-normalised (DPSR-i)."""
        assert self.missing_D is not None
        return nn.functional.normalize(self.missing_D, dim=-1)

    def _over_views(
        self, pixels_NVHWC: Tensor, has_view_NV: Tensor, encode: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Encode the views that are there, and lay those of an item side by side."""
        num_items, num_views = has_view_NV.shape
        if bool(has_view_NV.all()):
            states_NVPE = encode(pixels_NVHWC.flatten(0, 1)).unflatten(0, (num_items, num_views))
            mask_NP = None
        else:
            states_KPE = encode(pixels_NVHWC[has_view_NV])
            states_NVPE = states_KPE.new_zeros(num_items, num_views, *states_KPE.shape[1:])
            states_NVPE[has_view_NV] = states_KPE
            mask_NP = has_view_NV.repeat_interleave(states_KPE.shape[1], dim=1)
        if num_views > 1:
            assert self.view_VE is not None
            states_NVPE = states_NVPE + nn.functional.pad(self.view_VE, (0, 0, 1, 0))[:num_views, None]
        return states_NVPE.flatten(1, 2), mask_NP

    def _encode(self, pixels_KHWC: Tensor) -> Tensor:
        """Return the states [K, P, E] of single pictures."""
        if self.checkpoint is not None:
            out: Tensor = self.checkpoint(pixel_values=self._scaled_picture(pixels_KHWC).contiguous())
            return out
        assert self.layers is not None
        states_KPE: Tensor = self.layers(self._embed(pixels_KHWC), None)
        return states_KPE

    def _embed(self, pixels_KHWC: Tensor) -> Tensor:
        assert self.patch is not None and self.position_PE is not None
        if isinstance(self.patch, ConvolutionalStem):
            out: Tensor = self.patch(self._scaled_picture(pixels_KHWC)) + self.position_PE
        else:
            out = self.patch(self.scale(to_patches(pixels_KHWC, self.patch_size_px))) + self.position_PE
        return out

    def _scaled_picture(self, pixels_KHWC: Tensor) -> Tensor:
        """Return the scaled pictures [K, 3, H, W], channels last in memory, which convolutions are fastest with."""
        return self.scale(pixels_KHWC.flatten(2)).view(pixels_KHWC.shape).permute(0, 3, 1, 2)

    def scale(self, pixels_KXF: Tensor) -> Tensor:
        """Return uint8 pixels, whose colours take turns along the last axis, as the numbers that the tower computes with.

        A row or a patch at a time: along an axis of three colours the same arithmetic takes four times as long.
        """
        num_turns = pixels_KXF.shape[-1] // len(self.pixel_mean)
        mean_F = torch.tensor(self.pixel_mean, device=pixels_KXF.device).repeat(num_turns)
        std_F = torch.tensor(self.pixel_std, device=pixels_KXF.device).repeat(num_turns)
        return torch.addcmul(-mean_F / std_F, pixels_KXF.float(), 1.0 / (255.0 * std_F))


class CrossAttentionTower(nn.Module):
    """S_m(s): cross-attention with H_t as query and H_i as key and value (PAPER.md 4)."""

    def __init__(self, config: SmarConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossAttentionLayer(config.hidden_size, config.num_heads, config.feed_forward_size)
            for _ in range(config.num_fusion_layers)
        )
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim, config.dropout)

    def forward(self, text_NLE: Tensor, text_mask_NL: Tensor, image_NPE: Tensor, image_mask_NP: Tensor | None) -> Tensor:
        """Return S_m [N, D], L2-normalised."""
        packing = Packing.of(text_NLE, text_mask_NL)
        text_TE, (image_SE, blocks) = packing.pack(text_NLE), packing.pack_context(image_NPE, image_mask_NP)
        for layer in self.layers:
            text_TE = layer(text_TE, image_SE, blocks)
        out: Tensor = self.head(packing.unpack(text_TE, text_NLE), text_mask_NL)
        return out


class PooledTower(nn.Module):
    """S_m(s) without cross-attention: the means of H_t and H_i joined and mixed by a feed-forward layer (SMAR-nc)."""

    def __init__(self, config: SmarConfig) -> None:
        super().__init__()
        self.text_norm = nn.LayerNorm(config.hidden_size)
        self.image_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = Dropout(config.dropout)
        self.inner = nn.Linear(2 * config.hidden_size, config.feed_forward_size)
        self.projection = nn.Linear(config.feed_forward_size, config.embed_dim)

    def forward(self, text_NLE: Tensor, text_mask_NL: Tensor, image_NPE: Tensor, image_mask_NP: Tensor | None) -> Tensor:
        """Return S_m [N, D], L2-normalised."""
        text_NE = masked_mean(self.text_norm(text_NLE), text_mask_NL)
        image_NE = masked_mean(self.image_norm(image_NPE), image_mask_NP)
        mixed_NF = nn.functional.gelu(self.inner(self.dropout(torch.cat([text_NE, image_NE], dim=-1))))
        return nn.functional.normalize(self.projection(mixed_NF).float(), dim=-1)


class ConcatenationTower(nn.Module):
    """S_m(s) by early concatenation: token and patch embeddings in one sequence through self-attention (SMAR-concat).

    It is as deep as the way of a patch through the image tower and the fusion of the other forms.
    """

    def __init__(self, config: SmarConfig) -> None:
        super().__init__()
        self.layers = _self_attention_layers(config, config.num_image_layers + config.num_fusion_layers)
        self.head = EmbeddingHead(config.hidden_size, config.embed_dim, config.dropout)

    def forward(self, text_NLE: Tensor, text_mask_NL: Tensor, image_NPE: Tensor, image_mask_NP: Tensor | None) -> Tensor:
        """Return S_m [N, D], L2-normalised, of embeddings that went through no layer yet."""
        if image_mask_NP is None:
            image_mask_NP = text_mask_NL.new_ones(image_NPE.shape[:2])
        states_NME, mask_NM = torch.cat([text_NLE, image_NPE], dim=1), torch.cat([text_mask_NL, image_mask_NP], dim=1)
        out: Tensor = self.head(self.layers(states_NME, mask_NM), mask_NM)
        return out


MultimodalTower = CrossAttentionTower | PooledTower | ConcatenationTower


def build_multimodal_tower(config: SmarConfig) -> MultimodalTower:
    """Return the tower that ``config.fusion`` names."""
    if config.fusion == "pooled":
        return PooledTower(config)
    if config.fusion == "early_concatenation":
        return ConcatenationTower(config)
    return CrossAttentionTower(config)


def to_patches(pixels_NHWC: Tensor, patch_size_px: int) -> Tensor:
    """Cut pictures into square patches, row by row: [N, H, W, C] -> [N, P, patch * patch * C].

    >>> to_patches(torch.arange(16.0).view(1, 4, 4, 1), 2)[0, 1].tolist()
    [2.0, 3.0, 6.0, 7.0]
    """
    num, height, width, channels = pixels_NHWC.shape
    size = patch_size_px
    grid = pixels_NHWC.view(num, height // size, size, width // size, size, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(num, -1, size * size * channels)
