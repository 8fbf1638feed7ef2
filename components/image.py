"""The container image of the stages, named by a digest of all that goes into it.

Kubeflow's cache and its users see an image's name and not what is inside, so the name moves with the content: an image whose
tag is this working tree's holds this working tree's code and the lock's libraries. The decorators of the components name no
tag: a digest there would change every compiled pipeline with every edit, and the parameter ``image`` of each pipeline takes its
place anyway (``pipelines.placement``).
"""

from pathlib import Path

from smar_core.digest import digest_file, digest_files

IMAGE = "localhost/smar"
"""Name of the image without a tag."""

CONTENT = ("smar_core", "components", "requirements.lock", "manifests/image-requirements.txt", "manifests/Containerfile")
"""Files and folders that go into the image, from the project's folder."""

_PROJECT = Path(__file__).resolve().parents[1]
_TAG_LENGTH = 16


def image_reference(project: Path = _PROJECT) -> str:
    """Return the name and tag of the image of a working tree.

    Args:
        project: The project's folder.
    """
    return f"{IMAGE}:{source_digest(project)[:_TAG_LENGTH]}"


def source_digest(project: Path = _PROJECT) -> str:
    """Return the digest of ``CONTENT``: of its files' names and bytes, compiled Python left out.

    Args:
        project: The project's folder.
    """
    files = (path for name in CONTENT for path in [project / name, *(project / name).rglob("*")] if path.is_file())
    return digest_files({str(f.relative_to(project)): digest_file(f) for f in files if "__pycache__" not in f.parts})
