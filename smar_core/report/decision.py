"""The page of a refresh: what was decided, why, and by which figures; one HTML file without scripts, in the report's style."""

from collections.abc import Mapping
from typing import Any

from smar_core import __version__
from smar_core.report.environment import open_template


def render_decision(decision: Mapping[str, Any]) -> str:
    """Return the page as HTML text.

    Args:
        decision: The content of decision.json.
    """
    return open_template("decision.html.j2").render(decision=decision, version=__version__)
