"""A bundle of a store, ``STORE/bundle/DIGEST``, and what it was made from, which lies beside it."""

from pathlib import Path

from smar_core.artifact import Artifact, open_artifact
from smar_core.retrieval.bundle import Bundle


def open_made_from(folder: Path) -> tuple[Bundle, Artifact, Artifact]:
    """Return the bundle, its items, and the clicks that its model was trained on.

    Raises:
        UserError: It is no bundle.
        ArtifactError: What it was made from does not lie beside it.
    """
    bundle = Bundle.open(folder)
    opened = open_artifact(folder, "bundle", verify=False)

    def parent(of: Artifact, name: str, kind: str) -> Artifact:
        return open_artifact(folder.resolve().parents[1] / kind / of.parents[name], kind, verify=False)

    return bundle, parent(opened, "items", "items"), parent(parent(opened, "finetuned", "model"), "clicks", "clicks")
