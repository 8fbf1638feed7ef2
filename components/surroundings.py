"""What a stage reads from its environment: the only environment variables of the project besides MLflow's own.

They say where a run's files go, not what is computed, and therefore are no parameters: those are part of the cache key. The
local command line sets all of them; a cluster may set those of MLflow.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SIDE_DIR = "SMAR_SIDE_DIR"
STORE_DIR = "SMAR_STORE_DIR"
PIPELINE_RUN_ID = "KFP_PIPELINE_RUN_ID"
TRACKING_URI = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"


@dataclass(frozen=True)
class Surroundings:
    """Where a stage runs.

    Attributes:
        side: Folder of the run's side files (``SMAR_SIDE_DIR``); None: nobody listens.
        store: Folder of work folders and of artifacts by digest (``SMAR_STORE_DIR``); None: a work folder is temporary and
            artifacts stay where Kubeflow wants them.
        tracking_uri: MLflow (``MLFLOW_TRACKING_URI``); None: nothing is tracked.
        experiment: Its experiment (``MLFLOW_EXPERIMENT_NAME``).
        pipeline_run_id: Id under which the stages of one pipeline run find each other (``KFP_PIPELINE_RUN_ID``).
    """

    side: Path | None = None
    store: Path | None = None
    tracking_uri: str | None = None
    experiment: str = "smar"
    pipeline_run_id: str = ""

    @classmethod
    def read(cls) -> "Surroundings":
        """Read the process's environment."""
        env = os.environ
        return cls(
            side=Path(env[SIDE_DIR]) if env.get(SIDE_DIR) else None,
            store=Path(env[STORE_DIR]) if env.get(STORE_DIR) else None,
            tracking_uri=env.get(TRACKING_URI) or None,
            experiment=env.get(EXPERIMENT) or "smar",
            pipeline_run_id=env.get(PIPELINE_RUN_ID, ""),
        )

    def as_environment(self) -> Mapping[str, str]:
        """Return the variables that ``read`` turns into these surroundings."""
        values = {
            SIDE_DIR: str(self.side or ""),
            STORE_DIR: str(self.store or ""),
            TRACKING_URI: self.tracking_uri or "",
            EXPERIMENT: self.experiment,
            PIPELINE_RUN_ID: self.pipeline_run_id,
        }
        return {name: value for name, value in values.items() if value}

    def work_folder(self, key: str) -> Path:
        """Return the folder for a stage's checkpoints, made if it is not there.

        Args:
            key: Digest of the stage's inputs, config and code, so that a killed stage finds its checkpoints again.
        """
        if self.store is None:
            return Path(tempfile.mkdtemp(prefix="smar-work-"))
        folder = self.store / "work" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def artifact_folder(self, kind: str, digest: str) -> Path | None:
        """Return the folder that an artifact of this content has in the store; None without a store."""
        return None if self.store is None else self.store / "artifacts" / kind / digest
