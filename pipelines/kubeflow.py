"""Kubeflow's API server, through Kubeflow's own client: upload a pipeline, start a run of it, wait for its end.

The client prints, retries a wrong address for half a minute, and never sees the end of a cancelled run; what is here says each
mistake in one sentence at once. A token is read from its file before every request, because tokens of service accounts are
replaced while a run is waited for, and it is shown nowhere. Left out: logins through a browser.
"""

import contextlib
import io
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError, SSLError

from pipelines.kubeflow_tasks import ENDS, describe_failure, shorten, task_states
from pipelines.local import PipelineFailedError
from smar_core.errors import UserError

_EQUALS = 1
_POLL_SECONDS = 10.0
_NUM_PASSING_FAILURES = 6


@dataclass(frozen=True)
class Address:
    """Where a Kubeflow is, and who asks.

    Attributes:
        host: URL of its API.
        namespace: The user's, where Kubeflow has many users; None where it has one.
        token_file: File of a bearer token; None: the service account's inside a cluster, else no token.
        ca_file: Certificates that the host's is checked against; None: those that everybody trusts.
        ui_host: URL of Kubeflow's page, for a person; None: where the API is.
    """

    host: str
    namespace: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    ui_host: str | None = None


@dataclass(frozen=True)
class Shown:
    """How a run is shown, and as whom it runs.

    Attributes:
        experiment: Experiment that it is shown under; made if it is not there.
        name: Its name.
        service_account: Account that its pods run as; None for the backend's own choice.
    """

    experiment: str
    name: str
    service_account: str | None = None


