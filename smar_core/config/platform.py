"""Sections of where a pipeline runs and who keeps its records."""

from typing import Literal

from pydantic import Field

from smar_core.config.section import Positive, Section


class TrackingConfig(Section):
    """MLflow. Not part of any stage's cache key."""

    uri: str | None = Field(None, description="tracking server; absent: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    experiment: str = Field("smar", min_length=1)
    model_name: str = Field("smar", min_length=1, description="name under which the bundle is registered")
    run_name: str | None = None


class RuntimeConfig(Section):
    """The machine: what may be used, and how much of it."""

    num_threads: Positive = Field(2, description="torch threads; another number gives other weights")
    num_processes: Positive = Field(
        1, description="processes that train one model together, on one GPU or on num_threads / num_processes threads each"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on CUDA, else float32")
