"""The tasks of an experiment: data once, then a loop over its trials, then their comparison.

A trial is told to Kubeflow as variant, overrides and seed; ``configure`` writes its sections out, whole, so that a stage's
parameters are those of ``smar run`` and of every trial of equal settings, which thus share the cache. Trials run one
after the other: two at a time need twice the memory and are no faster where one uses all cores; a cluster with more machines may
raise ``PARALLEL_TRIALS``. A trial that fails does not keep the others from running, but the experiment from being compared.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components.compare_trials import compare_trials
from components.configure import configure
from components.prepare_data import prepare_data
from components.record_trial import record_trial
from pipelines.stages import Channel, add_training_stages
from smar_core.experiments.trials import Kind

PARALLEL_TRIALS = 1
_SECTIONS = ("prepare", "synthetic", "model", "loss", "pretrain", "gate", "finetune", "export", "evaluate", "runtime")


def add_experiment(
    kind: Kind, data: Mapping[str, Channel], experiment: Mapping[str, Channel], code: Mapping[str, Channel], code_json: Channel
) -> None:
    """Add all tasks of an experiment to the pipeline that is being defined.

    Args:
        kind: What is compared.
        data: Paths and digests of the input files, and the column map.
        experiment: preset, settings, trials, baseline, results and recorded.
        code: Digest of each stage's code.
        code_json: All of them as JSON, for the evidence.
    """
    start = {"preset": experiment["preset"], "settings": experiment["settings"]}
    shared = _configure(**start, variant="smar", overrides="[]", seed="0", is_trial="no")
    prepared = prepare_data(
        items_path=data["items"],
        clicks_path=data["clicks"],
        images_path=data["images"],
        column_map=data["column_map"],
        items_digest=data["items_digest"],
        clicks_digest=data["clicks_digest"],
        images_digest=data["images_digest"],
        prepare_section=shared["prepare"],
        runtime=shared["runtime"],
        code_digest=code["prepare_data"],
    ).outputs
    with dsl.ParallelFor(experiment["trials"], parallelism=PARALLEL_TRIALS) as trial:
        told = {"variant": trial.variant, "overrides": trial.overrides, "seed": trial.seed}
        sections = _configure(**start, **told, is_trial="yes")
        artifacts, metrics = add_training_stages(
            prepared, sections, code, data["judgments"], data["judgments_digest"], data["column_map"]
        )
        recorded = record_trial(
            **artifacts,
            synthetic_metrics=metrics["generate_synthetic_queries"],
            pretrain_metrics=metrics["pretrain"],
            gate_metrics=metrics["train_gate"],
            finetune_metrics=metrics["finetune"],
            export_metrics=metrics["export_embeddings"],
            evaluate_metrics=metrics["evaluate"],
            **start,
            **told,
            items_digest=data["items_digest"],
            clicks_digest=data["clicks_digest"],
            images_digest=data["images_digest"],
            judgments_digest=data["judgments_digest"],
            code=code_json,
            results=experiment["results"],
        )
        recorded.set_caching_options(False)
    compare_trials(
        trials=dsl.Collected(recorded.outputs["trial"]),
        kind=kind,
        baseline=experiment["baseline"],
        results=experiment["results"],
        recorded=experiment["recorded"],
    ).set_caching_options(False)


def _configure(**parameters: Any) -> dict[str, Channel]:
    task = configure(**parameters)
    task.set_caching_options(False)
    return {name: task.outputs[name] for name in _SECTIONS}
