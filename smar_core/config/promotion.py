"""Section of the refresh pipeline: when an exported catalogue takes the champion's place."""

from pydantic import Field

from smar_core.config.section import Positive, Section, Share


class PromotionConfig(Section):
    """When a new catalogue becomes the champion."""

    cutoff: Positive = Field(50, description="K of the R@K that decides")
    min_queries: Positive = Field(30, description="reference queries below which nothing is told, and nothing promoted")
    max_drop: Share = Field(0.05, description="a drop of R@K beyond this is never promoted, whether it is significant or not")
    max_left_share: Share = Field(0.3, description="share of the champion's items missing in the new catalogue that is too large")
