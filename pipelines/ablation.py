"""The ablation pipeline: the variants of the paper's comparison, each trained and measured on the test days."""

from kfp.dsl.graph_component import GraphComponent

from pipelines.experiment import experiment_pipeline_of
from smar_core.config import ClusterConfig


def ablation_pipeline(cluster: ClusterConfig | None) -> GraphComponent:
    """Return the pipeline.

    Args:
        cluster: Where its tasks run; None: they are not placed.
    """
    return experiment_pipeline_of(
        "ablation",
        "What each part of the model brings: variants and seeds on the test days, and their comparison with a baseline.",
        "[]",
        cluster,
    )
