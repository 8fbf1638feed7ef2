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
"""

import json
import math
import os
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.surroundings import Surroundings
from smar_core.artifact import Artifact
from smar_core.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from components.record import Origin
    from components.stage import StageResult

PIPELINE_RUN_ID_TAG = "kfp.pipeline_run_id"
STAGE_TAG = "smar.stage"
CACHED_TAG = "smar.is_cached"
CONFIG_TAG = "smar.config"
TRIAL_TAG = "smar.trial"
READ_TAG = "smar.is_read"
_PARENT_TAG = "mlflow.parentRunId"
ALIAS = "newest"

SMALL_FILES = (
    "statistics.json",
    "reasons.json",
    "drift.json",
    "training.json",
    "gate_report.json",
    "bundle.json",
    "scores.json",
    "page.html",
)
"""Files of artifacts that are worth a copy in MLflow."""

COMPARED = ("R@50", "P@50", "R@10", "P@10", "nDCG@10")
COMPARED_SYSTEMS = ("model", "text_only", "text_only_pretrained")
_COMPARED_SLICES = ("overall", "fashion", "not_fashion", "unseen_query")
_VIEW = "compare"
_VIEW_COLUMNS = (
    "metrics.`R_at_50`",
    "metrics.`P_at_50`",
    "metrics.`R_at_50/fashion`",
    "metrics.`text_only/R_at_50`",
    "params.`overrides`",
)
"""MLflow's table of runs shows no measure unless told to; a shared view of this name, kept in a tag of the experiment, does."""

_METRICS_A_BATCH, _PARAMS_A_BATCH = 1000, 100
_TIMEOUT_SECONDS = 5


def default_uri(folder: Path) -> str:
    """Return the tracking URI of a store in a folder: a SQLite file, since MLflow 3 refuses the plain file store."""
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def check_uri(uri: str) -> None:
    """Fail now, not after an hour of training, when the tracking store cannot be used.

    Raises:
        UserError: The server does not answer, or the file is none of SQLite's, or the URI is of no kind that works.
    """
    scheme, _, rest = uri.partition("://")
    if scheme in {"http", "https"}:
        _check_server(uri)
    elif scheme == "sqlite":
        _check_sqlite(uri, Path(rest.removeprefix("/")))
    elif scheme in {"", "file"} or not rest:
        raise UserError(
            f"tracking URI {uri!r} is a plain folder, which MLflow 3 refuses", "use sqlite:///mlflow.db or a server's URL"
        )


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_SECONDS):
            return
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"the MLflow server {uri} does not answer ({reason})", "start it, or unset MLFLOW_TRACKING_URI for a local store"
        ) from None


def _check_sqlite(uri: str, path: Path) -> None:
    if not path.exists() and os.access(path.parent, os.W_OK):
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_TIMEOUT_SECONDS)) as database:
            database.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error as error:
        raise UserError(
            f"the tracking store {uri} cannot be opened ({error})", "name a SQLite file in a folder that you may write"
        ) from None


def comparison_page(uri: str, experiment: str, server: str) -> str:
    """Return the address of the page that shows runs side by side.

    Args:
        uri: The tracking store.
        experiment: Name of the experiment.
        server: Address of the MLflow server that shows the store.
    """
    from mlflow import MlflowClient

    found = MlflowClient(tracking_uri=uri).get_experiment_by_name(experiment)
    if found is None:
        return server
    return f"{server}/#/experiments/{found.experiment_id}/runs?viewStateShareKey={_VIEW}&workflowType=machine_learning"


def flatten(sections: Mapping[str, Any]) -> dict[str, str]:
    """Return config sections as MLflow parameters ``section.key``."""
    return {
        f"{name}.{key}": json.dumps(value) if isinstance(value, (list, dict)) else str(value)
        for name, section in sections.items()
        for key, value in section.model_dump(mode="json").items()
    }


def metric_name(name: str) -> str:
    """Return a measure's name as MLflow allows it.

    >>> metric_name("validation_R@50_text")
    'validation_R_at_50_text'
    """
    return name.replace("@", "_at_")


