"""An API server of Kubernetes with as much of it as the client of Kubeflow Trainer calls, and a Trainer that a test plays.

It answers on localhost, in the words of Kubernetes, so that the real client speaks to it. What happens once a TrainJob was
created is up to the test: it sets ``on_created``, which is called in a thread of its own and starts pods, writes their log and
ends the TrainJob.
"""

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubeflow.common.types import KubernetesBackendConfig
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from kubernetes.client import Configuration

NAMESPACE = "team-search"
OWN_POD = "smar-training-x7k2p-system-container-impl"
IMAGE = "registry.example/smar@sha256:1234"

_NOW = "2026-01-02T03:04:05Z"
_TRAINER = "/apis/trainer.kubeflow.org/v1alpha1"
_TRAINJOBS = re.compile(rf"{_TRAINER}/namespaces/{NAMESPACE}/trainjobs(?:/(?P<name>[^/]+))?")
_PODS = re.compile(rf"/api/v1/namespaces/{NAMESPACE}/pods(?:/(?P<name>[^/]+)(?P<log>/log)?)?")

RUNTIME = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1",
    "kind": "ClusterTrainingRuntime",
    "metadata": {"name": "torch-distributed", "labels": {"trainer.kubeflow.org/framework": "torch"}},
    "spec": {
        "mlPolicy": {"numNodes": 1, "torch": {}},
        "template": {
            "spec": {
                "replicatedJobs": [
                    {
                        "name": "node",
                        "template": {
                            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                            "spec": {"template": {"spec": {"containers": [{"name": "node", "image": "pytorch"}]}}},
                        },
                    }
                ]
            }
        },
    },
}


class StubKubernetes:
    """State of the cluster.

    Attributes:
        trainjobs, pods: Those that are there, by name.
        created, deleted: TrainJobs and names, in order.
        refusals: Status and message with which requests are answered, by ``METHOD kind`` such as ``POST trainjobs``.
        on_created: Plays the Trainer for a TrainJob.
        grace_seconds: How long the pods of a deleted TrainJob go on.
    """

    def __init__(self) -> None:
        self.trainjobs: dict[str, dict[str, Any]] = {}
        self.created: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.on_created: Callable[[dict[str, Any]], None] = lambda trainjob: None
        self.grace_seconds = 0.0
        self.pods: dict[str, dict[str, Any]] = {}
        self._logs: dict[str, list[str]] = {}
        self._num_lines_of_connection: dict[str, int] = {}

    def start_pod(self, trainjob: str, index: int = 0) -> str:
        """Start a pod of a TrainJob and return its name."""
        name = f"{trainjob}-node-0-{index}-{len(self.pods)}"
        labels = {
            "jobset.sigs.k8s.io/jobset-name": trainjob,
            "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "batch.kubernetes.io/job-completion-index": str(index),
        }
        self._logs[name] = []
        self.pods[name] = {
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels, "creationTimestamp": _NOW},
            "spec": {"containers": [{"name": "node", "image": IMAGE}]},
            "status": {"phase": "Running"},
        }
        return name

    def write_log(self, pod: str, *lines: str) -> None:
        """Add lines to the log of a pod."""
        self._logs[pod].extend(lines)

    def break_log_after(self, pod: str, num_lines: int) -> None:
        """Close each connection that reads the log of a pod after some lines."""
        self._num_lines_of_connection[pod] = num_lines

    def end_pod(self, pod: str, phase: str = "Succeeded") -> None:
        """End a pod."""
        self.pods[pod]["status"]["phase"] = phase

    def end_trainjob(self, name: str, condition: str = "Complete", reason: str = "Done", message: str = "") -> None:
        """Give a TrainJob a condition."""
        ended = {"type": condition, "status": "True", "reason": reason, "message": message, "lastTransitionTime": _NOW}
        self.trainjobs[name]["status"] = {"conditions": [ended]}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        """Return the answer to a request: JSON, or the lines of a log; raises _RefusedError."""
        for request, refusal in self.refusals.items():
            refused_method, kind = request.split()
            if method == refused_method and f"/{kind}" in path:
                raise _RefusedError(*refusal)
        if path == f"{_TRAINER}/clustertrainingruntimes/torch-distributed":
            return RUNTIME
        if found := _TRAINJOBS.fullmatch(path):
            return self._answer_on_trainjobs(method, found["name"], body)
        if found := _PODS.fullmatch(path):
            return self._answer_on_pods(found["name"], bool(found["log"]), query)
        raise _RefusedError(404, f"{path} not found")

    def _answer_on_trainjobs(self, method: str, name: str | None, body: Any) -> Any:
        if method == "POST":
            return self._create(body)
        if name not in self.trainjobs:
            raise _RefusedError(404, f'trainjobs "{name}" not found')
        if method == "DELETE":
            self.deleted.append(name)
            threading.Timer(self.grace_seconds, self._end_pods, (name,)).start()
            return self.trainjobs.pop(name)
        return self.trainjobs[name]

    def _create(self, body: Any) -> Any:
        """Create a TrainJob; what its models do not know would be lost, and is refused."""
        known = TrainerV1alpha1TrainJob.from_dict(copy.deepcopy(body))
        if known is None or known.to_dict() != body:
            raise _RefusedError(422, "unknown fields")
        self.created.append(copy.deepcopy(body))
        body["metadata"] |= {"namespace": NAMESPACE, "creationTimestamp": _NOW}
        self.trainjobs[body["metadata"]["name"]] = body
        threading.Thread(target=self.on_created, args=(body,), daemon=True).start()
        return body

    def _answer_on_pods(self, name: str | None, is_log: bool, query: dict[str, list[str]]) -> Any:
        if name == OWN_POD:
            return _own_pod()
        if name is None:
            trainjob = re.findall(r"jobset-name=([^,]+)", query["labelSelector"][0])[0]
            return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods_of(trainjob)}
        return self._follow(name) if is_log else self.pods[name]

    def _end_pods(self, trainjob: str) -> None:
        for pod in self._pods_of(trainjob):
            del self.pods[pod["metadata"]["name"]]

    def _pods_of(self, trainjob: str) -> list[dict[str, Any]]:
        return [pod for pod in self.pods.values() if pod["metadata"]["labels"]["jobset.sigs.k8s.io/jobset-name"] == trainjob]

    def _follow(self, pod: str) -> Iterator[str]:
        num_sent, most = 0, self._num_lines_of_connection.get(pod)
        while True:
            has_ended = pod not in self.pods or self.pods[pod]["status"]["phase"] != "Running"
            while num_sent < len(self._logs[pod]):
                if most is not None and num_sent >= most:
                    self._num_lines_of_connection[pod] += most
                    return
                yield self._logs[pod][num_sent]
                num_sent += 1
            if has_ended:
                return
            time.sleep(0.02)


