"""Where every page's template comes from: what the data say is escaped, and a name that nobody gave is an error."""

import jinja2

from smar_core.report.formats import FILTERS

_REPORT = "smar_core.report"


def open_template(name: str, package: str = _REPORT) -> jinja2.Template:
    """Return a template.

    Args:
        name: Of its file.
        package: Whose ``templates`` hold it; those of the report can be included beside them.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(of) for of in (package, _REPORT)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS
    return environment.get_template(name)