def compared_metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    """Pick the measures by which pipeline runs are compared.

    Args:
        scores: The content of metrics.json.

    Returns:
        ``R_at_50`` of the routed search over all queries, ``R_at_50/fashion`` of a slice, ``text_only/R_at_50`` of another
        system, and so on.
    """
    found = {}
    for system in COMPARED_SYSTEMS:
        for part in _COMPARED_SLICES:
            values = scores.get(system, {}).get(part, {})
            for measure in COMPARED:
                if isinstance(values.get(measure), dict):
                    prefix = "" if system == "model" else f"{system}/"
                    suffix = "" if part == "overall" else f"/{part}"
                    found[f"{prefix}{metric_name(measure)}{suffix}"] = float(values[measure]["value"])
    return found


class Tracker:
    """MLflow as seen by one pipeline run.

    Args:
        client: Client of the tracking store.
        uri: The store.
        experiment_id: Experiment of the runs.
        parent_id: The pipeline run's own run.
        pipeline_run_id: Its id outside MLflow.
    """

    def __init__(self, client: "MlflowClient", uri: str, experiment_id: str, parent_id: str, pipeline_run_id: str) -> None:
        self._client, self._uri, self._experiment_id = client, uri, experiment_id
        self._parent_id, self._pipeline_run_id = parent_id, pipeline_run_id

    @classmethod
    def open(cls, around: Surroundings) -> "Tracker":
        """Find the pipeline run's parent run by its tag, or make it.

        Raises:
            UserError: The tracking store does not answer.
        """
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        uri = around.tracking_uri
        assert uri is not None
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        try:
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            experiment_id = _experiment(client, uri, around.experiment)
            parent = _find_parent(client, experiment_id, around.pipeline_run_id)
            if parent is None:
                tags = {PIPELINE_RUN_ID_TAG: around.pipeline_run_id}
                parent = client.create_run(experiment_id, tags=tags, run_name=around.pipeline_run_id)
        except MlflowException as error:
            raise UserError(
                f"the tracking store {uri} failed ({str(error)[:200]})", "see whether it is up and may be written"
            ) from None
        return cls(client, uri, experiment_id, parent.info.run_id, around.pipeline_run_id)

    def describe(self, run_name: str, parameters: Mapping[str, str], files: Mapping[str, tuple[str, str]]) -> None:
        """Say on the parent run what it is: shown in the table of runs before it has ended.

        Args:
            run_name: Its name.
            parameters: What was overridden and where the data came from.
            files: URI and digest of each input file, by name.
        """
        self._client.update_run(self._parent_id, name=run_name)
        self._log(self._parent_id, parameters, {})
        for name, (_, digest) in files.items():
            self._client.set_tag(self._parent_id, f"smar.file.{name}", digest)
        self._log_datasets(self._parent_id, ((name, digest, uri, "input") for name, (uri, digest) in files.items()))

    def record_stage(self, result: "StageResult") -> None:
        """Write the nested run of a stage that has run."""
        tags = {STAGE_TAG: result.name, CACHED_TAG: "false", "smar.key": result.key, "smar.code": result.code_digest}
        tags[CONFIG_TAG] = result.config_digest
        tags |= {f"smar.input.{name}": digest for name, digest in result.parents.items()}
        tags |= {f"smar.output.{name}": artifact.digest for name, artifact in result.outputs.items()}
        run_id = self._start(result.name, tags, result.started)
        self._log(run_id, flatten(result.sections), {**result.figures, "seconds": result.seconds})
        self._log_datasets(run_id, ((name, digest, name, "input") for name, digest in result.parents.items()))
        self._log_outputs(run_id, result.outputs)
        self._client.set_terminated(run_id)

    def record_trial(self, name: str, parameters: Mapping[str, str], metrics: Mapping[str, float], *, is_read: bool) -> str:
        """Write the run of a trial that has ended.

        Args:
            name: Of the trial.
            parameters: What it was trained with.
            metrics: Its measures.
            is_read: Whether it was read from a file of an earlier experiment.

        Returns:
            Id of the run.
        """
        run_id = self._start(name, {TRIAL_TAG: name, READ_TAG: str(is_read).lower()}, time.time())
        self._log(run_id, parameters, metrics)
        self._client.set_terminated(run_id)
        return run_id

    def adopt_stage(self, stage: str, origin: "Origin", outputs: Mapping[str, Artifact], trial_run_id: str | None) -> None:
        """Put a stage's run below its trial's; one that the cache answered gets a run there.

        Args:
            stage: Name of the stage.
            origin: What its outputs come from in this pipeline run.
            outputs: Its artifacts, by name.
            trial_run_id: Run of the trial; None for a stage that all trials share, which stays below the pipeline run.
        """
        made = {STAGE_TAG: stage, _PARENT_TAG: self._parent_id}
        made |= {f"smar.output.{name}": artifact.digest for name, artifact in outputs.items()}
        runs = self._client.search_runs([self._experiment_id], _where(made), max_results=1)
        if not runs:
            self.record_cached(stage, origin, outputs, trial_run_id)
        elif trial_run_id is not None:
            self._client.set_tag(runs[0].info.run_id, _PARENT_TAG, trial_run_id)

    def record_cached(self, stage: str, origin: "Origin", outputs: Mapping[str, Artifact], parent_id: str | None = None) -> None:
        """Write a nested run for a stage that the cache answered, linked by digest to the run that made its outputs.

        Args:
            stage: Name of the stage.
            origin: What its outputs come from in this pipeline run.
            outputs: Its artifacts, by name.
            parent_id: Run that it is nested in; None for the pipeline run's.
        """
        made = {STAGE_TAG: stage, CONFIG_TAG: origin.config_digest}
        made |= {f"smar.input.{name}": digest for name, digest in origin.parents.items()}
        made |= {f"smar.output.{name}": artifact.digest for name, artifact in outputs.items()}
        tags = made | {CACHED_TAG: "true"}
        maker = self._find_maker(made)
        if maker is None:
            run_id = self._start(f"{stage} (cached)", tags, time.time(), parent_id)
        else:
            told = {tag: value for tag, value in maker.data.tags.items() if tag.startswith("smar.") and tag not in tags}
            tags |= told | {"smar.origin_run_id": maker.info.run_id}
            run_id = self._start(f"{stage} (cached)", tags, time.time(), parent_id)
            self._log(run_id, maker.data.params, {name: v for name, v in maker.data.metrics.items() if name != "seconds"})
        self._log_datasets(run_id, ((name, digest, name, "input") for name, digest in origin.parents.items()))
        self._log_datasets(run_id, ((name, a.digest, str(a.path), "output") for name, a in outputs.items()))
        self._client.set_terminated(run_id)

    def recorded_stages(self) -> set[str]:
        """Return the stages that have a nested run in this pipeline run."""
        runs = self._client.search_runs([self._experiment_id], _where({_PARENT_TAG: self._parent_id}))
        return {run.data.tags[STAGE_TAG] for run in runs if STAGE_TAG in run.data.tags}

    def finish(
        self, artifacts: Mapping[str, Artifact], files: Mapping[str, str], scores: Mapping[str, Any], model_name: str
    ) -> dict[str, str]:
        """Give the parent run its measures and digests, register the bundle, and end it.

        Args:
            artifacts: Every artifact of the pipeline run, by name.
            files: Digest of each input file, by name.
            scores: The content of metrics.json.
            model_name: Name of the registered model.

        Returns:
            Id of the parent run, and name and version of the model, for ``RUN/run.json``.
        """
        tags = {f"smar.artifact.{name}": artifact.digest for name, artifact in artifacts.items()}
        tags |= {f"smar.file.{name}": digest for name, digest in files.items() if digest}
        metrics = compared_metrics(scores)
        self._log(self._parent_id, {}, metrics)
        for name in ("page.html", "scores.json"):
            self._client.log_artifact(self._parent_id, str(artifacts["evaluation"].path / name))
        version = self._register(
            artifacts["bundle"], model_name, tags | {n: f"{v:.4f}" for n, v in metrics.items() if "/" not in n}
        )
        for tag, value in (tags | {"smar.model_version": f"{model_name}/{version}"}).items():
            self._client.set_tag(self._parent_id, tag, value)
        self.end()
        return {"run_id": self._parent_id, "model_name": model_name, "model_version": version}

    def end(self) -> None:
        """End the parent run of a pipeline run that finished."""
        self._client.set_terminated(self._parent_id)

    def abandon(self, status: str, problem: str) -> None:
        """End the parent run of a pipeline run that did not finish.

        Args:
            status: FAILED or KILLED.
            problem: Why.
        """
        self._client.set_tag(self._parent_id, "smar.problem", problem[:1000])
        self._client.set_terminated(self._parent_id, status)

    def _start(self, name: str, tags: Mapping[str, str], started: float, parent_id: str | None = None) -> str:
        own = {_PARENT_TAG: parent_id or self._parent_id, PIPELINE_RUN_ID_TAG: self._pipeline_run_id}
        run = self._client.create_run(self._experiment_id, int(started * 1000), tags={**tags, **own}, run_name=name)
        run_id: str = run.info.run_id
        return run_id

    def _log(self, run_id: str, parameters: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        params = [Param(name, value) for name, value in parameters.items()]
        for first in range(0, len(params), _PARAMS_A_BATCH):
            self._client.log_batch(run_id, params=params[first : first + _PARAMS_A_BATCH])
        self._client.log_batch(
            run_id, metrics=[Metric(metric_name(n), v, now, 0) for n, v in metrics.items() if math.isfinite(v)]
        )

    def _log_datasets(self, run_id: str, datasets: Iterable[tuple[str, str, str, str]]) -> None:
        """Log data sets, each (name, digest, URI, "input" or "output")."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entries = [
            DatasetInput(
                Dataset(name, digest[:32], "local", json.dumps({"uri": uri})), [InputTag("mlflow.data.context", context)]
            )
            for name, digest, uri, context in datasets
        ]
        if entries:
            self._client.log_inputs(run_id, datasets=entries)

    def _log_outputs(self, run_id: str, outputs: Mapping[str, Artifact]) -> None:
        self._log_datasets(run_id, ((name, a.digest, str(a.path), "output") for name, a in outputs.items()))
        for name, artifact in outputs.items():
            for file in SMALL_FILES:
                if (artifact.path / file).is_file():
                    self._client.log_artifact(run_id, str(artifact.path / file), artifact_path=name)
            if artifact.kind == "model":
                self._log_curve(run_id, artifact)

    def _log_curve(self, run_id: str, model: Artifact) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(metric_name(row["name"]), row["value"], now, row["step"])
            for row in model.read_table("curve").to_pylist()
            if math.isfinite(row["value"])
        ]
        for first in range(0, len(points), _METRICS_A_BATCH):
            self._client.log_batch(run_id, metrics=points[first : first + _METRICS_A_BATCH])

    def _find_maker(self, tags: Mapping[str, str]) -> "Run | None":
        """Find the latest run of a stage, not a cached one, that has these tags: stage, config, inputs and outputs."""
        runs = self._client.search_runs([self._experiment_id], _where({**tags, CACHED_TAG: "false"}), max_results=1)
        return runs[0] if runs else None

    def _register(self, bundle: Artifact, model_name: str, tags: Mapping[str, str]) -> str:
        """Register the bundle as a model version, unless these very artifacts are one already, and return the version."""
        known = self._find_version(bundle, model_name)
        version = known if known is not None else self._log_model(bundle, model_name)
        for tag, value in tags.items():
            self._client.set_model_version_tag(model_name, version, tag, value)
        self._client.set_registered_model_alias(model_name, ALIAS, version)
        return version

    def _find_version(self, bundle: Artifact, model_name: str) -> str | None:
        versions = self._client.search_model_versions(
            f"name = '{model_name}' and tags.`smar.artifact.bundle` = '{bundle.digest}'", max_results=1
        )
        return str(versions[0].version) if versions else None

    def _log_model(self, bundle: Artifact, model_name: str) -> str:
        import mlflow

        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)
        with mlflow.start_run(run_id=self._parent_id):
            model = mlflow.pyfunc.log_model(
                name="bundle",
                python_model=str(Path(__file__).with_name("served_bundle.py")),
                artifacts={"bundle": str(bundle.path)},
                pip_requirements=["smar"],
                registered_model_name=model_name,
            )
        return str(model.registered_model_version)


def _experiment(client: "MlflowClient", uri: str, name: str) -> str:
    """Return the experiment's id; a new one beside a SQLite file keeps its artifacts in ``mlartifacts`` there."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        found: str = experiment.experiment_id
        return found
    location = None
    if uri.startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()
    view = {f"mlflow.sharedViewState.{_VIEW}": json.dumps({"selectedColumns": _VIEW_COLUMNS})}
    made: str = client.create_experiment(name, artifact_location=location, tags=view)
    return made


def _find_parent(client: "MlflowClient", experiment_id: str, pipeline_run_id: str) -> "Run | None":
    runs = client.search_runs([experiment_id], _where({PIPELINE_RUN_ID_TAG: pipeline_run_id}), order_by=["start_time ASC"])
    return next((run for run in runs if _PARENT_TAG not in run.data.tags), None)


def _where(tags: Mapping[str, str]) -> str:
    """Return MLflow's filter for runs that have these tags."""
    return " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
