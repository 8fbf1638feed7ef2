"""Kubeflow's local cache, with a look at the content of what it returns.

Kubeflow's own cache is content with an artifact whose path exists. This one opens every artifact of a hit against its
manifest (about 1 GB/s) and forgets the entry when one was altered, so that its stage is run again. Only entries that are asked
for are looked at.
"""

import logging
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.local import cache as kfp_cache

from smar_core.artifact import open_artifact
from smar_core.errors import ArtifactError


class VerifiedCache(kfp_cache.LocalCache):
    """A cache whose hits are intact."""

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the outputs of a task with this key; None when there are none or one of them was altered."""
        outputs: dict[str, Any] | None = super().get(key)
        if outputs is None or all(_is_intact(output) for output in outputs.values()):
            return outputs
        (Path(self.cache_root) / f"{key}.json").unlink()
        return None


class ForgetfulCache(kfp_cache.LocalCache):
    """A cache that never hits but keeps what is made, for ``--no-cache``."""

    def get(self, key: str) -> None:
        """Return nothing."""
        return


def install(*, use_cache: bool) -> None:
    """Make ``kfp.local.init(enable_caching=True)`` use one of the caches above."""
    kfp_cache.LocalCache = VerifiedCache if use_cache else ForgetfulCache


def _is_intact(output: Any) -> bool:
    """Whether an output can be used; one without a kind is Kubeflow's own (metrics, a page) and no stage reads it."""
    if not isinstance(output, dsl.Artifact) or "kind" not in output.metadata:
        return True
    try:
        artifact = open_artifact(Path(output.path), output.metadata["kind"])
    except ArtifactError as error:
        logging.warning("not taken from the cache: %s", error)
        return False
    return bool(artifact.digest == output.metadata["digest"])
