"""``smar submit``: a pipeline of this program as a run on a Kubeflow cluster.

The parameters are those of a local run (``pipeline_arguments``, ``experiment_arguments``, ``refresh_arguments``); where the data
is differs (``pipelines.remote_inputs``), and what would be ignored on a cluster is refused. What is in the input files is checked
by the pipeline's first stage, not here: this machine may be far from them.
"""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.checkpoints import pretrain_key
from pipelines.compile import compile_pipeline, disable_caching, version_of
from pipelines.experiment_run import LONGEST_PARAMETERS, experiment_arguments
from pipelines.jobs import data_arguments
from pipelines.kubeflow import Address, Kubeflow, Shown
from pipelines.placement import IMAGE_PARAMETER
from pipelines.refresh_run import check_settings, refresh_arguments
from pipelines.remote_inputs import Inputs
from pipelines.training_run import pipeline_arguments
from smar_core.config import ClusterConfig, PipelineConfig, TrackingConfig, load_config
from smar_core.errors import UserError
from smar_core.experiments.trials import Plan

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST_TAG = re.compile(r":[0-9a-f]{16}(-[a-z0-9-]+)?$")

_RAISED_TOGETHER = "training_memory_gib"
"""Not refused where nothing trains: ``shared_memory_gib`` must be below it, whatever a pipeline does."""

_UNREAD: Mapping[str, tuple[tuple[str, ...], str]] = {
    "training": (("parallel_trials",), "a single training"),
    "refresh": (
        (
            "parallel_trials",
            *(
                key
                for key in ClusterConfig.model_fields
                if key.startswith(("training_", "workspace_")) and key != _RAISED_TOGETHER
            ),
        ),
        "a refresh, which trains nothing",
    ),
}
"""Keys of section ``cluster`` that nothing of a pipeline reads, and what the pipeline is called."""


@dataclass(frozen=True)
class Submission:
    """A run to start.

    Attributes:
        pipeline: One of ``pipelines.compile.PIPELINES``.
        cluster: Where its tasks run.
        image: Reference of the image that they run in; what ``check_image`` returned.
        arguments: Parameters of the pipeline, all but the image.
        experiment: Kubeflow's experiment that the run is shown under.
        run_name: Name of the run.
        use_cache: Whether stages may be taken from Kubeflow's cache.
        service_account: Account that its pods run as; None for the backend's own choice.
        cron: When it runs again and again, as Kubeflow writes it: six fields, the first of them seconds; None: once, now.
    """

    pipeline: str
    cluster: ClusterConfig
    image: str
    arguments: Mapping[str, Any]
    experiment: str
    run_name: str
    use_cache: bool = True
    service_account: str | None = None
    cron: str | None = None


def plan_training(inputs: Inputs, config: PipelineConfig) -> dict[str, Any]:
    """Return the parameters of the training pipeline.

    Raises:
        UserError: A setting cannot hold on a cluster, or an input cannot be used.
    """
    _check_training(config)
    return dict(pipeline_arguments(inputs.sources, inputs.judgments, inputs.digests(), config))


def plan_experiment(inputs: Inputs, plan: Plan, cluster: ClusterConfig) -> dict[str, Any]:
    """Return the parameters of the pipeline of an experiment, of which all trials run.

    Args:
        inputs: The data.
        plan: The experiment.
        cluster: Where its tasks run.

    Raises:
        UserError: A setting cannot hold on a cluster, or an input cannot be used.
    """
    for trial in plan.trials:
        _check_training(plan.configure(trial).model_copy(update={"cluster": cluster}))
    return experiment_arguments(plan, data_arguments(inputs.sources, inputs.judgments, inputs.digests()), plan.trials)


