"""Training in pods of their own: a Kubeflow Trainer TrainJob that runs the stage's image and entry point.

The stage creates the TrainJob (``trainjob_request``), prints its log (``trainjob_log``), passes its progress on, waits and
removes it. The processes are those of ``smar_core.training.launch``; what they leave for the stage lies on a shared volume.

A TrainJob that failed is left for ``kubectl describe`` and replaced when the stage is tried again; any other is deleted when the
stage ends, whatever ended it. A stage that is killed without a signal leaves its TrainJob behind: the next try finds it by its
name, else it ends after a week.

Left out: pods that come and go while the training runs (elastic ``torchrun``). The first error of a process ends the TrainJob,
and the next try of the stage goes on from the last checkpoint.
"""

import json
import logging
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from kfp import dsl

from components.surroundings import Surroundings
from components.trainjob_log import LogPrinter
from components.trainjob_request import OwnPod, request, share, trainjob_name
from smar_core.config import RuntimeConfig
from smar_core.errors import EXIT_INTERRUPTED, UserError
from smar_core.progress import Progress
from smar_core.training.job import Job

if TYPE_CHECKING:
    from kubeflow.common.types import KubernetesBackendConfig
    from kubeflow.trainer import TrainerClient
    from kubeflow.trainer.types.types import Runtime, TrainJob
    from kubernetes.client import ApiException

RUNTIME = "torch-distributed"
"""Training runtime that Kubeflow Trainer brings along."""

_REMOVAL_SECONDS = 300.0
_COMPLETE, _FAILED = "Complete", "Failed"
_FORBIDDEN, _NOT_FOUND = 403, 404


def trainjobs(task: dsl.TaskConfig) -> "TrainJobs | None":
    """Return what starts TrainJobs for a stage; None where the stage is not a task on a cluster.

    Args:
        task: What Kubeflow says the stage's pod was given.
    """
    pod_name = Surroundings.read().pod_name
    return TrainJobs(pod_name, task) if pod_name else None


@dataclass(frozen=True)
class TrainJobs:
    """Starts the processes of a training in a TrainJob: a ``smar_core.training.launch.Launcher``.

    Attributes:
        pod_name: Name of the stage's pod.
        task: What Kubeflow says the pod was given.
        kubernetes: How the API server is reached; None: by the pod's service account.
        poll_seconds: Time between two looks at the TrainJob.
    """

    pod_name: str
    task: dsl.TaskConfig
    kubernetes: "KubernetesBackendConfig | None" = None
    poll_seconds: int = 5

    def run(self, job: Job, runtime: RuntimeConfig, progress: Progress) -> None:
        """Run a job, as ``Launcher`` says.

        Raises:
            UserError: The work folder is on no volume that pods share, or the cluster lacks the Trainer or a right to it.
            UserError, DivergedError, ArtifactError: One of the processes raised it.
            RuntimeError: The TrainJob failed in another way, or could not be made.
        """
        from kubeflow.trainer import TrainerClient

        # It would warn that it may not read which version the Trainer is, which lies in another namespace.
        logging.getLogger("kubeflow.trainer").setLevel(logging.ERROR)
        shared = share(job, self.task)
        with _end_on_signal(), _explain_refusals():
            client = TrainerClient(self.kubernetes or by_service_account())
            pod = OwnPod.of(client.backend.core_api.read_namespaced_pod(self.pod_name, client.backend.namespace))
            name, training = trainjob_name(shared, pod), _find_runtime(client)
            _remove(client, name)
            shared.write()
            has_failed = False
            try:
                client.train(training, **request(name, shared, runtime, self.task, pod))
                print(f"TrainJob {client.backend.namespace}/{name} created", flush=True)
                has_failed = self._wait(client, name, shared, pod.limit_seconds, progress) == _FAILED
                if has_failed:
                    raise shared.first_error() or RuntimeError(f"TrainJob {name} failed: {_condition(client, name)}")
            finally:
                if not has_failed:
                    _delete(client, name)
        shutil.rmtree(job.output, ignore_errors=True)
        shutil.move(shared.output, job.output)

    def _wait(self, client: "TrainerClient", name: str, job: Job, limit_seconds: int, progress: Progress) -> str:
        """Return how the TrainJob ended; raises the first error that one of its processes left."""
        log = LogPrinter(client, name)

        def look(trainjob: "TrainJob") -> None:
            log.follow(trainjob)
            job.pass_on(progress)
            error = job.first_error()
            if error is not None:
                log.finish(self.poll_seconds)
                raise error

        ended = client.wait_for_job_status(
            name, {_COMPLETE, _FAILED}, timeout=2 * limit_seconds, polling_interval=self.poll_seconds, callbacks=[look]
        )
        log.finish()
        return str(ended.status)


