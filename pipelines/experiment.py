"""The pipeline of an experiment: input digests and data once, then a loop over its trials, then their comparison.

A trial is told to Kubeflow as variant, overrides and seed; ``configure`` writes its sections out, whole, so that a stage's
parameters are those of ``smar run`` and of every trial of equal settings, which thus share the cache. Trials run one
after the other, unless ``cluster.parallel_trials`` says otherwise: on one machine two at a time need twice the memory and are
no faster where one uses all cores. A trial that fails does not keep the others from running, but the experiment from being
compared.

A pipeline for this machine alone takes no digests, which ``smar ablate`` and ``smar sweep`` hand over: Kubeflow's local runner
gives a loop its own item in the place of any parameter that another task returned.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.compare_trials import compare_trials
from components.configure import configure
from components.prepare_data import prepare_data
from components.record_trial import record_trial
from pipelines.placement import Channel, Placement, pipeline_config
from pipelines.stages import add_digests, add_training_stages
from smar_core.config import ClusterConfig
from smar_core.experiments.trials import Kind

_SECTIONS = ("prepare", "beam", "synthetic", "model", "loss", "pretrain", "gate", "finetune", "export", "evaluate", "runtime")


def experiment_pipeline_of(kind: Kind, description: str, default_settings: str, cluster: ClusterConfig | None) -> GraphComponent:
    """Return the pipeline of an experiment; ``smar compile`` writes its YAML.

    Args:
        kind: What is compared; the pipeline is called ``smar-KIND``.
        description: What Kubeflow says of it.
        default_settings: JSON list of ``section.key=value`` that all trials have unless others are given.
        cluster: Where its tasks run; None: they are not placed.
    """

    @dsl.pipeline(name=f"smar-{kind}", description=description, pipeline_config=pipeline_config(cluster))
    def experiment_pipeline(
        image: str,
        items: str,
        clicks: str,
        trials: list,
        images: str = "",
        column_map: str = "{}",
        judgments: str = "",
        items_digest: str = "",
        clicks_digest: str = "",
        images_digest: str = "",
        judgments_digest: str = "",
        preset: str = "study",
        settings: str = default_settings,
        baseline: str = "smar",
        results: str = "",
        recorded: str = "[]",
        code_prepare_data: str = "",
        code_generate_synthetic_queries: str = "",
        code_pretrain: str = "",
        code_train_gate: str = "",
        code_finetune: str = "",
        code_export_embeddings: str = "",
        code_evaluate: str = "",
        code: str = "{}",
    ) -> None:
        """Wire the experiment.

        Args:
            image: Container image, by digest, that every task runs in.
            items: Catalogue: file, folder or URI.
            clicks: Click log: file, folder or URI.
            trials: Of each: variant, overrides (a JSON list of section.key=value) and seed, all of them strings.
            images: Folder or URI that image paths of the catalogue are relative to; "" for none.
            column_map: JSON of the input's column for each of our fields that is named otherwise.
            judgments: Graded judgments; "" for none.
            items_digest: Digest of the catalogue's files; "" where the run itself is to take it, as on Kubeflow's page.
            clicks_digest: Likewise of the click log's files.
            images_digest: Likewise of the pictures' files.
            judgments_digest: Likewise of the judgments' files.
            preset: What all trials start from.
            settings: JSON list of section.key=value, which all trials have.
            baseline: Setting that the others are compared with: variant and overrides, joined by commas.
            results: Folder, reached by every task, in which the evidence of each trial is kept; "" for none.
            recorded: JSON list of the names of trials whose evidence is there and is only compared.
            code_prepare_data: Digest of the stage's code; likewise for the other stages.
            code: JSON of all of them, for the evidence.
        """
        placement = Placement(image, cluster)
        with placement.ending():
            _add_tasks(
                placement,
                kind,
                {
                    "items_path": items,
                    "clicks_path": clicks,
                    "images_path": images,
                    "judgments_path": judgments,
                    "column_map": column_map,
                },
                {
                    "items_digest": items_digest,
                    "clicks_digest": clicks_digest,
                    "images_digest": images_digest,
                    "judgments_digest": judgments_digest,
                },
                {
                    "preset": preset,
                    "settings": settings,
                    "trials": trials,
                    "baseline": baseline,
                    "results": results,
                    "recorded": recorded,
                },
                {
                    "prepare_data": code_prepare_data,
                    "generate_synthetic_queries": code_generate_synthetic_queries,
                    "pretrain": code_pretrain,
                    "train_gate": code_train_gate,
                    "finetune": code_finetune,
                    "export_embeddings": code_export_embeddings,
                    "evaluate": code_evaluate,
                },
                code,
            )

    return experiment_pipeline


def _add_tasks(
    placement: Placement,
    kind: Kind,
    files: Mapping[str, Channel],
    known: Mapping[str, Channel],
    experiment: Mapping[str, Channel],
    code: Mapping[str, Channel],
    code_json: Channel,
) -> None:
    """Add all tasks of an experiment to the pipeline that is being defined.

    Args:
        placement: Where the tasks run.
        kind: What is compared.
        files: Paths of the input files, and the column map.
        known: Digests of the input files, "" where the run itself is to take them.
        experiment: preset, settings, trials, baseline, results and recorded.
        code: Digest of each stage's code.
        code_json: All of them as JSON, for the evidence.
    """
    digests = known if placement.cluster is None else add_digests(files, known, placement)
    start = {"preset": experiment["preset"], "settings": experiment["settings"]}
    shared = _configure(placement, **start, variant="smar", overrides="[]", seed="0", is_trial="no")
    prepared = placement.place(
        prepare_data(
            items_path=files["items_path"],
            clicks_path=files["clicks_path"],
            images_path=files["images_path"],
            column_map=files["column_map"],
            items_digest=digests["items_digest"],
            clicks_digest=digests["clicks_digest"],
            images_digest=digests["images_digest"],
            prepare_section=shared["prepare"],
            beam_section=shared["beam"],
            runtime=shared["runtime"],
            code_digest=code["prepare_data"],
        )
    ).outputs
    parallel_trials = placement.cluster.parallel_trials if placement.cluster is not None else 1
    with dsl.ParallelFor(experiment["trials"], parallelism=parallel_trials) as trial:
        told = {"variant": trial.variant, "overrides": trial.overrides, "seed": trial.seed}
        sections = _configure(placement, **start, **told, is_trial="yes")
        artifacts, metrics = add_training_stages(
            prepared, sections, code, files["judgments_path"], digests["judgments_digest"], files["column_map"], placement
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
            **digests,
            column_map=files["column_map"],
            code=code_json,
            results=experiment["results"],
        )
        placement.place(recorded).set_caching_options(False)
    placement.place(
        compare_trials(
            trials=dsl.Collected(recorded.outputs["trial"]),
            kind=kind,
            baseline=experiment["baseline"],
            results=experiment["results"],
            recorded=experiment["recorded"],
        )
    ).set_caching_options(False)


def _configure(placement: Placement, **parameters: Any) -> dict[str, Channel]:
    task = placement.place(configure(**parameters))
    task.set_caching_options(False)
    return {name: task.outputs[name] for name in _SECTIONS}
