"""How a task is placed on a cluster: the image that it runs in."""

from dataclasses import dataclass
from typing import Any

from kfp.dsl import PipelineTask

Channel = Any
"""A parameter of a pipeline, or an output of a task: known to Kubeflow only."""

IMAGE_PARAMETER = "image"
"""Parameter of every pipeline: reference of the image that all of its tasks run in."""


@dataclass(frozen=True)
class Placement:
    """Places the tasks of one pipeline.

    Attributes:
        image: The pipeline's parameter ``image``, so that one compiled file serves every registry and version.
    """

    image: Channel

    def place(self, task: PipelineTask) -> PipelineTask:
        """Place a task, named after its component, and return it."""
        return task.set_container_image(self.image)
