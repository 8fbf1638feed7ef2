"""Sections of the two trainings."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from smar_core.config.section import Count, Positive, Section, Seed, Share, Tower


class OptimiserConfig(Section):
    """What pre-training and fine-tuning share: the optimiser, its schedule, and when to look."""

    batch_size: Positive = Field(384, description="(query, item) pairs a step")
    queries_per_item: Positive = Field(3, description="pairs of a batch that share an item, encoded once; 1: no grouping")
    chunk_size: Positive | None = Field(
        None, description="queries, then items, encoded at a time; the loss is still that of the whole batch; absent: all at once"
    )
    num_steps: Count = Field(1000, description="optimiser steps; 0 skips the training")
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup_share: Share = Field(0.05, description="share of the steps over which the rate rises; then a cosine to 0")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    validate_every_steps: Positive = Field(250, description="steps between looks at the validation days")
    validation_queries: Positive = Field(1000, description="validation queries used for a look during training")
    checkpoint_every_steps: Positive = Field(100, description="steps between checkpoints from which a killed run resumes")
    hard_negatives: Count = Field(
        0, description="items a batch gets beside those of its pairs, mined from the current model as negatives; 0: none"
    )
    mine_every_steps: Positive = Field(250, description="steps between minings of hard negatives, the first before step 1")
    hard_negative_depth: Positive = Field(50, description="best-ranked items of a query among which hard negatives are sought")
    hard_negative_margin: Share = Field(
        0.05, description="an item above (1 - this) of the positive's score is taken for a false negative and skipped"
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_batch(self) -> "OptimiserConfig":
        if self.batch_size <= self.queries_per_item:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be above queries_per_item ({self.queries_per_item}), else a batch "
                f"holds one item and no negative: choose at least {2 * self.queries_per_item}"
            )
        return self


class PretrainConfig(OptimiserConfig):
    """Multi-task pre-training on clicks and synthetic queries."""

    batch_size: Positive = Field(768, description="(query, item) pairs a step")
    num_steps: Count = 1200
    learning_rate: Annotated[float, Field(gt=0)] = 1.4e-3
    validate_every_steps: Positive = 400
    synthetic_share: Share = Field(0.5, description="share of a batch's pairs that are synthetic")


class FinetuneConfig(OptimiserConfig):
    """Fine-tuning on clicks: P(q) * L_m + (1 - P(q)) * L_t."""

    num_steps: Count = 300
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    validate_every_steps: Positive = 100
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        0.3, description="model.dropout while fine-tuning, which sees every click many times; absent: as in pre-training"
    )
    gate_weighting: Literal["soft", "hard"] = Field("soft", description="P(q) as a probability, or as a decision")
    text_weight: Annotated[float, Field(ge=0)] = Field(
        0.1, description="least weight of L_t under a learned gate, keeps the text index alive"
    )
    freeze: tuple[Tower, ...] = Field(
        (), description="towers whose weights do not move; query and text share a token embedding, which either freezes"
    )
