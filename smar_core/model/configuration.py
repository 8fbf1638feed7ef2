"""The model's own configuration, saved beside its weights: all that encode, index and search must agree on."""

from typing import Any

from transformers import PreTrainedConfig


class SmarConfig(PreTrainedConfig):
    """Sizes of the towers (PAPER.md 1-7) and of their inputs.

    ``query_encoder``, ``text_encoder`` and ``image_encoder`` are None for a tower trained from scratch, else the whole config
    (as a dict with ``model_type``) of the ``AutoModel`` that the tower started from: its weights are saved with ours, so
    loading never asks for the original checkpoint again. ``matryoshka_dims`` are the lengths, below ``embed_dim``, to which an
    embedding may be cut: the last training's ``loss.matryoshka_dims``.

    The defaults are no recommendation (``smar_core.config`` has those). A value that equals its default is not written to
    config.json: another default would change what models saved before are.
    """

    model_type = "smar"

    def __init__(
        self,
        item_towers: tuple[str, ...] = ("text", "image", "multimodal"),
        fusion: str = "cross_attention",
        num_views: int = 1,
        vocab_size: int = 8000,
        hidden_size: int = 144,
        embed_dim: int = 144,
        num_heads: int = 12,
        feed_forward_size: int = 576,
        num_query_layers: int = 4,
        num_text_layers: int = 1,
        num_image_layers: int = 2,
        num_fusion_layers: int = 1,
        patch_size_px: int = 8,
        patch_stem: str = "linear",
        image_width_px: int = 48,
        image_height_px: int = 64,
        pixel_mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        pixel_std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        dropout: float = 0.1,
        max_query_tokens: int = 16,
        max_item_tokens: int = 40,
        matryoshka_dims: tuple[int, ...] = (),
        query_encoder: dict[str, Any] | None = None,
        text_encoder: dict[str, Any] | None = None,
        image_encoder: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.item_towers = list(item_towers)
        self.fusion = fusion
        self.num_views = num_views
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.feed_forward_size = feed_forward_size
        self.num_query_layers = num_query_layers
        self.num_text_layers = num_text_layers
        self.num_image_layers = num_image_layers
        self.num_fusion_layers = num_fusion_layers
        self.patch_size_px = patch_size_px
        self.patch_stem = patch_stem
        self.image_width_px = image_width_px
        self.image_height_px = image_height_px
        self.pixel_mean = list(pixel_mean)
        self.pixel_std = list(pixel_std)
        self.dropout = dropout
        self.max_query_tokens = max_query_tokens
        self.max_item_tokens = max_item_tokens
        self.matryoshka_dims = list(matryoshka_dims)
        self.query_encoder = query_encoder
        self.text_encoder = text_encoder
        self.image_encoder = image_encoder
        super().__init__(**kwargs)

    @property
    def has_image_fallback(self) -> bool:
        """Whether an item without a picture has a learned image embedding: where nothing else represents it (DPSR-i)."""
        return self.item_towers == ["image"]

    @property
    def num_patches(self) -> int:
        """Patches of one picture, for an image tower trained from scratch."""
        return (self.image_width_px // self.patch_size_px) * (self.image_height_px // self.patch_size_px)