def by_service_account() -> "KubernetesBackendConfig":
    """Return how a pod reaches the API server; reads are tried again: a moment without network must not end a training."""
    from kubeflow.common.types import KubernetesBackendConfig
    from kubernetes.client import Configuration
    from kubernetes.config import load_incluster_config
    from urllib3 import Retry

    settings = Configuration()
    load_incluster_config(client_configuration=settings)
    settings.retries = Retry(total=5, backoff_factor=1.0, status_forcelist=(429, 500, 502, 503, 504))
    return KubernetesBackendConfig(client_configuration=settings)


def _find_runtime(client: "TrainerClient") -> "Runtime":
    """Return the training runtime, with which the cluster says that the Trainer is there."""
    try:
        return client.get_runtime(RUNTIME)
    except RuntimeError as error:
        if _status(error) != _NOT_FOUND:
            raise
        raise UserError(
            f"the cluster has no training runtime {RUNTIME}", "install Kubeflow Trainer 2 with its runtimes"
        ) from error


def _remove(client: "TrainerClient", name: str) -> None:
    """Remove what an earlier try of the stage left, and wait for its pods: two trainings would write to one folder."""
    _delete(client, name)
    selector = f"jobset.sigs.k8s.io/jobset-name={name}"
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while client.backend.core_api.list_namespaced_pod(client.backend.namespace, label_selector=selector).items:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the pods of an earlier TrainJob {name} do not end")
        time.sleep(1.0)


def _delete(client: "TrainerClient", name: str) -> None:
    try:
        client.delete_job(name)
    except RuntimeError as error:
        if _status(error) != _NOT_FOUND:
            raise


def _condition(client: "TrainerClient", name: str) -> str:
    """Return why a TrainJob failed, as Kubernetes has it."""
    from kubeflow.trainer.constants import constants

    place = (constants.GROUP, constants.VERSION, client.backend.namespace, constants.TRAINJOB_PLURAL)
    trainjob = client.backend.custom_api.get_namespaced_custom_object(*place, name)
    failed = [condition for condition in trainjob["status"]["conditions"] if condition["type"] == _FAILED]
    return f"{failed[0]['reason']}: {failed[0]['message']}"


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of the client is made of."""
    refusal = _refusal(error)
    return None if refusal is None else refusal.status


def _refusal(error: BaseException) -> "ApiException | None":
    from kubernetes.client import ApiException

    return next((one for one in (error, error.__cause__) if isinstance(one, ApiException)), None)


@contextmanager
def _explain_refusals() -> Iterator[None]:
    """Say in the block why the API server refused something: the client says only what it tried."""
    from kubernetes.client import ApiException

    try:
        yield
    except (RuntimeError, ApiException) as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        body = json.loads(refusal.body) if (refusal.body or "").startswith("{") else {}
        words = body.get("message") or str(refusal.reason)
        if refusal.status == _FORBIDDEN:
            raise UserError(
                f"the stage's service account may not run TrainJobs: {words}", "bind the Role of manifests/base to it"
            ) from error
        tried = str(error).partition("\n")[0]
        raise RuntimeError(f"{tried}: {words}") from error


@contextmanager
def _end_on_signal() -> Iterator[None]:
    """Let SIGTERM, by which Kubernetes ends a pod, raise SystemExit within the block, so that the TrainJob is deleted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(signal_number: int, frame: FrameType | None) -> None:
    raise SystemExit(EXIT_INTERRUPTED)
