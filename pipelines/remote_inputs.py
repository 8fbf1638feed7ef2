"""Input files as the tasks of a cluster reach them: by URI, and known by a digest.

The digest is a parameter of the run because Kubeflow's cache knows paths and not contents. It is made of the checksums that the
store keeps, or, where this machine may not list the store, of whatever text the user says tells this version of the input from
others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from smar_core.data.files import digest_inputs
from smar_core.data.filesystems import check_no_password, is_uri
from smar_core.data.sources import Sources
from smar_core.digest import digest_json
from smar_core.errors import UserError


@dataclass(frozen=True)
class Inputs:
    """Where the input of a run on a cluster is.

    Attributes:
        sources: Catalogue and click log, by URI.
        judgments: Graded judgments, likewise; None for none.
        versions: For inputs that this machine may not list, by a name of ``pipelines.jobs.INPUT_FILES``: any text that changes
            with them.
        is_recurring: Whether the run is repeated. Each repetition then takes the digests itself: those of now would be taken for
            those of later inputs at the same place.
    """

    sources: Sources
    judgments: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    is_recurring: bool = False

    def paths(self) -> dict[str, str]:
        """Return the URI of each input that is given, by name.

        Raises:
            UserError: One is a file of this machine or has a password in it, or a version is said of one that is not given or
                that may change from run to run.
        """
        named = {"items": self.sources.items, "clicks": self.sources.clicks, "images": self.sources.images}
        paths = {name: path for name, path in {**named, "judgments": self.judgments}.items() if path is not None}
        for name, path in paths.items():
            check_no_password(path)  # here and not where the store is asked: it is not asked with --digest or --cron
            if not is_uri(path) or path.startswith("file://"):
                raise UserError(
                    f"--{name} {path} is a file of this machine, which no task of a cluster reaches",
                    "copy it to an object store and give its URI, such as s3://BUCKET/items.parquet",
                )
        for name in self.versions:
            if name not in paths:
                raise UserError(f"--digest names {name!r}, which is no input of this run", f"name one of {', '.join(paths)}")
        if self.is_recurring and self.versions:
            raise UserError("--digest says what the inputs are now, and later runs of --cron read others", "leave it out")
        return paths

    def digests(self) -> dict[str, str]:
        """Return the digest of each input that is given; none where every run takes them itself.

        Raises:
            UserError: As ``paths`` does, or an input is not there or cannot be listed.
        """
        paths = self.paths()
        return {} if self.is_recurring else {name: self._digest(name, path) for name, path in paths.items()}

    def _digest(self, name: str, path: str) -> str:
        if name in self.versions:
            return digest_json({"uri": path, "version": self.versions[name]})
        try:
            return digest_inputs(path)
        except UserError as error:
            raise UserError(error.problem, f"{error.remedy}; or say which version it is with --digest {name}=TEXT") from None