def plan_refresh(inputs: Inputs, preset: str, settings: tuple[str, ...], cluster: ClusterConfig, model: str) -> dict[str, Any]:
    """Return the parameters of the refresh pipeline.

    Args:
        inputs: The data.
        preset: What the settings start from.
        settings: ``section.key=value`` each, none of them of section ``cluster``.
        cluster: Where its tasks run.
        model: Alias of the registered version whose model is used.

    Raises:
        UserError: A setting cannot hold on a cluster, or an input cannot be used.
    """
    check_settings(settings)
    config = load_config(preset, settings).model_copy(update={"cluster": cluster})
    _check_refresh(config)
    return dict(refresh_arguments(inputs.sources, inputs.judgments, model, inputs.digests(), config))


def split_settings(pipeline: str, preset: str, settings: tuple[str, ...]) -> tuple[ClusterConfig, tuple[str, ...]]:
    """Return the config section ``cluster`` that some settings make, and the settings of all other sections.

    Args:
        pipeline: What they are for, one of ``pipelines.compile.PIPELINES``.
        preset: What they start from.
        settings: ``section.key=value`` each.

    Raises:
        UserError: One is of section ``cluster`` and nothing of the pipeline reads it, or it does not fit.
    """
    placing = tuple(setting for setting in settings if setting.strip().startswith("cluster."))
    unread, what = _UNREAD.get(pipeline, ((), ""))
    for setting in placing:
        key = setting.partition("=")[0].strip()
        if key.removeprefix("cluster.") in unread:
            raise UserError(f"{key} plays no part in {what}", "leave it out")
    return load_config(preset, placing).cluster, tuple(setting for setting in settings if setting not in placing)


def check_image(reference: str | None) -> str:
    """Return the reference of an image that will be the same image tomorrow.

    Raises:
        UserError: There is none, or it has neither a digest nor a tag that says which it is.

    >>> check_image("registry.example:5000/smar:1.2.0")
    'registry.example:5000/smar:1.2.0'
    """
    if reference is None:
        raise UserError("no image is named", "name the one that make image built and you pushed, with --image REGISTRY/smar:TAG")
    name, at, digest = reference.partition("@")
    _, _, tag = name.rpartition("/")[2].partition(":")
    if reference.split() != [reference] or (at and not _DIGEST.fullmatch(digest)) or not name:
        raise UserError(f"image {reference!r} is no reference", "write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST")
    if not at and tag in ("", "latest"):
        raise UserError(
            f"image {reference} does not say which version it is, and Kubeflow's cache knows images by name",
            "name it by digest (NAME@sha256:...) or by the tag that make image gave it",
        )
    return reference


def is_movable(reference: str) -> bool:
    """Return whether an image is named by neither a digest nor a tag that is one, as those of ``make image`` are.

    >>> is_movable("registry.example/smar:main"), is_movable("registry.example/smar:0f0809bbb6bf55ef-cuda")
    (True, False)
    """
    return "@" not in reference and not _DIGEST_TAG.search(reference)


def start_run(submission: Submission, address: Address, *, wait: bool, tell: Callable[[str], None]) -> None:
    """Compile the pipeline, upload it where its version is not there yet, and start a run, or have Kubeflow start them.

    Args:
        submission: What to run.
        address: Where.
        wait: Whether to wait for the run's end.
        tell: Given what to show, line by line.

    Raises:
        UserError: Something that the user can mend.
        PipelineFailedError: The run was waited for and did not end well.
    """
    if wait and submission.cron is not None:
        raise UserError("runs of --cron have no end to wait for", "leave --wait out")
    arguments = {IMAGE_PARAMETER: submission.image, **submission.arguments}
    _check_length(arguments)
    kubeflow = Kubeflow(address)
    with tempfile.TemporaryDirectory(prefix="smar-submit-") as folder:
        package = Path(folder) / f"{submission.pipeline}.yaml"
        # The image is a parameter of the run, so that a new image is no new version of the pipeline.
        compile_pipeline(submission.pipeline, package, submission.cluster.model_copy(update={"image": None}))
        if not submission.use_cache:
            disable_caching(package)
        version = version_of(submission.pipeline, package)
        uploaded = kubeflow.upload(f"smar-{submission.pipeline}", version, package)
    if is_movable(submission.image):
        tell(f"note     {submission.image} is named by a tag: tasks come from the cache even where the tag has moved since")
    tell(f"version  {version}")
    shown = Shown(submission.experiment, submission.run_name, submission.service_account)
    if submission.cron is not None:
        tell(f"runs     {kubeflow.start_recurring(uploaded, arguments, submission.cron, shown)}")
        return
    run_id = kubeflow.start(uploaded, arguments, shown)
    tell(f"run      {kubeflow.page(run_id)}")
    if wait:
        try:
            kubeflow.wait(run_id, tell)
        except KeyboardInterrupt:
            tell("the run itself goes on; Kubeflow's page can end it")
            raise


