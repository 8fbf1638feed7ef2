"""The sweep pipeline: one setting at a time moved away from the preset's value, measured on the validation days."""

from kfp.dsl.graph_component import GraphComponent

from pipelines.experiment import experiment_pipeline_of
from smar_core.config import ClusterConfig


def sweep_pipeline(cluster: ClusterConfig | None) -> GraphComponent:
    """Return the pipeline.

    Args:
        cluster: Where its tasks run; None: they are not placed.
    """
    return experiment_pipeline_of(
        "sweep",
        "What each setting does: one at a time on the validation days, compared with the preset.",
        '["evaluate.split=validation"]',
        cluster,
    )
