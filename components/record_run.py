"""Component of a training's last task, never cached: ties its stages together, those that the cache answered too."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def record_run(
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
    items_digest: str,
    clicks_digest: str,
    images_digest: str,
    judgments_digest: str,
    prepare_section: str,
    beam_section: str,
    synthetic_section: str,
    model_section: str,
    loss_section: str,
    pretrain_section: str,
    gate_section: str,
    finetune_section: str,
    export_section: str,
    evaluate_section: str,
    runtime_section: str,
    tracking_section: str,
) -> None:
    """Tell MLflow, and whoever started the run, what the pipeline run made.

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
        items_digest: Digest of the catalogue's files.
        clicks_digest: Digest of the click log's files.
        images_digest: Digest of the pictures' files; "" for none.
        judgments_digest: Digest of the judgments' files; "" without judgments.
        prepare_section: Config section ``prepare`` as JSON.
        beam_section: Config section ``beam`` as JSON.
        synthetic_section: Config section ``synthetic`` as JSON.
        model_section: Config section ``model`` as JSON.
        loss_section: Config section ``loss`` as JSON.
        pretrain_section: Config section ``pretrain`` as JSON.
        gate_section: Config section ``gate`` as JSON.
        finetune_section: Config section ``finetune`` as JSON.
        export_section: Config section ``export`` as JSON.
        evaluate_section: Config section ``evaluate`` as JSON.
        runtime_section: Config section ``runtime`` as JSON.
        tracking_section: Config section ``tracking`` as JSON.
    """
    from components.record import record

    record(
        {
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
        {"items": items_digest, "clicks": clicks_digest, "images": images_digest, "judgments": judgments_digest},
        {
            "prepare": prepare_section,
            "beam": beam_section,
            "synthetic": synthetic_section,
            "model": model_section,
            "loss": loss_section,
            "pretrain": pretrain_section,
            "gate": gate_section,
            "finetune": finetune_section,
            "export": export_section,
            "evaluate": evaluate_section,
            "runtime": runtime_section,
            "tracking": tracking_section,
        },
    )
