"""What the first task of every pipeline does: say what the input files hold now.

A run that is started on Kubeflow's page, by GitOps or by a schedule names the same paths every time, and Kubeflow's cache knows
only those. ``smar run`` and ``smar submit`` know the digests and hand them over.
"""

import json
from collections.abc import Mapping

from components.task import open_task
from smar_core.data.sources import Sources, check_inputs

NAME = "digest_inputs"


def digest_inputs(paths: Mapping[str, str], known: Mapping[str, str], column_map: str) -> dict[str, str]:
    """Return the digests of the input files, those that are known as they are.

    Args:
        paths: Of items, clicks, images and judgments; "" for none.
        known: Their digests; "" where nobody has taken it.
        column_map: JSON of the columns that are named otherwise.

    Raises:
        UserError: A file cannot be read.
    """
    with open_task(NAME):
        if all(known[name] for name, path in paths.items() if path):
            return dict(known)
        sources = Sources(paths["items"], paths["clicks"], paths["images"] or None, json.loads(column_map))
        found = check_inputs(sources, paths["judgments"] or None)
        return {name: known[name] or found.get(name, "") for name in paths}
