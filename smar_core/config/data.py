"""Sections of the data stages."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from smar_core.config.section import Count, Positive, Section, Seed, Share


class PrepareConfig(Section):
    """Data preparation: cleaning, images, splits, tokenizer."""

    image_width_px: Positive = Field(48, description="width to which every picture is letterboxed")
    image_height_px: Positive = Field(64, description="height to which every picture is letterboxed")
    max_views: Positive = Field(3, description="pictures of an item that are kept, in the order in which they are listed")
    vocab_size: Annotated[int, Field(ge=64)] = Field(8000, description="largest size of the WordPiece vocabulary")
    test_share: Share = Field(0.1, description="last share of the log's time span that becomes the test days")
    validation_share: Share = Field(0.1, description="share of the time span before the test days")
    crawler_max_events: Positive = Field(100, description="a session with more events than this may be a crawler ...")
    crawler_min_click_rate: Share = Field(0.8, description="... and is one when its click rate is above this")
    max_reject_share: Share = Field(0.05, description="share of unusable rows, or of broken pictures, that fails the stage")
    num_shards: Positive = Field(8, description="files a table is written to")

    @model_validator(mode="after")
    def _check_split(self) -> "PrepareConfig":
        if self.test_share <= 0 or self.validation_share <= 0 or self.test_share + self.validation_share >= 1:
            raise ValueError(
                f"test_share ({self.test_share}) and validation_share ({self.validation_share}) must both be above 0 and "
                "leave something for training: choose two that add up to less than 1"
            )
        return self


class SyntheticConfig(Section):
    """Synthetic queries by Random Substring Retrieval."""

    ratio: Annotated[float, Field(ge=0)] = Field(100.0, description="synthetic queries a distinct true training query")
    sampling: Literal["uniform", "matched"] = Field(
        "uniform", description="lengths and places drawn evenly, or by the lengths and fields of the true training queries"
    )
    max_words: Positive = Field(6, description="longest synthetic query, in words")
    max_item_share: Share = Field(0.002, description="a query that fits more than this share of the items is redrawn")
    max_redraws: Count = Field(8, description="draws after the first before an item gives a query up")
    num_shards: Positive = Field(8, description="files a table is written to")
    seed: Seed = 0


class BeamConfig(Section):
    """How the data stages run on Beam; their output does not depend on it."""

    num_workers: Positive = Field(2, description="worker processes of the embedded runner")
