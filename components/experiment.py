"""What the small tasks of an experiment do around its stages: configure a trial, record it, compare all of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.record import STAGE_OUTPUTS, find_origins
from components.side import SideFiles, begin_trial, end_trial
from components.stage import ARTIFACT_KINDS, HARDWARE, SECONDS
from components.surroundings import Surroundings
from components.task import open_task, surroundings_of_task
from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.config import PipelineConfig
from smar_core.digest import digest_json
from smar_core.errors import UserError
from smar_core.experiments.comparison import compare_trials
from smar_core.experiments.diagnosis import gather_diagnosis
from smar_core.experiments.evidence import (
    Evidence,
    Queries,
    describe_versions,
    gather_metrics,
    gather_queries,
    gather_training,
    gather_values,
    write_evidence,
)
from smar_core.experiments.findings import Experiment
from smar_core.experiments.markdown import write_table
from smar_core.experiments.page import write_page
from smar_core.experiments.recorded import read_recorded
from smar_core.experiments.trials import TRIAL_SECTIONS, Kind, Trial, data_digest, shaping_values

NAME_OF_RECORD, NAME_OF_COMPARISON = "record_trial", "compare_trials"
STAGE_SECTIONS_GIVEN = ("prepare", "beam", *TRIAL_SECTIONS, "evaluate", "runtime")
"""Config sections that ``configure`` returns, in this order."""

EVIDENCE, QUERIES = "evidence.json", "queries.json"
"""Files of an artifact of kind ``trial``."""


def parse_trial(variant: str, overrides: str, seed: str) -> Trial:
    """Return a trial, given what Kubeflow's parameters say of it.

    Raises:
        UserError: They are malformed.
    """
    try:
        return Trial(variant=variant, overrides=tuple(json.loads(overrides)), seed=int(seed))
    except (ValueError, TypeError):
        raise UserError(
            f"a trial of variant {variant!r}, overrides {overrides!r} and seed {seed!r} cannot be read",
            'write for example {"variant": "smar", "overrides": "[\\"loss.alpha=0.5\\"]", "seed": "0"}',
        ) from None


def configure_trial(preset: str, settings: str, trial: Trial, *, is_trial: bool) -> dict[str, str]:
    """Return the config sections of a trial as JSON, by name, and say that its stages begin.

    Args:
        preset: What all trials start from.
        settings: JSON list of what all trials have.
        trial: The trial.
        is_trial: Whether its stages begin; otherwise nobody is told.

    Raises:
        UserError: A setting that does not exist or fit.
    """
    around = surroundings_of_task()
    if around.side is not None and is_trial:
        begin_trial(around.side, trial.name)
    side = SideFiles(around.side, "configure")
    try:
        config = trial.configure(preset, json.loads(settings))
    except BaseException as error:
        side.failed(error)
        raise
    return {name: getattr(config, name).model_dump_json() for name in STAGE_SECTIONS_GIVEN}


def record(
    trial: Trial,
    preset: str,
    settings: str,
    *,
    artifacts: Mapping[str, Any],
    metrics: Mapping[str, Any],
    files: Mapping[str, str],
    column_map: str,
    code: str,
    output: Path,
    results: str,
) -> None:
    """Gather a trial's evidence, keep it, and give the trial a run in MLflow.

    Args:
        trial: The trial.
        preset: What all trials start from.
        settings: JSON list of what all trials have.
        artifacts: Kubeflow's artifacts, by a name of ``ARTIFACT_KINDS``.
        metrics: Kubeflow's metrics of each stage.
        files: Digest of each input file, by name; "" where there is none.
        column_map: JSON of the input's column for each of our fields that is named otherwise.
        code: JSON of the digest of each stage's code.
        output: Place of the artifact of kind ``trial``.
        results: Folder that the evidence is kept in too; "" for none.
    """
    with open_task(NAME_OF_RECORD) as task:
        opened = {n: open_artifact(Path(a.path), ARTIFACT_KINDS[n], verify=False) for n, a in artifacts.items()}
        shared = tuple(json.loads(settings))
        config = trial.configure(preset, shared)
        values = shaping_values(config)
        queries, scores = gather_queries(opened["evaluation"]), opened["evaluation"].read_json("scores.json")
        evidence = Evidence(
            preset=preset,
            settings=shared,
            trial=trial,
            split=config.evaluate.split,
            config=values,
            config_digest=digest_json(values),
            data_digest=data_digest(files, json.loads(column_map)),
            code=json.loads(code),
            versions=describe_versions(),
            hardware=metrics["pretrain"].metadata[HARDWARE],
            seconds={stage: m.metadata[SECONDS] for stage, m in metrics.items() if SECONDS in m.metadata},
            training={
                stage: gather_training(opened[name].read_json("training.json"))
                for stage, name in (("pretrain", "pretrained"), ("finetune", "finetuned"))
            },
            metrics=gather_metrics(scores),
            queries=queries.digest,
            values=gather_values(opened["evaluation"]),
            diagnosis=gather_diagnosis(scores),
            num_train_queries=opened["clicks"].read_json("statistics.json")["splits"]["train"]["num_queries"],
        )
        parents = {name: artifact.digest for name, artifact in opened.items()}
        with create_artifact(output, "trial", config_digest=evidence.config_digest, parents=parents) as folder:
            evidence.write(folder / EVIDENCE)
            queries.write(folder / QUERIES)
        if results:
            write_evidence(Path(results), evidence, queries)
        if task.around.tracking_uri is not None:
            _track(task.around, evidence, opened, files, config)
        task.outputs["trial"] = str(output)
    if task.around.side is not None:
        end_trial(task.around.side)


def compare(
    trials: Sequence[Path], kind: str, baseline: str, results: str, recorded: str, output: Path, around: Surroundings
) -> None:
    """Compare trials, write the artifact of kind ``experiment``, and give each trial that was only read a run in MLflow.

    Args:
        trials: Artifacts of kind ``trial``, of this run.
        kind: "ablation" or "sweep".
        baseline: Setting that the others are compared with.
        results: Folder of evidence; "" for none.
        recorded: JSON list of names of trials in that folder, to be compared too.
        output: Place of the artifact.
        around: Where this runs.
    """
    with open_task(NAME_OF_COMPARISON, around) as task:
        made = [open_artifact(path, "trial") for path in trials]
        read, queries = read_recorded(Path(results), json.loads(recorded))
        evidences = [*(Evidence.read(artifact.path / EVIDENCE) for artifact in made), *read]
        queries |= {q.digest: q for q in (Queries.read(artifact.path / QUERIES) for artifact in made)}
        _write_experiment(compare_trials(_as_kind(kind), baseline, evidences, queries), evidences, output)
        if around.tracking_uri is not None:
            from components.tracking import Tracker

            tracker = Tracker.open(around)
            tracker.tell({"experiment": kind, "baseline": baseline, "preset": evidences[0].preset})
            for evidence in read:
                tracker.record_trial(evidence.trial.name, _parameters(evidence), _measures(evidence), is_read=True)
            tracker.end()
        task.outputs["experiment"] = str(output)
        task.side.record({"experiment": str(output)})


def _as_kind(word: str) -> Kind:
    if word == "ablation":
        return "ablation"
    assert word == "sweep"
    return "sweep"


def _write_experiment(experiment: Experiment, evidences: Sequence[Evidence], output: Path) -> None:
    parents = {evidence.trial.name: digest_json(evidence.model_dump(mode="json")) for evidence in evidences}
    with create_artifact(output, "experiment", config_digest="", parents=parents) as folder:
        write_json(folder / "experiment.json", experiment.model_dump(mode="json"))
        write_table(folder / "table.md", experiment)
        write_page(folder / "report.html", experiment)


def _track(
    around: Surroundings, evidence: Evidence, artifacts: Mapping[str, Artifact], files: Mapping[str, str], config: PipelineConfig
) -> None:
    from components.tracking import Tracker

    tracker = Tracker.open(around)
    sections = {name: getattr(config, name).model_dump_json() for name in PipelineConfig.model_fields}
    origins = find_origins({name: artifact.digest for name, artifact in artifacts.items()}, files, sections)
    run_id = tracker.record_trial(evidence.trial.name, _parameters(evidence), _measures(evidence), is_read=False)
    for stage, names in STAGE_OUTPUTS.items():
        outputs = {name: artifacts[name] for name in names}
        tracker.adopt_stage(stage, origins[stage], outputs, None if stage == "prepare_data" else run_id)


def _parameters(evidence: Evidence) -> dict[str, str]:
    trial = evidence.trial
    return {
        "preset": evidence.preset,
        "variant": trial.variant,
        "overrides": " ".join(trial.overrides),
        "settings": " ".join(evidence.settings),
        "seed": str(trial.seed),
        "split": evidence.split,
        "hardware": evidence.hardware,
    }


def _measures(evidence: Evidence) -> dict[str, float]:
    """Return what MLflow's table compares trials by: measures by slice, and seconds of each stage."""
    from components.tracking import compared_metrics

    return compared_metrics({"model": evidence.metrics}) | {f"seconds/{s}": seconds for s, seconds in evidence.seconds.items()}
