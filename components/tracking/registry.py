"""The model registry: a version holds all that serves queries and all that a new catalogue is exported with.

A version is the bundle, which answers, and beside it the fine-tuned model and the gate: a bundle has no item towers, so alone
it could not take in a new catalogue. The price is a second copy of the query tower.

Two aliases point at versions: ``newest`` at the last one that was registered, ``champion`` at the one to be served. A training
moves ``newest`` alone. ``champion`` is moved by the refresh pipeline and by nothing else, so that whatever is served, a retrained
model too, has first been compared with what was served before; where there is no champion yet, the first refresh makes one.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from components.tracking.names import where
from smar_core.artifact import Artifact
from smar_core.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

NEWEST, CHAMPION = "newest", "champion"
"""Aliases of versions."""

PARTS = ("bundle", "finetuned", "gate")
"""Artifacts that a version holds."""

_PARTS_TAG = "smar.parts"
_ARTIFACT_TAG = "smar.artifact."


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        number: Its number, from "1".
        digests: Digest of each of ``PARTS``; empty for a version that holds the bundle alone.
    """

    number: str
    digests: Mapping[str, str]


class ModelRegistry:
    """The versions of one registered model.

    Args:
        client: Client of the registry.
        uri: The store.
        name: Name of the registered model, an attribute too.
    """

    def __init__(self, client: "MlflowClient", uri: str, name: str) -> None:
        self._client, self._uri, self.name = client, uri, name

    def register(self, artifacts: Mapping[str, Artifact], run_id: str, tags: Mapping[str, str]) -> str:
        """Register artifacts as a version, unless these very ones are one already, and point ``newest`` at it.

        Args:
            artifacts: Those of ``PARTS``, by name.
            run_id: Run that a new version comes from.
            tags: Of the version.

        Returns:
            Number of the version.
        """
        digests = {_ARTIFACT_TAG + part: artifacts[part].digest for part in PARTS}
        held = {_PARTS_TAG: ",".join(PARTS), **digests}
        known = self._client.search_model_versions(f"name = '{self.name}' and {where(held)}", max_results=1)
        version = str(known[0].version) if known else self._log(artifacts, run_id)
        for tag, value in (held | dict(tags)).items():
            self._client.set_model_version_tag(self.name, version, tag, value)
        self._client.set_registered_model_alias(self.name, NEWEST, version)
        return version

    def promote(self, version: str) -> None:
        """Point ``champion`` at a version: one request, done or not done."""
        self._client.set_registered_model_alias(self.name, CHAMPION, version)

    def find(self, alias: str) -> Version | None:
        """Return the version that an alias points at; None for none."""
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_model_version_by_alias(self.name, alias)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise
        is_whole = found.tags.get(_PARTS_TAG) == ",".join(PARTS)
        digests = {part: found.tags[_ARTIFACT_TAG + part] for part in PARTS} if is_whole else {}
        return Version(str(found.version), digests)

    def fetch(self, version: str, part: str, place: Path) -> None:
        """Download an artifact of a version.

        Args:
            version: Its number.
            part: One of ``PARTS``.
            place: Folder that the artifact is put in place of.

        Raises:
            UserError: The version holds no such artifact.
        """
        import mlflow
        from mlflow.models import Model

        model_uri = f"models:/{self.name}/{version}"
        with TemporaryDirectory(dir=place.parent, prefix=".fetch-") as folder:
            described = mlflow.artifacts.download_artifacts(
                f"{model_uri}/MLmodel", dst_path=folder, tracking_uri=self._uri, registry_uri=self._uri
            )
            held = Model.load(described).flavors["python_function"]["artifacts"]
            if part not in held:
                raise UserError(f"version {version} of {self.name} holds no {part}", "register it again: run smar run once more")
            fetched = mlflow.artifacts.download_artifacts(
                f"{model_uri}/{held[part]['path']}", dst_path=folder, tracking_uri=self._uri, registry_uri=self._uri
            )
            if place.exists():
                shutil.rmtree(place)
            shutil.move(fetched, place)

    def _log(self, artifacts: Mapping[str, Artifact], run_id: str) -> str:
        import mlflow

        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)
        with mlflow.start_run(run_id=run_id):
            model = mlflow.pyfunc.log_model(
                name="bundle",
                python_model=str(Path(__file__).parents[1] / "served_bundle.py"),
                artifacts={part: str(artifacts[part].path) for part in PARTS},
                pip_requirements=["smar"],
                registered_model_name=self.name,
            )
        return str(model.registered_model_version)
