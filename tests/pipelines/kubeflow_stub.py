"""A server that speaks the REST API of Kubeflow Pipelines to Kubeflow's own client, and remembers what it was asked."""

import email
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


@dataclass
class Backend:
    """What the server holds and how it behaves.

    Attributes:
        token: What it asks for as a bearer token; "" for none.
        is_shared: Whether it has many users.
        states: States of the run, one a look; the last stays.
        num_stumbles: Looks at the run that fail before one is answered.
        tasks: Details of the run's tasks.
        refusals: Status and message by a part of the path: what it refuses.
        pipelines: Name and namespace of each pipeline, by id.
        versions: Pipeline's id, name and documents of each version, by id.
        experiments: Name of each experiment, by id.
        recurring: Experiment's id and name of each recurring run, by id.
        runs: What was asked for of each run.
        tokens: Tokens that were shown.
    """

    token: str = ""
    is_shared: bool = False
    states: list[str] = field(default_factory=lambda: ["SUCCEEDED"])
    num_stumbles: int = 0
    tasks: list[dict[str, Any]] = field(default_factory=list)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    pipelines: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    versions: dict[str, tuple[str, str, list[dict[str, Any]]]] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)
    recurring: dict[str, tuple[str, str]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, content_type: str) -> dict[str, Any]:
        """Answer a request; raises KeyError for a path that there is none of."""
        if path == "healthz":
            return {"multi_user": self.is_shared}
        if (method, path) == ("GET", "pipelines"):
            found = [i for i, (name, space) in self.pipelines.items() if (name, space) == (wanted(query), query.get("namespace"))]
            return {"pipelines": [{"pipeline_id": i, "display_name": self.pipelines[i][0]} for i in found]} if found else {}
        if (method, path) == ("POST", "pipelines/upload"):
            made = f"pipeline-{len(self.pipelines)}"
            self.pipelines[made] = (query["name"], query.get("namespace"))
            self._add_version(made, query["name"], uploaded(body, content_type))
            return {"pipeline_id": made, "display_name": query["name"]}
        if (method, path) == ("POST", "pipelines/upload_version"):
            made = self._add_version(query["pipelineid"], query["name"], uploaded(body, content_type))
            return {"pipeline_id": query["pipelineid"], "pipeline_version_id": made, "display_name": query["name"]}
        if match := re.fullmatch(r"pipelines/(.+)/versions", path):
            found = [i for i, (of, name, _) in self.versions.items() if (of, name) == (match[1], wanted(query))]
            return {"pipeline_versions": [{"pipeline_id": match[1], "pipeline_version_id": i} for i in found]} if found else {}
        if (method, path) == ("GET", "experiments"):
            found = [i for i, name in self.experiments.items() if name == wanted(query)]
            return {"experiments": [{"experiment_id": i, "display_name": self.experiments[i]} for i in found]} if found else {}
        if (method, path) == ("POST", "experiments"):
            made = f"experiment-{len(self.experiments)}"
            self.experiments[made] = json.loads(body)["display_name"]
            return {"experiment_id": made, "display_name": self.experiments[made]}
        if (method, path) == ("POST", "runs"):
            self.runs.append(json.loads(body))
            return {"run_id": "run-0", "state": "PENDING"}
        if (method, path) == ("GET", "recurringruns"):
            found = [i for i, known in self.recurring.items() if known == (query["experiment_id"], wanted(query))]
            return {"recurringRuns": [{"recurring_run_id": i, "display_name": wanted(query)} for i in found]} if found else {}
        if (method, path) == ("POST", "recurringruns"):
            self.runs.append(json.loads(body))
            made = f"recurring-{len(self.recurring)}"
            self.recurring[made] = (self.runs[-1]["experiment_id"], self.runs[-1]["display_name"])
            return {"recurring_run_id": made}
        if (method, path) == ("GET", "runs/run-0"):
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return {"run_id": "run-0", "state": state, "run_details": {"task_details": self.tasks}}
        raise KeyError(path)

    def _add_version(self, pipeline: str, name: str, documents: list[dict[str, Any]]) -> str:
        made = f"version-{len(self.versions)}"
        self.versions[made] = (pipeline, name, documents)
        return made


def wanted(query: dict[str, str]) -> str:
    """Return the name that a list is filtered by."""
    (predicate,) = json.loads(query["filter"])["predicates"]
    assert (predicate["operation"], predicate["key"]) == (1, "display_name")
    return str(predicate["stringValue"])


def uploaded(body: bytes, content_type: str) -> list[dict[str, Any]]:
    """Return the documents of the YAML file in a multipart upload."""
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    (part,) = message.get_payload()
    return list(yaml.safe_load_all(part.get_payload(decode=True)))


@contextmanager
def serve(backend: Backend, prefix: str = "/pipeline", certificate: Path | None = None) -> Iterator[str]:
    """Serve a backend on a free port of this machine.

    Args:
        backend: What is served.
        prefix: Path below which the API is, as behind Kubeflow's gateway.
        certificate: File of a key and its certificate, to be reached by HTTPS; None: by HTTP.

    Yields:
        The URL that is given as ``--host``.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def _reply(self, method: str) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            authorization = self.headers.get("Authorization", "")
            backend.tokens.append(authorization)
            path = address.path.removeprefix(f"{prefix}/apis/v2beta1/")
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            refused = next((refusal for part, refusal in backend.refusals.items() if path.startswith(part)), None)
            if backend.token and authorization != f"Bearer {backend.token}":
                self._send(401, {"message": "Unauthenticated"})
            elif path == "runs/run-0" and backend.num_stumbles > 0:
                backend.num_stumbles -= 1
                self._send(503, {"message": "restarting"})
            elif refused is not None:
                self._send(refused[0], {"code": 5, "message": refused[1]})
            else:
                try:
                    self._send(200, backend.answer(method, path, query, body, self.headers.get("Content-Type", "")))
                except KeyError:
                    self._send(404, {"message": "Not Found"})

        def _send(self, status: int, value: dict[str, Any]) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
