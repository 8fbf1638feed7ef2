"""What is asked of Kubeflow Trainer: a TrainJob like the stage's own pod, and its files on a volume that both mount.

Kubeflow's ``TaskConfig`` tells what the pod was given: volumes, resources, variables, nodes. The image, the secrets that it is
pulled with, whom the pod runs as, how long it may live and how large its empty directories may grow are not among that and are
read off the pod. A TrainJob's pods get neither secrets nor an account of their own: all they need is on the volume. Its
containers keep to the pod security standard "restricted".
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp import dsl

from smar_core.config import RuntimeConfig
from smar_core.digest import digest_json
from smar_core.errors import UserError
from smar_core.training.job import Job
from smar_core.training.launch import torchrun_arguments

if TYPE_CHECKING:
    from kubeflow.trainer.options import RuntimePatch
    from kubernetes.client import V1Pod

_NODE = "node"
"""Name that the runtime gives its one replicated job, and the container in it."""
_MAIN = "main"
"""Name that Kubeflow gives a task's container."""
_RUN_LABEL = "pipeline/runid"
"""Label of a task's pod: the pipeline run."""
_RESERVED = "PET_"
"""Start of the variables by which the runtime tells torchrun where the pods find each other."""
_RESTRICTED_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
_OWN_VOLUMES = {"smar-scratch": ("/tmp", {}), "smar-shared-memory": ("/dev/shm", {"medium": "Memory"})}
"""Empty directories of every pod: a temporary folder, and what NCCL passes tensors through; as here where the stage has none."""
_LIMIT_SECONDS = 7 * 24 * 3600
"""Longest that a TrainJob may take where the stage's pod has no limit."""


@dataclass(frozen=True)
class OwnPod:
    """What only the stage's pod knows of itself.

    Attributes:
        image: Of its main container.
        user: User and group that the main container runs as, as Kubernetes writes it; empty: the image's.
        pull_secrets: What the image is pulled with, likewise.
        security_context: The pod's, likewise.
        run_id: The pipeline run.
        empty_dirs: Empty directories of the main container by the path that they are at, with their size limits, likewise.
        limit_seconds: Longest that the pod may live.
    """

    image: str
    user: dict[str, int]
    pull_secrets: list[dict[str, str]]
    security_context: dict[str, Any]
    run_id: str
    empty_dirs: dict[str, dict[str, str]]
    limit_seconds: int

    @classmethod
    def of(cls, pod: "V1Pod") -> "OwnPod":
        """Read it off a pod of Kubeflow Pipelines."""
        from kubernetes.client import ApiClient

        plain = ApiClient().sanitize_for_serialization(pod)
        spec = plain["spec"]
        main = next(container for container in spec["containers"] if container["name"] == _MAIN)
        rights = main.get("securityContext", {})
        empty = {volume["name"]: volume["emptyDir"] for volume in spec.get("volumes", []) if "emptyDir" in volume}
        return cls(
            main["image"],
            {key: rights[key] for key in ("runAsUser", "runAsGroup") if key in rights},
            spec.get("imagePullSecrets", []),
            spec.get("securityContext", {}),
            plain["metadata"].get("labels", {}).get(_RUN_LABEL, ""),
            {mount["mountPath"]: empty[mount["name"]] for mount in main.get("volumeMounts", []) if mount["name"] in empty},
            spec.get("activeDeadlineSeconds", _LIMIT_SECONDS),
        )


def trainjob_name(job: Job, pod: OwnPod) -> str:
    """Return the name of a job's TrainJob: the same for every try of a stage in one pipeline run, and for no other stage."""
    return f"smar-{job.stage}-{digest_json({'run': pod.run_id, 'work': job.work})[:12]}"


