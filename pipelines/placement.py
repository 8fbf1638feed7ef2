"""How a task is placed on a cluster: its image, resources, retries, nodes, and the environment that it finds there.

Everything comes from the config section ``cluster``. What is set here is the platform's: it stands in the second document of a
compiled pipeline, or in the task's resources and retries, which the local runners do not look at and no cache key holds.
The environment is what ``components.surroundings`` reads: the run's id from the label that Kubeflow's backend gives every pod
of a run, MLflow's address from a config map, secrets by name. All of them may be missing: then nothing is tracked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from kfp import dsl
from kfp.dsl import (
    WORKSPACE_PATH_PLACEHOLDER,
    KubernetesWorkspaceConfig,
    PipelineConfig,
    PipelineTask,
    TaskConfigField,
    TaskConfigPassthrough,
    WorkspaceConfig,
)

from components.end_run import end_run
from components.surroundings import EXPERIMENT, PIPELINE_RUN_ID, TRACKING_URI
from smar_core.config import ClusterConfig

Channel = Any
"""A parameter of a pipeline, or an output of a task: known to Kubeflow only."""

IMAGE_PARAMETER = "image"
"""Parameter of every pipeline: reference of the image that all of its tasks run in."""

EXIT_HANDLER = "all-tasks"
"""Name of what holds every task of a pipeline but the last, which runs however the others ended."""

PROMOTION = "may-be-promoted"
"""Name of the condition under which a refresh promotes."""

Kind = Literal["data", "training", "encoding", "other"]

KINDS: Mapping[str, Kind] = {
    "prepare-data": "data",
    "generate-synthetic-queries": "data",
    "pretrain": "training",
    "train-gate": "training",
    "finetune": "training",
    "export-embeddings": "encoding",
    "evaluate": "encoding",
    "prepare-refresh": "data",
    "decide-promotion": "encoding",
}
"""What a task does, by the name of its component; a component that is not named here keeps records, which needs little."""

RUN_ID_LABEL = "metadata.labels['pipeline/runid']"
"""Where a pod knows the id of its pipeline run."""

PART_OF_LABEL = ("app.kubernetes.io/part-of", "smar")
"""Label of every pod, by which the network policies of manifests/ know it."""

_MEMORY_BACKED = "Memory"


@dataclass(frozen=True)
class Placement:
    """Places the tasks of one pipeline.

    Attributes:
        image: The pipeline's parameter ``image``, so that one compiled file serves every registry and version.
        cluster: Config section; None places nothing but the image, which is all that the local runners look at.
    """

    image: Channel
    cluster: ClusterConfig | None

    @property
    def workspace(self) -> str:
        """Where a task finds the run's workspace, which Kubeflow mounts for who is told of it; "" where there is none."""
        return WORKSPACE_PATH_PLACEHOLDER if self.cluster is not None and self.cluster.workspace_gib else ""

    def place(self, task: PipelineTask) -> PipelineTask:
        """Place a task, named after its component, and return it."""
        task.set_container_image(self.image)
        if self.cluster is not None:
            kind = KINDS.get(task.component_spec.name, "other")
            _set_resources(task, kind, self.cluster)
            if self.cluster.training_pods == "trainjob":
                _leave_resources_to_trainjob(task)
            _set_retries(task, self.cluster)
            _set_pod(task, kind, self.cluster)
            _set_environment(task, self.cluster)
        return task

    def ending(self) -> dsl.ExitHandler:
        """Return the context in which all other tasks of a pipeline are made: when they are over, its run in MLflow ends."""
        task = self.place(end_run(run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER))
        return dsl.ExitHandler(task.set_caching_options(False), name=EXIT_HANDLER)


def pipeline_config(cluster: ClusterConfig | None, *, has_workspace: bool = True) -> PipelineConfig | None:
    """Return what holds for a pipeline as a whole: its workspace and how long it is kept.

    Args:
        cluster: Config section; None for a pipeline that is not placed.
        has_workspace: Whether a task keeps something on it; else no volume is claimed for each run.
    """
    if cluster is None:
        return None
    workspace = _workspace(cluster) if has_workspace else None
    return PipelineConfig(workspace=workspace, ttl_seconds_after_finished=cluster.finished_ttl_seconds)


def _workspace(cluster: ClusterConfig) -> WorkspaceConfig | None:
    if not cluster.workspace_gib:
        return None
    claim: dict[str, Any] = {"accessModes": [cluster.workspace_access_mode]}
    if cluster.workspace_storage_class is not None:
        claim["storageClassName"] = cluster.workspace_storage_class
    return WorkspaceConfig(size=f"{cluster.workspace_gib}Gi", kubernetes=KubernetesWorkspaceConfig(pvcSpecPatch=claim))


