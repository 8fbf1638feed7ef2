"""Component of a refresh's last task but the promotion, never cached: ties its stages together in MLflow."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def record_refresh(
    finetuned: dsl.Input[dsl.Model],
    gate: dsl.Input[dsl.Model],
    champion: dsl.Input[dsl.Model],
    items: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Dataset],
    rejects: dsl.Input[dsl.Dataset],
    bundle: dsl.Input[dsl.Model],
    decision: dsl.Input[dsl.Artifact],
    model_version: str,
    champion_version: str,
    items_digest: str,
    clicks_digest: str,
    images_digest: str,
    judgments_digest: str,
    prepare_section: str,
    beam_section: str,
    export_section: str,
    evaluate_section: str,
    promotion_section: str,
    runtime_section: str,
) -> None:
    """Tell MLflow, and whoever started the run, what the refresh made and what was decided.

    Args:
        finetuned: The model.
        gate: P(q).
        champion: The bundle that was served when the refresh started.
        items: The cleaned catalogue.
        reference: Clicks of the reference queries.
        rejects: Rows that could not be used.
        bundle: The new catalogue's bundle.
        decision: Verdict and figures.
        model_version: Version that model and gate are of.
        champion_version: Version that was compared with.
        items_digest: Digest of the catalogue's files.
        clicks_digest: Digest of the click log's files.
        images_digest: Digest of the pictures' files; "" for none.
        judgments_digest: Digest of the judgments' files; "" without judgments.
        prepare_section: Config section ``prepare`` as JSON.
        beam_section: Config section ``beam`` as JSON.
        export_section: Config section ``export`` as JSON.
        evaluate_section: Config section ``evaluate`` as JSON.
        promotion_section: Config section ``promotion`` as JSON.
        runtime_section: Config section ``runtime`` as JSON.
    """
    from components.refresh import record_refresh as record

    record(
        {
            "finetuned": finetuned,
            "gate": gate,
            "champion": champion,
            "items": items,
            "reference": reference,
            "rejects": rejects,
            "bundle": bundle,
            "decision": decision,
        },
        {"items": items_digest, "clicks": clicks_digest, "images": images_digest, "judgments": judgments_digest},
        {
            "prepare": prepare_section,
            "beam": beam_section,
            "export": export_section,
            "evaluate": evaluate_section,
            "promotion": promotion_section,
            "runtime": runtime_section,
        },
        {"model_version": model_version, "champion_version": champion_version},
    )
