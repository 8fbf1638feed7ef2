"""The model registry: a version holds all that serves queries and all that a new catalogue is exported with.

A version is the bundle, which answers, and beside it the fine-tuned model and the gate: a bundle has no item towers, so alone
it could not take in a new catalogue. The price is a second copy of the query tower.

Two aliases point at versions: ``newest`` at the last one that was trained, ``champion`` at the one to be served. A training
moves ``newest`` and a refresh ``champion``, each that one alone. So whatever is served, a retrained model too, has first been
compared with what was served before, and a nightly refresh of the champion does not take ``newest`` from a retrained model that
still waits for its comparison. Where there is no champion yet, the first refresh makes one.
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
    from mlflow.models import ModelSignature

NEWEST, CHAMPION = "newest", "champion"
"""Aliases of versions."""

PARTS = ("bundle", "finetuned", "gate")
"""Artifacts that a version holds."""

_TOP_K = 10
"""Hits of a query when nobody says how many."""

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

    def register(self, artifacts: Mapping[str, Artifact], run_id: str, tags: Mapping[str, str], alias: str | None) -> str:
        """Register artifacts as a version, unless these very ones are one already.

        Args:
            artifacts: Those of ``PARTS``, by name.
            run_id: Run that a new version comes from.
            tags: Of the version.
            alias: Alias that is pointed at it; None for none.

        Returns:
            Number of the version.
        """
        digests = {_ARTIFACT_TAG + part: artifacts[part].digest for part in PARTS}
        held = {_PARTS_TAG: ",".join(PARTS), **digests}
        known = self._client.search_model_versions(f"name = '{self.name}' and {where(held)}", max_results=1)
        version = str(known[0].version) if known else self._log(artifacts, run_id)
        for tag, value in (held | dict(tags)).items():
            self._client.set_model_version_tag(self.name, version, tag, value)
        if alias is not None:
            self._client.set_registered_model_alias(self.name, alias, version)
        return version

    def promote(self, version: str, compared: str | None) -> None:
        """Point ``champion`` at a version, in one request, if it still points where it did when the two were compared.

        MLflow moves an alias unconditionally, so a move between the look and the request stays unseen: a moment, whereas a
        refresh takes hours.

        Args:
            version: The new champion. That it is the champion already, as when the task is tried again, is no mistake.
            compared: The champion that it was compared with; None where there was none.

        Raises:
            UserError: Another version has become the champion meanwhile.
        """
        found = self.find(CHAMPION)
        now = None if found is None else found.number
        if now not in (compared, version):
            raise UserError(
                f"the champion of {self.name} was {_title(compared)} when version {version} was compared with it, and is "
                f"{_title(now)} now",
                "run the refresh again, which compares with that one",
            )
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

        mlflow.set_tracking_uri(self._uri)  # models:/ is not looked up in the stores that a call names alone
        mlflow.set_registry_uri(self._uri)
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
        try:
            with mlflow.start_run(run_id=run_id):
                model = mlflow.pyfunc.log_model(
                    name="bundle",
                    python_model=str(Path(__file__).parents[1] / "served_bundle.py"),
                    artifacts={part: str(artifacts[part].path) for part in PARTS},
                    signature=_signature(),
                    pip_requirements=[],  # no name: an index may hold another package of ours
                    registered_model_name=self.name,
                )
        finally:  # the block ends the run, which is not over: what follows may fail
            self._client.update_run(run_id, status="RUNNING")
        return str(model.registered_model_version)


def _signature() -> "ModelSignature":
    """Return what the served bundle takes: queries, and how many hits each. MLflow drops a parameter that no signature names."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    return ModelSignature(inputs=Schema([ColSpec("string")]), params=ParamSchema([ParamSpec("top_k", "integer", _TOP_K)]))


def _title(version: str | None) -> str:
    return "none" if version is None else f"version {version}"