def _check_length(arguments: Mapping[str, Any]) -> None:
    length = len(json.dumps(arguments))
    if length > LONGEST_PARAMETERS:
        raise UserError(
            f"the run's parameters have {length:,} characters, and Kubeflow takes {LONGEST_PARAMETERS:,}",
            "name fewer trials at a time, or shorter paths",
        )


def _check_training(config: PipelineConfig) -> None:
    """Refuse what a pipeline that trains would ignore on a cluster, or what would not work there."""
    runtime, cluster = config.runtime, config.cluster
    if runtime.launcher != "trainjob":
        _check_threads(config, "training_num_cpus")
    _check_threads(config, "encoding_num_cpus")
    _check_workers(config)
    if runtime.launcher == "trainjob" and not cluster.workspace_gib:
        raise UserError(
            "runtime.launcher is trainjob and cluster.workspace_gib is 0, so a TrainJob's pods share no files with their stage",
            "set cluster.workspace_gib, and cluster.workspace_access_mode=ReadWriteMany where the pods are on several nodes",
        )
    if runtime.launcher != "trainjob" and cluster.training_pods == "trainjob":
        raise UserError(
            f"cluster.training_pods is trainjob and runtime.launcher is {runtime.launcher}, so that stages train with nothing",
            "set cluster.training_pods to stage, or runtime.launcher to trainjob",
        )
    _check_device(config, ("training_accelerators", "encoding_accelerators"))
    _check_tracking(config)
    if pretrain_key("", config.model):
        raise UserError(
            "the encoder that the model starts from is a folder of this machine, which no task of a cluster reaches",
            "name a checkpoint of a hub",
        )


def _check_refresh(config: PipelineConfig) -> None:
    """Likewise for a refresh, whose tasks encode and never train."""
    _check_threads(config, "encoding_num_cpus")
    _check_workers(config)
    _check_device(config, ("encoding_accelerators",))
    _check_tracking(config)


def _check_threads(config: PipelineConfig, key: str) -> None:
    num_threads, num_cpus = config.runtime.num_threads, getattr(config.cluster, key)
    if num_threads > num_cpus:
        raise UserError(
            f"runtime.num_threads ({num_threads}) is above cluster.{key} ({num_cpus:g}), so that threads would wait for each "
            "other",
            "raise the latter or lower the former",
        )


def _check_workers(config: PipelineConfig) -> None:
    beam, num_cpus = config.beam, config.cluster.data_num_cpus
    if beam.runner == "embedded" and beam.num_workers > num_cpus:
        raise UserError(
            f"beam.num_workers ({beam.num_workers}) is above cluster.data_num_cpus ({num_cpus:g}), so that processes would wait "
            "for each other",
            "raise the latter or lower the former",
        )


def _check_device(config: PipelineConfig, keys: tuple[str, ...]) -> None:
    if config.runtime.device == "cuda" and not all(getattr(config.cluster, key) for key in keys):
        raise UserError(
            "runtime.device is cuda and some tasks get no accelerator",
            f"set {' and '.join(f'cluster.{key}' for key in keys)}, or runtime.device=auto",
        )


def _check_tracking(config: PipelineConfig) -> None:
    config_map = config.cluster.config_map
    for key in ("uri", "experiment", "run_name"):
        if getattr(config.tracking, key) != TrackingConfig.model_fields[key].default:
            raise UserError(
                f"tracking.{key} is not read on a cluster, whose config map {config_map} says where runs are tracked",
                "leave it out" if key != "run_name" else "name the run with --run-name",
            )
