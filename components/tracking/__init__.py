"""MLflow: one parent run a pipeline run, one nested run a stage, the bundle as a model version.

Everything is linked by content digests in tags, never by MLflow's ids: those would differ between equal runs and spoil the
cache. The tags are ``smar.file.NAME`` (an input file), ``smar.input.NAME`` and ``smar.output.NAME`` (an artifact that a stage
read or made) and ``smar.artifact.NAME`` (on the parent run and the model version: every artifact behind it). So a model version
names the data it came from, and a search for a data set's digest finds the runs and versions made from it. A stage that
Kubeflow took from its cache ran in an earlier pipeline run; ``record_cached`` gives it a nested run here too, marked, with
the figures of the run that made its outputs.

In an experiment every trial has a run below the pipeline run's, tagged ``smar.trial``, with its measures, and its stages have
theirs below it. It is made when the trial has ended, and the stages' runs, found by the digests of their outputs, are moved
there: a stage does not know for which of several equal trials it runs.

MLflow's own data set digest holds 36 characters, therefore the first 32 hex digits stand there and the whole digest in the
tags. Its metric names hold no "@": R@50 is ``R_at_50``. A nested run is written when its stage ends, so that a killed
stage leaves none that runs for ever; the price is that curves appear at the end.

``addresses``: where the store is. ``parents``: the run that stages find each other by. ``tracker``: the runs.
``registry``: the versions. ``comparison``: the table of runs.
"""

from components.tracking.addresses import check_uri, default_uri
from components.tracking.comparison import compared_metrics, comparison_page
from components.tracking.names import flatten, metric_name
from components.tracking.parents import open_store
from components.tracking.registry import CHAMPION, NEWEST, ModelRegistry, Version
from components.tracking.tracker import Tracker

__all__ = [
    "CHAMPION",
    "NEWEST",
    "ModelRegistry",
    "Tracker",
    "Version",
    "check_uri",
    "compared_metrics",
    "comparison_page",
    "default_uri",
    "flatten",
    "metric_name",
    "open_store",
]
