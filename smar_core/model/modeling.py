"""The whole model: four towers behind two methods, ``encode_query`` and ``encode_items``.

Shapes: B queries, N items, L tokens, H x W pixels, D embed_dim. Every embedding is float32 and L2-normalised, so a dot product
is the cosine (PAPER.md 6).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smar_core.model.configuration import SmarConfig
from smar_core.model.towers import ImageTower, ItemTextTower, MultimodalTower, QueryTower, SmarPreTrainedModel

__all__ = ["ItemEmbeddings", "QueryTower", "SmarModel"]


@dataclass(frozen=True)
class ItemEmbeddings:
    """What the item towers say of N items.

    Attributes:
        text_ND: S_t.
        image_ND: S_i; zero rows for items without a picture.
        multimodal_ND: S_m; equal to S_t for items without a picture.
    """

    text_ND: Tensor
    image_ND: Tensor
    multimodal_ND: Tensor


class SmarModel(SmarPreTrainedModel):
    """Query tower and the three item towers."""

    def __init__(self, config: SmarConfig) -> None:
        super().__init__(config)
        self.query_tower = QueryTower(config)
        self.text_tower = ItemTextTower(config)
        self.image_tower = ImageTower(config)
        self.multimodal_tower = MultimodalTower(config)
        self.post_init()

    def encode_query(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Return Q(q) [B, D]."""
        out: Tensor = self.query_tower(ids_BL, mask_BL)
        return out

    def encode_items(self, ids_NL: Tensor, mask_NL: Tensor, pixels_NHWC: Tensor, has_image_N: Tensor) -> ItemEmbeddings:
        """Encode items by all three towers.

        Args:
            ids_NL: Token ids, int64.
            mask_NL: True where there is a token, bool.
            pixels_NHWC: uint8 RGB; rows of items without a picture may hold anything.
            has_image_N: Whether the item has a picture, bool.
        """
        states_NLE, text_ND = self.text_tower(ids_NL, mask_NL, self.query_tower.embedding)
        if not bool(has_image_N.any()):
            return ItemEmbeddings(text_ND, torch.zeros_like(text_ND), text_ND)
        image_NPE, image_ND = self.image_tower(pixels_NHWC)
        multimodal_ND = self.multimodal_tower(states_NLE, mask_NL, image_NPE)
        has_image_N1 = has_image_N.unsqueeze(-1)
        return ItemEmbeddings(
            text_ND,
            torch.where(has_image_N1, image_ND, torch.zeros_like(image_ND)),
            torch.where(has_image_N1, multimodal_ND, text_ND),
        )
