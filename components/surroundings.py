"""What a stage reads from its environment: the only environment variables of the project besides MLflow's own.

They say where a run's files go, not what is computed, and therefore are no parameters: those are part of the cache key. The
local command line sets all of them but the last two; on a cluster the compiled pipeline sets the pipeline run's id, Kubeflow
the pod's name, and MLflow's come from secrets or from Kubeflow's MLflow plugin.

MLflow's address goes into side files, messages and run records. A password in it would too, so it is taken out as soon as the
address is read, and left in the environment under the names that MLflow's client reads: no later code ever holds it. A database's
address has no such names, so one with a password is refused.
"""

import os
import tempfile
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from smar_core.config.platform import has_password_parameter
from smar_core.errors import UserError

SIDE_DIR = "SMAR_SIDE_DIR"
STORE_DIR = "SMAR_STORE_DIR"
PIPELINE_RUN_ID = "KFP_PIPELINE_RUN_ID"
TRACKING_URI = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
POD_NAME = "KFP_POD_NAME"
INJECTED_RUN_ID = "MLFLOW_RUN_ID"
USER, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
SECRETS = (USER, PASSWORD, TOKEN)
"""Variables with which MLflow's client says who it is: handed from process to process, never written."""
NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
"""Variables that keep libraries, MLflow above all, from telling their makers of their use: set for every process."""


@dataclass(frozen=True)
class Surroundings:
    """Where a stage runs.

    Attributes:
        side: Folder of the run's side files (``SMAR_SIDE_DIR``); None: nobody listens.
        store: Folder of work folders and of artifacts by digest (``SMAR_STORE_DIR``); None: a work folder is in the run's
            workspace or temporary, and artifacts stay where Kubeflow wants them.
        tracking_uri: MLflow (``MLFLOW_TRACKING_URI``); None: nothing is tracked.
        experiment: Its experiment (``MLFLOW_EXPERIMENT_NAME``).
        pipeline_run_id: Id under which the stages of one pipeline run find each other (``KFP_PIPELINE_RUN_ID``).
        injected_run_id: MLflow's run of this very task (``MLFLOW_RUN_ID``), made by Kubeflow's MLflow plugin; None without it.
        pod_name: Pod of the task (``KFP_POD_NAME``); None where the stage is not a task on a cluster.
    """

    side: Path | None = None
    store: Path | None = None
    tracking_uri: str | None = None
    experiment: str = "smar"
    pipeline_run_id: str = ""
    injected_run_id: str | None = None
    pod_name: str | None = None

    @classmethod
    def read(cls) -> "Surroundings":
        """Read the process's environment; credentials in MLflow's address are parted from it there.

        Raises:
            UserError: The address is a database's and holds a password.
        """
        env = os.environ
        return cls(
            side=Path(env[SIDE_DIR]) if env.get(SIDE_DIR) else None,
            store=Path(env[STORE_DIR]) if env.get(STORE_DIR) else None,
            tracking_uri=read_tracking_uri(env),
            experiment=env.get(EXPERIMENT) or "smar",
            pipeline_run_id=env.get(PIPELINE_RUN_ID, ""),
            injected_run_id=env.get(INJECTED_RUN_ID) or None,
            pod_name=env.get(POD_NAME) or None,
        )

    def as_environment(self) -> Mapping[str, str]:
        """Return the variables that ``read`` turns into these surroundings."""
        values = {
            SIDE_DIR: str(self.side or ""),
            STORE_DIR: str(self.store or ""),
            TRACKING_URI: self.tracking_uri or "",
            EXPERIMENT: self.experiment,
            PIPELINE_RUN_ID: self.pipeline_run_id,
            INJECTED_RUN_ID: self.injected_run_id or "",
            POD_NAME: self.pod_name or "",
        }
        return {name: value for name, value in values.items() if value}

    def work_folder(self, key: str, workspace: str = "") -> Path:
        """Return the folder for a stage's checkpoints, made if it is not there: in the store, the workspace, or temporary.

        Args:
            key: Digest of the stage's inputs, config and code, so that a killed stage finds its checkpoints again.
            workspace: Folder of a volume that is there for the pipeline run; "" for none.

        Raises:
            UserError: The volume or the store belongs to somebody else.
        """
        if self.store is None and not workspace:
            return Path(tempfile.mkdtemp(prefix="smar-work-"))
        folder = (self.store or Path(workspace)) / "work" / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except PermissionError:
            raise UserError(
                f"user {os.getuid()} may not write to {folder}",
                "let that user write there; on a cluster have Argo give a run's volumes to the image's group (fsGroup 10001 in "
                "its workflowDefaults: docs/kubeflow.md, step 6)",
            ) from None
        return folder

    def artifact_folder(self, kind: str, digest: str) -> Path | None:
        """Return the folder that an artifact of this content has in the store; None without a store."""
        return None if self.store is None else self.store / "artifacts" / kind / digest


def read_tracking_uri(environment: MutableMapping[str, str]) -> str | None:
    """Return MLflow's address, None for none, and leave it in the environment without credentials.

    Args:
        environment: The process's, in which MLflow's client looks for the credentials.

    Raises:
        UserError: As ``part_credentials``.
    """
    uri, credentials = part_credentials(environment.get(TRACKING_URI, ""))
    if credentials:
        environment.update({TRACKING_URI: uri, **credentials})
    return uri or None


def part_credentials(uri: str) -> tuple[str, Mapping[str, str]]:
    """Part an address from the credentials in it.

    Returns:
        The address without them, and MLflow's variables for them; none where it holds none.

    Raises:
        UserError: It is a database's with a password, which nothing but the address could hold.

    >>> part_credentials("https://ada:p%40ss@mlflow.example/x")
    ('https://mlflow.example/x', {'MLFLOW_TRACKING_USERNAME': 'ada', 'MLFLOW_TRACKING_PASSWORD': 'p@ss'})
    """
    if has_password_parameter(uri):
        raise UserError(
            "MLflow's address names a password among its parameters, which would end up in logs and records",
            f"start an MLflow server before the database and name its address, with user and password in {USER} and {PASSWORD}",
        )
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    userinfo, at, host = authority.rpartition("@")
    if not at:
        return uri, {}
    user, colon, password = userinfo.partition(":")
    if scheme in {"http", "https"}:
        given = {USER: unquote(user), PASSWORD: unquote(password)}
        return f"{scheme}{separator}{host}{slash}{path}", {name: value for name, value in given.items() if value}
    if colon:
        raise UserError(
            f"MLflow's address of kind {scheme} at {host} holds a password, which would end up in logs and records",
            f"start an MLflow server before the database and name its address, with user and password in {USER} and {PASSWORD}",
        )
    return uri, {}
