"""Sections of the model, its losses and its gate."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from smar_core.config.section import ItemTower, Positive, Section, Seed

Fusion = Literal["cross_attention", "pooled", "early_concatenation"]
TEMPERATURE_RANGE = (0.01, 1.0)
"""Bounds of a learned temperature."""


class ModelConfig(Section):
    """The towers. Image size and vocabulary come from the prepared data."""

    item_towers: tuple[ItemTower, ...] = Field(
        ("text", "image", "multimodal"), description="towers that represent an item; what is not named is not built"
    )
    fusion: Fusion = Field(
        "cross_attention",
        description="multimodal tower: text attends to patches; pooled text and image joined; or one sequence of both",
    )
    hidden_size: Positive = Field(144, description="width of every tower")
    embed_dim: Positive = Field(144, description="length of an embedding")
    num_heads: Positive = Field(12, description="attention heads of every layer")
    feed_forward_size: Positive = Field(576, description="inner width of a layer's feed-forward part")
    num_query_layers: Positive = 4
    num_text_layers: Positive = 1
    num_image_layers: Positive = 2
    num_fusion_layers: Positive = Field(
        1, description="layers of the multimodal tower; early_concatenation adds the image tower's"
    )
    patch_size_px: Positive = Field(8, description="side of a square image patch")
    patch_stem: Literal["linear", "convolution"] = Field(
        "linear", description="how pixels become patch embeddings: one linear map of a patch, or strided convolutions"
    )
    patch_init: Literal["random", "pca"] = Field(
        "random",
        description="start of the linear map of a patch: noise, or whitened principal components of the catalogue's patches",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share dropped of the token embeddings, and of the pooled states that an embedding is made of"
    )
    max_query_tokens: Positive = 16
    max_item_tokens: Positive = 40
    query_encoder: str | None = Field(None, description="local folder or hub name of a text checkpoint to start from")
    text_encoder: str | None = Field(None, description="local folder or hub name of a text checkpoint to start from")
    image_encoder: str | None = Field(None, description="local folder or hub name of a vision checkpoint to start from")

    @model_validator(mode="after")
    def _check_heads(self) -> "ModelConfig":
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must divide by num_heads ({self.num_heads}): "
                f"choose {self.hidden_size // self.num_heads * self.num_heads or self.num_heads} or another multiple"
            )
        return self

    @model_validator(mode="after")
    def _check_towers(self) -> "ModelConfig":
        towers = self.item_towers
        if not towers or len(set(towers)) != len(towers):
            raise ValueError(f"item_towers {list(towers)} is empty or names a tower twice: name each wanted tower once")
        if "multimodal" in towers and not {"text", "image"} <= set(towers):
            raise ValueError(f"item_towers {list(towers)} has multimodal without both text and image: add them")
        if self.patch_init == "pca" and (self.image_encoder or "image" not in towers):
            raise ValueError(
                f"patch_init pca starts an image tower from scratch, and item_towers is {list(towers)} with image_encoder "
                f"{self.image_encoder!r}: set patch_init to random"
            )
        if self.patch_stem == "convolution" and self.patch_init == "pca":
            raise ValueError("patch_init pca starts a linear map and patch_stem is convolution: set one of them back")
        if self.patch_stem == "convolution" and self.patch_size_px not in (2, 4, 8, 16, 32):
            raise ValueError(
                f"patch_stem convolution halves a picture until a place is a patch, and patch_size_px is {self.patch_size_px}: "
                "set it to 2, 4, 8, 16 or 32, or patch_stem to linear"
            )
        if self.fusion == "early_concatenation" and (self.text_encoder or self.image_encoder):
            raise ValueError(
                "fusion early_concatenation joins token and patch embeddings, which a text_encoder or image_encoder does not "
                "give: leave both encoders out, or choose another fusion"
            )
        return self


class LossConfig(Section):
    """The objective of pre-training and the shape of every contrastive loss."""

    kind: Literal["info_nce", "hinge"] = Field("info_nce", description="softmax cross-entropy, or DPSR's margin form")
    temperature: Annotated[float, Field(gt=0)] = Field(1 / 30, description="divides the cosine in info_nce")
    margin: Annotated[float, Field(gt=0)] = Field(0.1, description="margin of the hinge")
    alpha: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of L_t, query against item text")
    beta: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of L_i, query against item image")
    gamma: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of L_m, query against multimodal item")
    weights: Literal["fixed", "per_category", "uncertainty", "per_pair"] = Field(
        "fixed",
        description="alpha, beta and gamma as they are; or the start of weights that are learned, for each top category of "
        "the item, for each loss by its uncertainty, or for each pair by its query",
    )
    weight_entropy: Annotated[float, Field(ge=0)] = Field(
        1.0, description="weight of the entropy of per_category and per_pair weights; 0 lets them end on the easiest loss"
    )
    temperature_mode: Literal["fixed", "learned"] = Field(
        "fixed", description="learned: each stage trains the temperature with the towers, between 0.01 and 1"
    )
    popularity: Literal["none", "logq"] = Field(
        "none", description="logq: an item's logit less the log of its probability to be in a batch"
    )
    matryoshka_dims: tuple[Positive, ...] = Field(
        (), description="lengths below embed_dim at which the first dimensions are trained to be embeddings by themselves"
    )

    @model_validator(mode="after")
    def _check_weights(self) -> "LossConfig":
        num_parts = sum(weight > 0 for weight in (self.alpha, self.beta, self.gamma))
        if not num_parts:
            raise ValueError("alpha, beta and gamma are all 0: set at least one above 0")
        if self.weights != "fixed" and num_parts < 2:
            raise ValueError(
                f"weights {self.weights} has one loss to weigh (alpha {self.alpha}, beta {self.beta}, gamma {self.gamma}): "
                "set a second above 0, or weights to fixed"
            )
        return self

    @model_validator(mode="after")
    def _check_softmax(self) -> "LossConfig":
        low, high = TEMPERATURE_RANGE
        for name, value in (("temperature_mode", self.temperature_mode), ("popularity", self.popularity)):
            if self.kind == "hinge" and value in ("learned", "logq"):
                raise ValueError(f"{name} {value} has no meaning for kind hinge: leave it out, or set kind to info_nce")
        if self.temperature_mode == "learned" and not low <= self.temperature <= high:
            raise ValueError(
                f"temperature ({self.temperature}) is outside what temperature_mode learned allows: "
                f"choose a start from {low} to {high}"
            )
        return self

    @model_validator(mode="after")
    def _check_matryoshka(self) -> "LossConfig":
        if len(set(self.matryoshka_dims)) < len(self.matryoshka_dims):
            raise ValueError(f"matryoshka_dims {list(self.matryoshka_dims)} names a length twice: name each once")
        return self


class GateConfig(Section):
    """The prediction header P: does the picture help this query, or to find this item?"""

    mode: Literal["learned", "always_text", "always_multimodal", "always_image"] = Field(
        "learned", description="P decides between text and multimodal, or one representation answers every query"
    )
    supervision: Literal["category", "utility"] = Field(
        "category", description="what P learns: whether clicks fall on visual items, or how much better S_m finds them than S_t"
    )
    side: Literal["query", "item"] = Field(
        "query", description="P(q) routes a query to one of two indexes, or P(item) chooses what represents it in a single one"
    )
    visual_categories: tuple[str, ...] = Field(
        ("Apparel", "Footwear", "Accessories"), description="prefixes of the category path whose items are visual"
    )
    num_steps: Positive = Field(400, description="optimiser steps of the header")
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    hidden_size: Positive = Field(64, description="width of the header's hidden layer")
    num_bins: Positive = Field(10, description="bins of the calibration error and of the histogram")
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_categories(self) -> "GateConfig":
        if not self.visual_categories or not all(c.strip() for c in self.visual_categories):
            raise ValueError("visual_categories is empty or holds a blank: name at least one category prefix")
        return self

    @model_validator(mode="after")
    def _check_mode(self) -> "GateConfig":
        for name, value, default in (("supervision", self.supervision, "category"), ("side", self.side, "query")):
            if self.mode != "learned" and value != default:
                raise ValueError(
                    f"{name} {value} says how P is learned, and mode is {self.mode}: set mode=learned, or leave {name} out"
                )
        return self
