"""The whole model: a query tower and the item towers of the configuration, behind ``encode_query`` and ``encode_items``.

Shapes: B queries, N items, V views, L tokens, H x W pixels, D embed_dim. Every embedding is float32 and L2-normalised, so a
dot product is the cosine (PAPER.md 6). A tower that ``item_towers`` does not name is not built.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from smar_core.config import ItemTower
from smar_core.model.configuration import SmarConfig
from smar_core.model.towers import ImageTower, ItemTextTower, QueryTower, SmarPreTrainedModel, build_multimodal_tower

__all__ = ["ItemEmbeddings", "QueryTower", "SmarModel"]

ItemEmbeddings = Mapping[ItemTower, Tensor]
"""What each item tower of the model says of N items [N, D].

Of an item without a picture ``multimodal`` is its ``text``, and ``image`` a zero row, or a learned embedding where the image
tower is the only one.
"""


class SmarModel(SmarPreTrainedModel):
    """Query tower and item towers."""

    def __init__(self, config: SmarConfig) -> None:
        super().__init__(config)
        towers = self.item_towers
        self.query_tower = QueryTower(config)
        self.text_tower = ItemTextTower(config) if "text" in towers else None
        self.image_tower = ImageTower(config) if "image" in towers else None
        self.multimodal_tower = build_multimodal_tower(config) if "multimodal" in towers else None
        self.post_init()

    @property
    def item_towers(self) -> tuple[ItemTower, ...]:
        """Towers that the model has."""
        return cast(tuple[ItemTower, ...], tuple(self.config.item_towers))

    def encode_query(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Return Q(q) [B, D]."""
        out: Tensor = self.query_tower(ids_BL, mask_BL)
        return out

    def encode_text(self, ids_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """Return S_t [N, D] alone; the model has a text tower."""
        assert self.text_tower is not None
        return self.text_tower(ids_NL, mask_NL, self.query_tower.embedding)[1]

    def encode_items(self, ids_NL: Tensor, mask_NL: Tensor, pixels_NVHWC: Tensor, has_view_NV: Tensor) -> ItemEmbeddings:
        """Encode items by every item tower of the model.

        Args:
            ids_NL: Token ids, int64.
            mask_NL: True where there is a token, bool.
            pixels_NVHWC: uint8 RGB; places without a view may hold anything.
            has_view_NV: Whether there is a picture, bool.
        """
        embeddings: dict[ItemTower, Tensor] = {}
        states_NLE = None
        if self.text_tower is not None:
            states_NLE, embeddings["text"] = self.text_tower(ids_NL, mask_NL, self.query_tower.embedding)
        if self.image_tower is None:
            return embeddings
        row_K = has_view_NV.any(dim=1).nonzero().squeeze(1)
        embeddings["image"] = self._without_picture(ids_NL, embeddings)
        if self.multimodal_tower is not None:
            embeddings["multimodal"] = embeddings["text"]
        if not len(row_K):
            return embeddings
        pixels_KVHWC, has_view_KV = pixels_NVHWC[row_K], has_view_NV[row_K]
        states_KPE, mask_KP, image_KD = self.image_tower(pixels_KVHWC, has_view_KV)
        embeddings["image"] = embeddings["image"].index_copy(0, row_K, image_KD)
        if self.multimodal_tower is not None:
            assert self.text_tower is not None and states_NLE is not None
            if self.config.fusion == "early_concatenation":
                states_NLE = self.text_tower.embed(ids_NL, self.query_tower.embedding)
                states_KPE, mask_KP = self.image_tower.embed(pixels_KVHWC, has_view_KV)
            multimodal_KD = self.multimodal_tower(states_NLE[row_K], mask_NL[row_K], states_KPE, mask_KP)
            embeddings["multimodal"] = embeddings["text"].index_copy(0, row_K, multimodal_KD)
        return embeddings

    def _without_picture(self, ids_NL: Tensor, embeddings: ItemEmbeddings) -> Tensor:
        """Return S_i [N, D] of items as if none had a picture."""
        assert self.image_tower is not None
        if self.config.has_image_fallback:
            return self.image_tower.missing().expand(len(ids_NL), -1)
        return (
            torch.zeros_like(embeddings["text"])
            if "text" in embeddings
            else torch.zeros(len(ids_NL), self.config.embed_dim, device=ids_NL.device)
        )