def _num_accelerators(kind: Kind, cluster: ClusterConfig) -> int:
    return {"training": cluster.training_accelerators, "encoding": cluster.encoding_accelerators}.get(kind, 0)


def _set_resources(task: PipelineTask, kind: Kind, cluster: ClusterConfig) -> None:
    """Ask for what a task gets: with request and limit equal, no neighbour can take it and no node is overbooked."""
    cpu, memory = f"{getattr(cluster, f'{kind}_num_cpus'):g}", f"{getattr(cluster, f'{kind}_memory_gib')}Gi"
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    num_accelerators = _num_accelerators(kind, cluster)
    if num_accelerators:
        task.set_accelerator_type(cluster.accelerator).set_accelerator_limit(num_accelerators)


def _leave_resources_to_trainjob(task: PipelineTask) -> None:
    """Let a stage that can start a TrainJob hand its resources on without having them itself."""
    passed = task.component_spec.task_config_passthroughs
    if passed:
        others = [one for one in passed if one.field != TaskConfigField.RESOURCES]
        task.component_spec = replace(
            task.component_spec, task_config_passthroughs=[*others, TaskConfigPassthrough(TaskConfigField.RESOURCES)]
        )


def _set_retries(task: PipelineTask, cluster: ClusterConfig) -> None:
    if cluster.num_retries:
        task.set_retry(
            cluster.num_retries,
            backoff_duration=f"{cluster.retry_wait_seconds}s",
            backoff_factor=cluster.retry_wait_factor,
            backoff_max_duration=f"{cluster.retry_window_seconds}s",
        )


def _set_pod(task: PipelineTask, kind: Kind, cluster: ClusterConfig) -> None:
    """Set whose pod it is, how the image is pulled, the volumes, the time limit and the nodes."""
    from kfp import kubernetes

    kubernetes.add_pod_label(task, *PART_OF_LABEL)
    kubernetes.set_security_context(task, run_as_non_root=True)
    kubernetes.set_image_pull_policy(task, cluster.image_pull_policy)
    if cluster.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(cluster.image_pull_secrets))
    kubernetes.set_timeout(task, cluster.task_timeout_seconds)
    kubernetes.empty_dir_mount(task, "scratch", "/tmp", size_limit=f"{cluster.scratch_gib}Gi")
    if kind in ("training", "encoding"):
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", _MEMORY_BACKED, f"{cluster.shared_memory_gib}Gi")
    selectors, tolerations = cluster.node_selectors, cluster.tolerations
    if _num_accelerators(kind, cluster):
        selectors, tolerations = (
            (*selectors, *cluster.accelerator_node_selectors),
            (*tolerations, *cluster.accelerator_tolerations),
        )
    for selector in selectors:
        kubernetes.add_node_selector(task, *selector.split("=", 1))
    for toleration in tolerations:
        _add_toleration(task, toleration)


def _add_toleration(task: PipelineTask, toleration: str) -> None:
    """Let a task bear a taint: ``key``, ``key:effect`` or ``key=value:effect``."""
    from kfp import kubernetes

    taint, _, effect = toleration.partition(":")
    key, equals, value = taint.partition("=")
    kubernetes.add_toleration(task, key=key, operator="Equal" if equals else "Exists", value=value or None, effect=effect or None)


def _set_environment(task: PipelineTask, cluster: ClusterConfig) -> None:
    from kfp import kubernetes

    kubernetes.use_field_path_as_env(task, PIPELINE_RUN_ID, RUN_ID_LABEL)
    told = {name: name for name in (TRACKING_URI, EXPERIMENT)}
    kubernetes.use_config_map_as_env(task, cluster.config_map, told, optional=True)
    secrets = (
        (cluster.mlflow_secret, cluster.mlflow_secret_keys),
        (cluster.object_store_secret, cluster.object_store_secret_keys),
    )
    for secret, variables in secrets:
        kubernetes.use_secret_as_env(task, secret, _variables_by_key(variables), optional=True)


def _variables_by_key(entries: tuple[str, ...]) -> dict[str, str]:
    """Return the environment variable that each key of a secret sets, given ``VARIABLE`` or ``VARIABLE=key`` each.

    >>> _variables_by_key(("USER", "PASSWORD=secretkey"))
    {'USER': 'USER', 'secretkey': 'PASSWORD'}
    """
    pairs = [entry.partition("=") for entry in entries]
    return {key or variable: variable for variable, _, key in pairs}
