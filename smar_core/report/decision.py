"""The page of a refresh: what was decided, why, and by which figures; one HTML file without scripts, in the report's style."""

from collections.abc import Mapping
from typing import Any

import jinja2

from smar_core import __version__


def render_decision(decision: Mapping[str, Any]) -> str:
    """Return the page as HTML text.

    Args:
        decision: The content of decision.json.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("smar_core.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("decision.html.j2").render(decision=decision, version=__version__)
