"""The page of an experiment: tables and charts in one HTML file, in the style of a run's report.

It asks nothing of the network and runs no script. Style and frames of charts are the report's own templates.
"""

from pathlib import Path

from smar_core import __version__
from smar_core.experiments.charts import DifferenceChart, draw_axis, draw_differences
from smar_core.experiments.details import make_details
from smar_core.experiments.findings import Experiment
from smar_core.experiments.table import SLICE_NAMES, describe, make_tables
from smar_core.report import charts
from smar_core.report.environment import open_template

_TITLES = {"ablation": "What each part of the model brings", "sweep": "What each setting does"}


def render_page(experiment: Experiment) -> str:
    """Return the page as HTML text; equal experiments give equal text."""
    return open_template("experiment.html.j2", "smar_core.experiments").render(
        title=_TITLES[experiment.kind],
        experiment=experiment,
        described=describe(experiment),
        tables=make_tables(experiment),
        details=make_details(experiment),
        difference_charts=_difference_charts(experiment),
        axis_charts=[(axis.key, draw_axis(axis)) for axis in experiment.axes],
        charts=charts,
        version=__version__,
    )


def write_page(path: Path, experiment: Experiment) -> None:
    """Write the page."""
    path.write_text(render_page(experiment), encoding="utf-8")


def _difference_charts(experiment: Experiment) -> list[tuple[str, DifferenceChart]]:
    """Return a chart a slice, of what is compared outside axes."""
    by_slice = {
        SLICE_NAMES[name]: draw_differences([d for d in experiment.differences if d.slice == name])
        for name in experiment.num_queries
    }
    return [(name, chart) for name, chart in by_slice.items() if chart is not None]