def request(name: str, job: Job, runtime: RuntimeConfig, task: dsl.TaskConfig, pod: OwnPod) -> dict[str, Any]:
    """Return the arguments of ``TrainerClient.train``.

    Args:
        name: Name of the TrainJob.
        job: What its processes run.
        runtime: How many processes on how many pods.
        task: What the stage's pod was given; every pod of the TrainJob is given as much.
        pod: What the pod knows of itself.
    """
    from kubeflow.trainer import CustomTrainerContainer
    from kubeflow.trainer.options import ActiveDeadlineSeconds, Labels, Name, TrainerArgs, TrainerCommand

    resources = task.resources or {}
    labels = {"app.kubernetes.io/part-of": "smar", "app.kubernetes.io/component": job.stage, _RUN_LABEL: pod.run_id}
    return {
        "trainer": CustomTrainerContainer(
            image=pod.image,
            num_nodes=runtime.num_nodes,
            resources_per_node=resources.get("limits") or resources.get("requests"),
            env=_variables(task.env or []),
        ),
        "options": [
            Name(name),
            Labels(labels),
            TrainerCommand(["python3"]),
            TrainerArgs(torchrun_arguments(job, runtime.num_processes_per_node)),
            ActiveDeadlineSeconds(pod.limit_seconds),
            _patch(task, pod, labels),
        ],
    }


def _variables(env: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the variables that have a plain value; those that are read from secrets are none of a process's business."""
    return {item["name"]: item["value"] for item in env if "value" in item and not item["name"].startswith(_RESERVED)}


def _patch(task: dsl.TaskConfig, pod: OwnPod, labels: dict[str, str]) -> "RuntimePatch":
    """Return what is laid over the runtime's pods: volumes, nodes, rights, and the labels by which policies know them."""
    from kubeflow.trainer.options import kubernetes as options

    volumes, mounts = _claims(task)
    for name, (path, directory) in _OWN_VOLUMES.items():
        volumes.append({"name": name, "emptyDir": pod.empty_dirs.get(path, directory)})
        mounts.append({"name": name, "mountPath": path})
    spec = options.PodSpecPatch(
        volumes=volumes,
        containers=[options.ContainerPatch(_NODE, volume_mounts=mounts, security_context=_RESTRICTED_CONTAINER | pod.user)],
        image_pull_secrets=pod.pull_secrets,
        security_context=_RESTRICTED_POD | pod.security_context,
        node_selector=task.node_selector,
        affinity=task.affinity,
        tolerations=task.tolerations,
    )
    pods = options.PodTemplatePatch(metadata={"labels": labels}, spec=spec)
    template = options.JobTemplatePatch(spec=options.JobSpecPatch(template=pods))
    jobs = options.JobSetSpecPatch(replicated_jobs=[options.ReplicatedJobPatch(_NODE, template=template)])
    return options.RuntimePatch(options.TrainingRuntimeSpecPatch(template=options.JobSetTemplatePatch(spec=jobs)))


def _claims(task: dsl.TaskConfig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the pod's volumes that other pods can mount, and where it mounts them."""
    volumes = [volume for volume in task.volumes or [] if volume.get("persistentVolumeClaim")]
    names = {volume["name"] for volume in volumes}
    return volumes, [mount for mount in task.volume_mounts or [] if mount["name"] in names]


def share(job: Job, task: dsl.TaskConfig) -> Job:
    """Return a job whose files all lie on the volume of its work folder; inputs that lie elsewhere are copied there.

    A copy that an earlier try of the stage made is used again: the work folder is that of these very inputs.

    Raises:
        UserError: The work folder lies on no volume that other pods can mount.
    """
    _, mounts = _claims(task)
    work = Path(job.work)
    volume = next((Path(mount["mountPath"]) for mount in mounts if work.is_relative_to(mount["mountPath"])), None)
    if volume is None:
        paths = ", ".join(mount["mountPath"] for mount in mounts) or "none"
        raise UserError(
            f"runtime.launcher is trainjob, and the work folder {work} lies on no volume that pods can share (there: {paths})",
            "compile the pipeline with cluster.workspace_gib above 0 and cluster.workspace_access_mode ReadWriteMany",
        )
    inputs = {
        name: (kind, path if Path(path).is_relative_to(volume) else str(_copied(Path(path), work / "inputs" / name)))
        for name, (kind, path) in job.inputs.items()
    }
    return replace(job, inputs=inputs, output=str(work / "output"))


def _copied(source: Path, target: Path) -> Path:
    """Copy a folder unless it is there; never half of it."""
    if not target.is_dir():
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        part.replace(target)
    return target
