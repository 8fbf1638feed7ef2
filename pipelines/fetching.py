"""``smar fetch``: the bundle of a registered version, out of MLflow into a folder."""

import shutil
from pathlib import Path

from components.surroundings import Surroundings
from components.tracking import ModelRegistry, open_store
from pipelines.preflight import tracking_uri
from smar_core.artifact import open_artifact
from smar_core.config import TrackingConfig
from smar_core.errors import ArtifactError, UserError


def fetch_bundle(alias: str, out: Path, config: TrackingConfig, folder: Path) -> str:
    """Copy a version's bundle and check it.

    Args:
        alias: Of the version: ``champion`` or ``newest``.
        out: Folder that it is written to; there is none yet.
        config: Which store, and the name of the registered model.
        folder: Where the store lies if nothing names one.

    Returns:
        Number of the version.

    Raises:
        UserError: ``out`` is there, or there is no such version, or it does not hold what the registry says.
    """
    if out.exists():
        raise UserError(f"{out} is there already", "name a folder that is not, or remove it")
    uri = tracking_uri(config, folder)
    store = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not store.exists():
        raise UserError(f"there is no tracking store {store}", "go to the folder of the training, or set tracking.uri")
    with open_store(Surroundings(tracking_uri=uri)) as (client, _):
        registry = ModelRegistry(client, uri, config.model_name)
        version = registry.find(alias)
        if version is None:
            raise UserError(
                f"the registry has no version of {registry.name} with the alias {alias}",
                "train with smar run, which makes newest, and smar refresh, which makes champion, or name another with --model",
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        registry.fetch(version.number, "bundle", out)
    try:
        digest = open_artifact(out, "bundle").digest
    except ArtifactError as error:
        digest = f"unusable: {error}"
    if digest != version.digests.get("bundle", digest):
        shutil.rmtree(out)
        raise UserError(f"the bundle of version {version.number} is not what the registry says of it", "train it anew")
    return version.number
