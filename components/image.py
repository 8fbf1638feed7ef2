"""The container image that every component names; built from ``manifests/Containerfile``."""

from smar_core import __version__

IMAGE = f"localhost/smar:{__version__}"
"""Image reference. Components see no change of the code inside an image, therefore the tag moves with the version."""
