"""The section of where a pipeline's tasks run on a Kubernetes cluster.

It is read when a pipeline is compiled and by nothing that runs afterwards: no stage is handed it, it is no parameter of a
pipeline, and no cache key knows it, so that more memory or another node never trains again. Kinds of tasks share their
resources (data, training, encoding, the rest), because single tasks of a kind differ less than shops do. Names of secrets and
of a config map are here, their contents never. Left out: affinities and volumes of one's own, which belong to a cluster's
admission rules.
"""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from smar_core.config.section import Count, Positive, Section

Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]

_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"([a-zA-Z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SELECTOR = re.compile(rf"{_LABEL.pattern}=([A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?)?")
_TOLERATION = re.compile(rf"{_LABEL.pattern}(=[-A-Za-z0-9_.]*)?(:(NoSchedule|PreferNoSchedule|NoExecute))?")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*(=[-._a-zA-Z0-9]+)?")

Cpus = Annotated[float, Field(ge=0.1)]


class ClusterConfig(Section):
    """Where tasks run on a Kubernetes cluster. Read when a pipeline is compiled, and no part of any stage's cache key."""

    image: str | None = Field(
        None, min_length=1, description="image of every task, by digest or version tag; absent: named when a run is submitted"
    )
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = Field((), description="names of the secrets with which the image is pulled")

    data_num_cpus: Cpus = Field(2.0, description="of a data stage; beam.num_workers processes share them")
    data_memory_gib: Positive = 8
    training_num_cpus: Cpus = Field(2.0, description="of a training; runtime.num_threads use them")
    training_memory_gib: Positive = 8
    training_accelerators: Count = Field(0, description="accelerators of a training; runtime.num_processes use them")
    training_pods: Literal["stage", "trainjob"] = Field(
        "stage",
        description="whose pods get what a training asks for: the stage's, and those of a TrainJob too; or a TrainJob's alone, "
        "for runs with runtime.launcher trainjob, whose stage only waits",
    )
    encoding_num_cpus: Cpus = Field(2.0, description="of export and evaluation, which encode the catalogue")
    encoding_memory_gib: Positive = 8
    encoding_accelerators: Count = Field(0, description="accelerators of export and evaluation")
    other_num_cpus: Cpus = Field(0.5, description="of every other task, such as the one that records a run")
    other_memory_gib: Positive = 2
    accelerator: str = Field("nvidia.com/gpu", min_length=1, description="resource name of an accelerator")

    shared_memory_gib: Positive = Field(1, description="/dev/shm of trainings and encodings; part of their memory")
    scratch_gib: Positive = Field(20, description="/tmp of every task, where checkpoints under way are kept")
    workspace_gib: Count = Field(
        0,
        description="volume that trainings of a run share, for checkpoints and TrainJobs; 0: none. Kubeflow takes no task that "
        "has one from the cache of another run",
    )
    workspace_storage_class: str | None = Field(None, min_length=1, description="its storage class; absent: the cluster's own")
    workspace_access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        "ReadWriteOnce", description="ReadWriteMany where tasks of several nodes use it at a time"
    )

    num_retries: Count = Field(2, description="times that a failed task is tried again")
    retry_wait_seconds: Positive = Field(60, description="wait before the first of them")
    retry_wait_factor: Annotated[int, Field(ge=1)] = Field(2, description="how many times as long each further wait is")
    task_timeout_seconds: Positive = Field(172_800, description="longest that one try of a task may take")
    finished_ttl_seconds: Positive = Field(604_800, description="how long the pods of a finished run are kept")
    parallel_trials: Positive = Field(
        1, description="trials of an experiment at a time, each on machines of its own; not of runs on one machine"
    )

    node_selectors: tuple[str, ...] = Field((), description="label=value of the nodes that every task runs on")
    tolerations: tuple[str, ...] = Field((), description="taints that every task bears: key, key:effect or key=value:effect")
    accelerator_node_selectors: tuple[str, ...] = Field((), description="likewise for tasks with accelerators, beside the above")
    accelerator_tolerations: tuple[str, ...] = Field(("nvidia.com/gpu",), description="likewise")

    config_map: str = Field("smar", description="config map of the tracking server; it may be missing: nothing is tracked then")
    mlflow_secret: str = Field("smar-mlflow", description="secret of the tracking server; it may be missing")
    mlflow_secret_keys: tuple[str, ...] = Field(
        ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        description="environment variables that it sets, VARIABLE=key where the key is named otherwise",
    )
    object_store_secret: str = Field("smar-object-store", description="secret of the object storage; it may be missing")
    object_store_secret_keys: tuple[str, ...] = Field(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"), description="likewise"
    )

    @model_validator(mode="after")
    def _check_words(self) -> "ClusterConfig":
        """Names and rules must be what Kubernetes takes, else a run fails only when its first pod is made."""
        self._check(_OBJECT_NAME, "a name of lower-case letters, digits, - and .", "config_map", "mlflow_secret")
        self._check(_OBJECT_NAME, "a name of lower-case letters, digits, - and .", "object_store_secret", "image_pull_secrets")
        self._check(_SELECTOR, "label=value, such as pool=training", "node_selectors", "accelerator_node_selectors")
        self._check(_TOLERATION, "key, key:NoSchedule or key=value:NoSchedule", "tolerations", "accelerator_tolerations")
        self._check(_VARIABLE, "VARIABLE or VARIABLE=key", "mlflow_secret_keys", "object_store_secret_keys")
        self._check(_LABEL, "a resource name such as nvidia.com/gpu", "accelerator")
        return self

    def _check(self, pattern: re.Pattern[str], form: str, *fields: str) -> None:
        for field in fields:
            value = getattr(self, field)
            for word in (value,) if isinstance(value, str) else value:
                if not pattern.fullmatch(word):
                    raise ValueError(f"{field} holds {word!r}, which is not {form}: correct it")

    @model_validator(mode="after")
    def _check_memory(self) -> "ClusterConfig":
        for kind in ("training", "encoding"):
            memory = getattr(self, f"{kind}_memory_gib")
            if self.shared_memory_gib >= memory:
                raise ValueError(
                    f"shared_memory_gib ({self.shared_memory_gib}) is taken from {kind}_memory_gib ({memory}): raise the latter"
                )
        return self

    @model_validator(mode="after")
    def _check_ignored(self) -> "ClusterConfig":
        """What nothing would read must be left at its default."""
        accelerators = ("accelerator", "accelerator_node_selectors", "accelerator_tolerations")
        conditions = (
            ("workspace_gib 0", self.workspace_gib, ("workspace_storage_class", "workspace_access_mode")),
            ("num_retries 0", self.num_retries, ("retry_wait_seconds", "retry_wait_factor")),
            ("0 accelerators", self.training_accelerators + self.encoding_accelerators, accelerators),
        )
        for reason, is_used, fields in conditions:
            for field in fields:
                if not is_used and getattr(self, field) != type(self).model_fields[field].default:
                    raise ValueError(f"{field} ({getattr(self, field)}) plays no part with {reason}: leave it out, or raise that")
        return self

    @property
    def retry_window_seconds(self) -> int:
        """Seconds from a task's first start within which it is tried again: as many as all tries and waits can take.

        Kubeflow calls it the longest back-off, and Argo counts the tries themselves, not the waits alone: with Kubeflow's
        default of an hour a training that fails later is not tried again.
        """
        waits = sum(self.retry_wait_seconds * self.retry_wait_factor**retry for retry in range(self.num_retries))
        return (self.num_retries + 1) * self.task_timeout_seconds + waits
