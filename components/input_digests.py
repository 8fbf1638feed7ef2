"""What the first task of every pipeline does: say what the input files hold now.

A run that is started on Kubeflow's page, by GitOps or by a schedule names the same paths every time, and Kubeflow's cache knows
only those. ``smar run`` and ``smar submit`` know the digests and hand them over.
"""

import json
from collections.abc import Mapping

from components.stage import parse_section
from components.task import open_task
from smar_core.config import GateConfig
from smar_core.data.sources import Sources, check_inputs
from smar_core.data.visual import check_visual_categories

NAME = "digest_inputs"


def digest_inputs(paths: Mapping[str, str], known: Mapping[str, str], column_map: str, gate_section: str = "") -> dict[str, str]:
    """Check the input files, and return their digests, those that are known as they are.

    Args:
        paths: Of items, clicks, images and judgments; "" for none.
        known: Their digests; "" where nobody has taken it.
        column_map: JSON of the columns that are named otherwise.
        gate_section: Config section ``gate`` as JSON; "" where no gate is to learn, or where that was looked at already.

    Raises:
        UserError: A file cannot be read, or the catalogue's categories leave the gate nothing to learn.
    """
    with open_task(NAME):
        sources = Sources(paths["items"], paths["clicks"], paths["images"] or None, json.loads(column_map))
        found = dict(known)
        if not all(known[name] for name, path in paths.items() if path):
            found = check_inputs(sources, paths["judgments"] or None)
        if gate_section:
            gate = parse_section("gate", gate_section)
            assert isinstance(gate, GateConfig)
            check_visual_categories(sources, gate)
        return {name: known[name] or found.get(name, "") for name in paths}
