"""What every stage function is handed beside its artifacts and config.

A stage is ``(typed artifacts, its config sections) -> typed artifacts``: a plain function that takes opened ``Artifact``s, the
``Path`` of each output, its own config sections and a ``StageContext``, and returns the few figures worth comparing between
runs (``dict[str, float]``), which the component logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smar_core.progress import SILENT, Progress


@dataclass(frozen=True)
class StageContext:
    """Surroundings of one stage.

    Attributes:
        config_digest: Digest of the config sections the stage was handed; goes into its manifests.
        parents: Digest of every input by name; goes into its manifests.
        work: Folder for checkpoints and scratch files, keyed by the digest of inputs, config and code, so that a killed
            stage that is started again finds what it left there. The stage may not put anything there that its output
            needs afterwards.
        progress: Receiver of progress.
    """

    config_digest: str
    work: Path
    parents: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = SILENT
