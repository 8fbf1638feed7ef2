"""Sections of where a pipeline runs and who keeps its records."""

from typing import Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, field_validator, model_validator

from smar_core.config.section import Positive, Section

_PASSWORD_PARAMETERS = frozenset({"password", "passwd", "pwd", "sslpassword"})


def has_password_parameter(uri: str) -> bool:
    """Return whether the query of an address names a password, as those of databases may.

    >>> has_password_parameter("postgresql://db/mlflow?user=ada&password=sesame"), has_password_parameter("sqlite:///mlflow.db")
    (True, False)
    """
    return not _PASSWORD_PARAMETERS.isdisjoint(name.lower() for name in parse_qs(urlsplit(uri).query))


class TrackingConfig(Section):
    """MLflow. Not part of any stage's cache key."""

    uri: str | None = Field(None, description="tracking server; absent: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    experiment: str = Field("smar", min_length=1)
    model_name: str = Field("smar", min_length=1, description="name under which the bundle is registered")
    run_name: str | None = None

    @field_validator("uri")
    @classmethod
    def _refuse_password(cls, uri: str | None) -> str | None:
        """A setting is written to records and parameters; the message does not repeat it either."""
        if uri is not None and ("@" in uri.partition("://")[2].partition("/")[0] or has_password_parameter(uri)):
            raise ValueError(
                "uri names a user or a password, which would be written down with the settings: leave them out, and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
            )
        return uri


class RuntimeConfig(Section):
    """The machine: what may be used, and how much of it."""

    launcher: Literal["local", "torchrun", "trainjob"] = Field(
        "local",
        description="who starts the processes of pretrain and finetune: local: nobody, the stage trains itself; torchrun: "
        "torchrun on the stage's machine; trainjob: Kubeflow Trainer, in pods of their own",
    )
    num_threads: Positive = Field(2, description="torch threads of a machine; another number gives other weights")
    num_processes: Positive = Field(
        1, description="processes that train one model together, each on one GPU or on its share of its machine's threads"
    )
    num_nodes: Positive = Field(1, description="pods of a TrainJob, which share the processes evenly")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on CUDA, else float32")

    @model_validator(mode="after")
    def _check_processes(self) -> "RuntimeConfig":
        if self.launcher == "local" and self.num_processes > 1:
            raise ValueError(
                f"num_processes ({self.num_processes}) needs somebody to start them, and launcher is local: set launcher to "
                "torchrun, on a cluster to trainjob, or num_processes to 1"
            )
        if self.launcher != "trainjob" and self.num_nodes > 1:
            raise ValueError(
                f"num_nodes ({self.num_nodes}) plays no part in launcher {self.launcher}: leave it out, or set launcher to "
                "trainjob"
            )
        if self.num_processes % self.num_nodes:
            raise ValueError(
                f"num_processes ({self.num_processes}) must divide by num_nodes ({self.num_nodes}): choose a multiple of it"
            )
        return self

    @property
    def num_processes_per_node(self) -> int:
        """Processes of one machine."""
        return self.num_processes // self.num_nodes

    @property
    def num_threads_per_process(self) -> int:
        """Threads of each of the processes that train: its share of its machine's."""
        return max(1, self.num_threads // self.num_processes_per_node)