class _RefusedError(Exception):
    """A request that is answered with an error: status and message."""


def _own_pod() -> dict[str, Any]:
    return {
        "metadata": {"name": OWN_POD, "namespace": NAMESPACE, "labels": {"pipeline/runid": "run-1"}},
        "spec": {
            "containers": [
                {"name": "wait", "image": "argoexec", "securityContext": {"runAsUser": 8737}},
                {
                    "name": "main",
                    "image": IMAGE,
                    "securityContext": {"runAsUser": 10001, "readOnlyRootFilesystem": False},
                    "volumeMounts": [
                        {"name": "scratch", "mountPath": "/tmp"},
                        {"name": "shared-memory", "mountPath": "/dev/shm"},
                        {"name": "key", "mountPath": "/key"},
                    ],
                },
            ],
            "volumes": [
                {"name": "scratch", "emptyDir": {"sizeLimit": "20Gi"}},
                {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
                {"name": "key", "secret": {"secretName": "key"}},
            ],
            "activeDeadlineSeconds": 7200,
            "imagePullSecrets": [{"name": "registry-key"}],
            "securityContext": {"fsGroup": 2000},
        },
        "status": {"phase": "Running"},
    }


@contextmanager
def serve(stub: StubKubernetes) -> Iterator[KubernetesBackendConfig]:
    """Serve a stub within the block; yields how the client reaches it."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            address = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"]))) if "Content-Length" in self.headers else None
            try:
                answer = stub.answer(self.command, address.path, parse_qs(address.query), body)
            except _RefusedError as refusal:
                status, message = refusal.args
                self._send(status, json.dumps({"kind": "Status", "code": status, "message": message}))
                return
            if isinstance(answer, dict):
                self._send(200, json.dumps(answer))
                return
            self.send_response(200)
            self.end_headers()
            for line in answer:
                self.wfile.write(f"{line}\n".encode())
                self.wfile.flush()

        do_GET = do_POST = do_DELETE = _handle

        def _send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        settings = Configuration(host=f"http://127.0.0.1:{server.server_port}")
        yield KubernetesBackendConfig(namespace=NAMESPACE, client_configuration=settings)
    finally:
        server.shutdown()
        server.server_close()
