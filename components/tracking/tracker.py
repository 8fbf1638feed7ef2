"""MLflow as one pipeline run sees it: its parent run, the nested runs of its stages and trials, the model that it registers."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.surroundings import Surroundings
from components.tracking.comparison import compared_metrics
from components.tracking.names import (
    CACHED_TAG,
    CONFIG_TAG,
    PARENT_TAG,
    PIPELINE_RUN_ID_TAG,
    PROBLEM_TAG,
    READ_TAG,
    STAGE_TAG,
    TRIAL_RUN_TAG,
    TRIAL_TAG,
    flatten,
    where,
)
from components.tracking.parents import Place, find_place, make_place
from components.tracking.registry import NEWEST, ModelRegistry
from components.tracking.run_log import log_datasets, log_outputs, log_values
from smar_core.artifact import Artifact

if TYPE_CHECKING:
    from mlflow.entities import Run

    from components.record import Origin
    from components.stage import StageResult


class Tracker:
    """MLflow as seen by one pipeline run. Runs that Kubeflow's plugin made are filled and never ended: the plugin ends them.

    Args:
        place: Where to write.
    """

    def __init__(self, place: Place) -> None:
        self._client, self._uri = place.client, place.uri
        self._experiment_id, self._parent_id = place.experiment_id, place.parent_id
        self._pipeline_run_id, self._injected_id = place.pipeline_run_id, place.injected_id

    @classmethod
    def open(cls, around: Surroundings) -> "Tracker":
        """Attach to the run that was injected, else find the pipeline run's parent run by its tag, or make it.

        Raises:
            UserError: The tracking store does not answer, or nothing says which pipeline run this is.
        """
        return cls(find_place(around))

    @classmethod
    def begin(cls, around: Surroundings) -> "Tracker":
        """Make the parent run of a pipeline run that has just been given its id, so that nobody else can be making it.

        Raises:
            UserError: The tracking store does not answer.
        """
        return cls(make_place(around))

    def registry(self, model_name: str) -> ModelRegistry:
        """Return the versions of a registered model."""
        return ModelRegistry(self._client, self._uri, model_name)

    def describe(self, run_name: str, parameters: Mapping[str, str], files: Mapping[str, tuple[str, str]]) -> None:
        """Say on the parent run what it is: shown in the table of runs before it has ended.

        Args:
            run_name: Its name.
            parameters: What was overridden and where the data came from.
            files: URI and digest of each input file, by name.
        """
        self._client.update_run(self._parent_id, name=run_name)
        log_values(self._client, self._parent_id, parameters, {})
        for name, (_, digest) in files.items():
            self._client.set_tag(self._parent_id, f"smar.file.{name}", digest)
        log_datasets(self._client, self._parent_id, ((name, digest, uri, "input") for name, (uri, digest) in files.items()))

    def record_stage(self, result: "StageResult") -> None:
        """Write the run of a stage that has run: the one that was injected for it, else a nested one.

        The tag by which it counts as the stage's comes last: half a run, where MLflow went away, is nobody's.
        """
        tags = {CACHED_TAG: "false", "smar.key": result.key, "smar.code": result.code_digest}
        tags[CONFIG_TAG] = result.config_digest
        tags |= {f"smar.input.{name}": digest for name, digest in result.parents.items()}
        tags |= {f"smar.output.{name}": artifact.digest for name, artifact in result.outputs.items()}
        run_id = self._injected_id
        if run_id is None:
            run_id = self._start(result.name, tags, result.started)
        else:
            self._tag(run_id, tags | {PIPELINE_RUN_ID_TAG: self._pipeline_run_id})
        log_values(self._client, run_id, flatten(result.sections), {**result.figures, "seconds": result.seconds})
        log_datasets(self._client, run_id, ((name, digest, name, "input") for name, digest in result.parents.items()))
        log_outputs(self._client, run_id, result.outputs)
        self._tag(run_id, {STAGE_TAG: result.name})
        if self._injected_id is None:
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
        log_values(self._client, run_id, parameters, metrics)
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
        made = {STAGE_TAG: stage, PIPELINE_RUN_ID_TAG: self._pipeline_run_id}
        made |= {f"smar.output.{name}": artifact.digest for name, artifact in outputs.items()}
        runs = self._client.search_runs([self._experiment_id], where(made))
        orphan = next((run for run in runs if TRIAL_RUN_TAG not in run.data.tags), None)
        if orphan is None:
            self.record_cached(stage, origin, outputs, trial_run_id)
        elif trial_run_id is not None:
            self._tag(orphan.info.run_id, {PARENT_TAG: trial_run_id, TRIAL_RUN_TAG: trial_run_id})

    def record_cached(self, stage: str, origin: "Origin", outputs: Mapping[str, Artifact], parent_id: str | None = None) -> None:
        """Write a nested run for a stage that the cache answered, linked by digest to the run that made its outputs.

        Args:
            stage: Name of the stage.
            origin: What its outputs come from in this pipeline run.
            outputs: Its artifacts, by name.
            parent_id: Run of the trial that it is nested in; None for the pipeline run's.
        """
        made = {STAGE_TAG: stage, CONFIG_TAG: origin.config_digest}
        made |= {f"smar.input.{name}": digest for name, digest in origin.parents.items()}
        made |= {f"smar.output.{name}": artifact.digest for name, artifact in outputs.items()}
        tags = made | {CACHED_TAG: "true"} | ({TRIAL_RUN_TAG: parent_id} if parent_id is not None else {})
        maker = self._find_maker(made)
        if maker is None:
            run_id = self._start(f"{stage} (cached)", tags, time.time(), parent_id)
        else:
            told = {
                tag: value
                for tag, value in maker.data.tags.items()
                if tag.startswith("smar.") and tag not in tags and tag != TRIAL_RUN_TAG
            }
            tags |= told | {"smar.origin_run_id": maker.info.run_id}
            run_id = self._start(f"{stage} (cached)", tags, time.time(), parent_id)
            figures = {name: value for name, value in maker.data.metrics.items() if name != "seconds"}
            log_values(self._client, run_id, maker.data.params, figures)
        log_datasets(self._client, run_id, ((name, digest, name, "input") for name, digest in origin.parents.items()))
        log_datasets(self._client, run_id, ((name, a.digest, str(a.path), "output") for name, a in outputs.items()))
        self._client.set_terminated(run_id)

    def recorded_stages(self) -> set[str]:
        """Return the stages that have a run in this pipeline run."""
        runs = self._client.search_runs([self._experiment_id], where({PIPELINE_RUN_ID_TAG: self._pipeline_run_id}))
        return {run.data.tags[STAGE_TAG] for run in runs if STAGE_TAG in run.data.tags}

    def finish(
        self,
        artifacts: Mapping[str, Artifact],
        files: Mapping[str, str],
        settings: Mapping[str, str],
        scores: Mapping[str, Any],
        model_name: str,
    ) -> dict[str, str]:
        """Give the parent run of a training its settings, measures and digests, register what it made, and end the run.

        Args:
            artifacts: Every artifact of the pipeline run, by name.
            files: Digest of each input file, by name.
            settings: What ``flatten`` returned for the config sections.
            scores: The content of scores.json.
            model_name: Name of the registered model.

        Returns:
            Id of the parent run, and name and version of the model, for ``RUN/run.json``.
        """
        metrics = compared_metrics(scores)
        self.tell(settings, metrics, [artifacts["evaluation"].path / name for name in ("page.html", "scores.json")])
        shown = {name: f"{value:.4f}" for name, value in metrics.items() if "/" not in name}
        version = self.register(artifacts, files, model_name, shown, NEWEST)
        self.end()
        return {"run_id": self._parent_id, "model_name": model_name, "model_version": version}

    def register(
        self,
        artifacts: Mapping[str, Artifact],
        files: Mapping[str, str],
        model_name: str,
        shown: Mapping[str, str],
        alias: str | None,
    ) -> str:
        """Register a bundle with its model and gate, and say on version and parent run what they were made from.

        Args:
            artifacts: Every artifact of the pipeline run, by name; those of ``registry.PARTS`` among them.
            files: Digest of each input file, by name; "" where there is none.
            model_name: Name of the registered model.
            shown: Other tags of the version.
            alias: Alias that is pointed at it; None for none.

        Returns:
            Number of the version.
        """
        tags = self.link(artifacts, files)
        maker = self._injected_id or self._parent_id
        version = self.registry(model_name).register(artifacts, maker, tags | dict(shown), alias)
        self._tag(self._parent_id, {"smar.model_version": f"{model_name}/{version}"})
        return version

    def tell(
        self,
        settings: Mapping[str, str],
        metrics: Mapping[str, float] | None = None,
        files: Iterable[Path] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Say on the parent run with what settings the pipeline ran, and what it came to.

        Args:
            settings: What ``flatten`` returned for the config sections, or other parameters that tell it from other runs.
            metrics: Its measures.
            files: Small files that are copied.
            tags: What else is to be found by.
        """
        log_values(self._client, self._parent_id, settings, metrics or {})
        for file in files:
            self._client.log_artifact(self._parent_id, str(file))
        self._tag(self._parent_id, tags or {})

    def link(self, artifacts: Mapping[str, Artifact], files: Mapping[str, str]) -> dict[str, str]:
        """Tag the parent run with the digests of its artifacts and input files, and return those tags."""
        tags = {f"smar.artifact.{name}": artifact.digest for name, artifact in artifacts.items()}
        tags |= {f"smar.file.{name}": digest for name, digest in files.items() if digest}
        self._tag(self._parent_id, tags)
        return tags

    @property
    def parent_id(self) -> str:
        """Id of the pipeline run's own run."""
        return self._parent_id

    def name(self, run_name: str) -> None:
        """Give the parent run a name, unless somebody has: a run made by a task has the pipeline run's id for one."""
        if self._client.get_run(self._parent_id).info.run_name == self._pipeline_run_id:
            self._client.update_run(self._parent_id, name=run_name)

    def is_running(self) -> bool:
        """Return whether nobody has ended the parent run."""
        return str(self._client.get_run(self._parent_id).info.status) == "RUNNING"

    def end(self) -> None:
        """End the parent run of a pipeline run that finished, perhaps after failed tasks were tried again."""
        if PROBLEM_TAG in self._client.get_run(self._parent_id).data.tags:
            self._client.delete_tag(self._parent_id, PROBLEM_TAG)
        self._terminate("FINISHED")

    def abandon(self, status: str, problem: str) -> None:
        """End the parent run of a pipeline run that did not finish.

        Args:
            status: FAILED or KILLED.
            problem: Why.
        """
        self._client.set_tag(self._parent_id, PROBLEM_TAG, problem[:1000])
        self._terminate(status)

    def _terminate(self, status: str) -> None:
        """End the parent run, and those below it that were left half written when MLflow went away."""
        if self._injected_id is not None:
            return
        self._client.set_terminated(self._parent_id, status)
        running = f"{where({PIPELINE_RUN_ID_TAG: self._pipeline_run_id})} and attributes.status = 'RUNNING'"
        for half in self._client.search_runs([self._experiment_id], running):
            self._client.set_terminated(half.info.run_id, "FAILED")

    def _start(self, name: str, tags: Mapping[str, str], started: float, parent_id: str | None = None) -> str:
        own = {PARENT_TAG: parent_id or self._parent_id, PIPELINE_RUN_ID_TAG: self._pipeline_run_id}
        run = self._client.create_run(self._experiment_id, int(started * 1000), tags={**tags, **own}, run_name=name)
        run_id: str = run.info.run_id
        return run_id

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        for tag, value in tags.items():
            self._client.set_tag(run_id, tag, value)

    def _find_maker(self, tags: Mapping[str, str]) -> "Run | None":
        """Find the latest run of a stage, not a cached one, that has these tags: stage, config, inputs and outputs."""
        runs = self._client.search_runs([self._experiment_id], where({**tags, CACHED_TAG: "false"}), max_results=1)
        return runs[0] if runs else None
