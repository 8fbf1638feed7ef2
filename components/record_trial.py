"""Component of the last task of a trial, never cached: its evidence, kept in a small file as soon as it is there."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def record_trial(
    items: dsl.Input[dsl.Dataset],
    clicks: dsl.Input[dsl.Dataset],
    tokenizer: dsl.Input[dsl.Artifact],
    rejects: dsl.Input[dsl.Dataset],
    synthetic: dsl.Input[dsl.Dataset],
    pretrained: dsl.Input[dsl.Model],
    gate: dsl.Input[dsl.Model],
    finetuned: dsl.Input[dsl.Model],
    bundle: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    synthetic_metrics: dsl.Input[dsl.Metrics],
    pretrain_metrics: dsl.Input[dsl.Metrics],
    gate_metrics: dsl.Input[dsl.Metrics],
    finetune_metrics: dsl.Input[dsl.Metrics],
    export_metrics: dsl.Input[dsl.Metrics],
    evaluate_metrics: dsl.Input[dsl.Metrics],
    trial: dsl.Output[dsl.Artifact],
    preset: str,
    settings: str,
    variant: str,
    overrides: str,
    seed: str,
    items_digest: str,
    clicks_digest: str,
    images_digest: str,
    judgments_digest: str,
    column_map: str,
    code: str,
    results: str,
) -> None:
    """Write the trial's evidence, and give the trial a run in MLflow.

    Args:
        items: The cleaned catalogue.
        clicks: Clicks by split.
        tokenizer: The vocabulary.
        rejects: Rows that could not be used.
        synthetic: Synthetic queries.
        pretrained: The pre-trained model.
        gate: P(q).
        finetuned: The fine-tuned model.
        bundle: What serves queries.
        evaluation: Measures and report.
        synthetic_metrics: Metrics of generate_synthetic_queries, of which the time it took is kept; of pretrain the machine, too.
        pretrain_metrics: Of pretrain.
        gate_metrics: Of train_gate.
        finetune_metrics: Of finetune.
        export_metrics: Of export_embeddings.
        evaluate_metrics: Of evaluate.
        trial: The evidence and its queries.
        preset: What all trials start from.
        settings: JSON list of what all trials have.
        variant: Of the trial.
        overrides: JSON list of what the trial has beside.
        seed: Of the trial.
        items_digest: Digest of the catalogue's files.
        clicks_digest: Digest of the click log's files.
        images_digest: Digest of the pictures' files; "" for none.
        judgments_digest: Digest of the judgments' files; "" without judgments.
        column_map: JSON of the input's column for each of our fields that is named otherwise.
        code: JSON of the digest of each stage's code; {} where it is not known.
        results: Folder that the evidence is kept in too; "" for none.
    """
    from pathlib import Path

    from components.experiment import parse_trial, record

    record(
        parse_trial(variant, overrides, seed),
        preset,
        settings,
        artifacts={
            "items": items,
            "clicks": clicks,
            "tokenizer": tokenizer,
            "rejects": rejects,
            "synthetic": synthetic,
            "pretrained": pretrained,
            "gate": gate,
            "finetuned": finetuned,
            "bundle": bundle,
            "evaluation": evaluation,
        },
        metrics={
            "generate_synthetic_queries": synthetic_metrics,
            "pretrain": pretrain_metrics,
            "train_gate": gate_metrics,
            "finetune": finetune_metrics,
            "export_embeddings": export_metrics,
            "evaluate": evaluate_metrics,
        },
        files={"items": items_digest, "clicks": clicks_digest, "images": images_digest, "judgments": judgments_digest},
        column_map=column_map,
        code=code,
        output=Path(trial.path),
        results=results,
    )