class Kubeflow:
    """A Kubeflow that has answered.

    Args:
        address: Where it is.

    Raises:
        UserError: It cannot be reached, is no Kubeflow, or refuses the token; the token cannot be read; or an address has a user
            or a password in it, which would be printed.
    """

    def __init__(self, address: Address) -> None:
        for option, url in (("--host", address.host), ("--ui-host", address.ui_host or "")):
            if "@" in url:
                raise UserError(
                    f"{option} has a user or a password in it", "take it out, and name a token's file with --token-file"
                )
        if not address.host.startswith(("http://", "https://")):
            raise UserError(f"--host {address.host} is no URL", "write for example https://kubeflow.example/pipeline")
        self._address = address
        self._host = address.host.rstrip("/")
        self._ui_host = (address.ui_host or address.host).rstrip("/")
        if address.ca_file is not None and not address.ca_file.is_file():
            raise UserError(f"{address.ca_file} is no file", "name a file of certificates (PEM) with --ca-file")
        token_file = _token_file(address.token_file)
        credentials = None if token_file is None else kfp.client.ServiceAccountTokenVolumeCredentials(str(token_file))
        with self._explained("say how it is"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it speaks to version 2 only
            self._client = _Client(
                self._host,
                namespace=address.namespace or "kubeflow",
                credentials=credentials,
                ssl_ca_cert=str(address.ca_file) if address.ca_file is not None else None,
            )
            is_shared = self._client.get_kfp_healthz().multi_user
        if is_shared and not address.namespace and not self._client.get_user_namespace():
            raise UserError(f"{self._host} has many users", "name your namespace with --namespace")

    def upload(self, name: str, version: str, package: Path) -> tuple[str, str]:
        """Return the ids of a pipeline and of one of its versions, which are made where they are not there.

        Args:
            name: Name of the pipeline.
            version: Name of the version, which tells its content.
            package: The compiled pipeline.
        """
        with self._explained(f"keep pipeline {name}"):
            found = self._client.list_pipelines(filter=_named(name), namespace=self._address.namespace).pipelines
            pipeline = found[0] if found else self._client.upload_pipeline(str(package), name, namespace=self._address.namespace)
            pipeline_id = self._id(pipeline.pipeline_id)
            versions = self._client.list_pipeline_versions(pipeline_id, filter=_named(version)).pipeline_versions
            kept = versions[0] if versions else self._client.upload_pipeline_version(str(package), version, pipeline_id)
            return pipeline_id, self._id(kept.pipeline_version_id)

    def start(self, pipeline: tuple[str, str], arguments: dict[str, Any], shown: Shown) -> str:
        """Start a run and return its id.

        Args:
            pipeline: What ``upload`` returned.
            arguments: Parameters of the pipeline.
            shown: How.
        """
        experiment_id = self._keep_experiment(shown.experiment)
        with self._explained("start a run"):
            run = self._client.run_pipeline(
                experiment_id,
                shown.name,
                params=arguments,
                pipeline_id=pipeline[0],
                version_id=pipeline[1],
                service_account=shown.service_account,
            )
            return self._id(run.run_id)

    def start_recurring(self, pipeline: tuple[str, str], arguments: dict[str, Any], cron: str, shown: Shown) -> str:
        """Have runs started again and again, one at a time, and return the URL of their page.

        Args:
            pipeline: What ``upload`` returned.
            arguments: Parameters of the pipeline.
            cron: When: six fields, the first of them seconds. A time that was missed is not made up for.
            shown: How.

        Raises:
            UserError: There are such runs already: beside them, the new ones would do everything twice, each with the image and
                parameters of its own day.
        """
        experiment_id = self._keep_experiment(shown.experiment)
        with self._explained("tell of recurring runs"):
            known = self._client.list_recurring_runs(experiment_id=experiment_id, filter=_named(shown.name)).recurring_runs
        if known:
            raise UserError(
                f"experiment {shown.experiment} has recurring runs named {shown.name} already: "
                f"{self._recurring_page(known[0].recurring_run_id)}",
                "delete them on that page first, or give another name with --run-name",
            )
        with self._explained("start recurring runs"):
            made = self._client.create_recurring_run(
                experiment_id,
                shown.name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=arguments,
                pipeline_id=pipeline[0],
                version_id=pipeline[1],
                service_account=shown.service_account,
            )
            return self._recurring_page(made.recurring_run_id)

    def page(self, run_id: str) -> str:
        """Return the URL of a run's page."""
        return f"{self._ui_host}/#/runs/details/{run_id}"

    def wait(self, run_id: str, tell: Callable[[str], None]) -> None:
        """Wait for the end of a run; some looks at it in a row may fail.

        Args:
            run_id: The run.
            tell: Given a line for every change of a task.

        Raises:
            PipelineFailedError: It did not end well; names the task.
            UserError: Kubeflow cannot be reached any more, or refuses the token.
        """
        shown: dict[str, str] = {}
        num_failures = 0
        while True:
            try:
                with self._explained("tell of the run"):
                    run = self._client.get_run(run_id)
                num_failures = 0
            except UserError:
                num_failures += 1
                if num_failures == _NUM_PASSING_FAILURES:
                    raise
                time.sleep(_POLL_SECONDS)
                continue
            for task, state in task_states(run).items():
                if shown.get(task) != state:
                    tell(f"{task}: {state.lower()}")
                    shown[task] = state
            if run.state in ENDS:
                break
            time.sleep(_POLL_SECONDS)
        if run.state != "SUCCEEDED":
            raise PipelineFailedError(describe_failure(run), self.page(run_id))

    def _keep_experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made where it is not there."""
        with self._explained(f"keep experiment {name}"):
            return self._id(self._client.create_experiment(name, namespace=self._address.namespace).experiment_id)

    def _recurring_page(self, recurring_run_id: str | None) -> str:
        return f"{self._ui_host}/#/recurringrun/details/{self._id(recurring_run_id)}"

    def _id(self, value: str | None) -> str:
        if not value:
            raise UserError(
                f"{self._host} answers, but not as Kubeflow's API does (with a login page?)",
                "name the address of the API with --host, and a token with --token-file",
            )
        return value

    @contextlib.contextmanager
    def _explained(self, task: str) -> Iterator[None]:
        """Keep the client from printing, and turn what it raises into a UserError.

        Args:
            task: What Kubeflow is asked to do.
        """
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except HTTPError as error:
            reason = getattr(error, "reason", None) or error
            remedy = "name its authority's certificate with --ca-file" if isinstance(reason, SSLError) else "check --host"
            raise UserError(f"{self._host} cannot be reached ({shorten(reason)})", remedy) from None
        except ApiException as error:
            raise self._explain(error, task) from None

    def _explain(self, error: ApiException, task: str) -> UserError:
        said = f"{error.status} {_message(error)}"
        if error.status in (401, 403):
            account = "give a token with --token-file" if _token_file(self._address.token_file) is None else "give another token"
            return UserError(
                f"{self._host} refuses to {task} ({said})", f"{account}, of an account that may do so in the namespace"
            )
        if error.status == 404:
            return UserError(
                f"{self._host} does not know what it is asked, to {task} ({said})",
                "name the address of the API of Kubeflow Pipelines 2 with --host, and a namespace that is there with --namespace",
            )
        if error.status is not None and error.status < 500:
            return UserError(f"{self._host} refuses to {task} ({said})", "correct what it names")
        return UserError(f"{self._host} fails to {task} ({said})", "try again, or look at the log of ml-pipeline")


class _Client(kfp.Client):
    """Kubeflow's client, which would ask five times in half a minute whether a server with another token is in good health."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Ask once."""
        return self._healthz_api.healthz_service_get_healthz()


def _token_file(given: Path | None) -> Path | None:
    """Return the file of the token, if there is one.

    Raises:
        UserError: The file that was given cannot be read, or is empty.
    """
    if given is None:
        mounted = Path(os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH)
        return mounted if mounted.is_file() else None
    try:
        token = given.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"token file {given} cannot be read", "name a file that holds a bearer token with --token-file") from None
    if not token:
        raise UserError(f"token file {given} is empty", "write a bearer token into it")
    return given


def _named(name: str) -> str:
    """Return the filter of a list for objects of a name."""
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})


def _message(error: ApiException) -> str:
    """Return what the server says of an error, else what HTTP calls it; never its headers."""
    try:
        body = json.loads(error.body)
        said = body.get("message") or body.get("error") or error.reason
    except (TypeError, ValueError, AttributeError):
        said = error.reason
    return shorten(said)
