"""Sections of what comes after training: export and evaluation."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from smar_core.config.section import Count, Positive, Section, Seed


class ExportConfig(Section):
    """Embeddings and the approximate index."""

    index: Literal["flat", "hnsw", "ivf_pq"] = "hnsw"
    batch_size: Positive = Field(256, description="items encoded at a time")
    num_dims: Positive | None = Field(
        None, description="first dimensions of the embeddings that are kept, one of loss.matryoshka_dims; absent: all"
    )
    hnsw_num_links: Annotated[int, Field(ge=2)] = 32
    hnsw_build_depth: Positive = 200
    hnsw_search_depth: Positive = 128
    ivf_num_lists: Positive = Field(64, description="coarse cells; lowered to what the catalogue allows, and recorded")
    ivf_num_probes: Positive = 16
    pq_num_codes: Positive = Field(24, description="product-quantiser codes an embedding; must divide its length")
    seed: Seed = 0


class EvaluateConfig(Section):
    """Measures, intervals and the report."""

    split: Literal["test", "validation"] = Field(
        "test", description="days that are evaluated; choose between settings on validation"
    )
    cutoffs: tuple[Positive, ...] = (10, 50, 100)
    min_slice_queries: Positive = Field(30, description="a category of fewer test queries has no slice of its own")
    num_synthetic_queries: Count = Field(300, description="held-out synthetic queries that are measured beside the true ones")
    num_bootstrap_samples: Positive = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    batch_size: Positive = Field(256, description="queries or items encoded at a time")
    num_examples: Count = Field(8, description="queries of the report whose results are shown as pictures")
    reliance: Literal["measured", "skipped"] = Field(
        "measured", description="rank with shuffled and with blank pictures too; encodes the catalogue twice more"
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_cutoffs(self) -> "EvaluateConfig":
        if not {10, 50}.issubset(self.cutoffs):
            raise ValueError(f"cutoffs {list(self.cutoffs)} must hold 10 and 50, the cutoffs of the summary: add them")
        return self
