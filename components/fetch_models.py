"""Component that takes model, gate and the champion's bundle out of the registry: cached by their digests."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def fetch_models(
    finetuned: dsl.Output[dsl.Model],
    gate: dsl.Output[dsl.Model],
    champion: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    model_name: str,
    model_version: str,
    finetuned_digest: str,
    gate_digest: str,
    champion_version: str,
    champion_digest: str,
    runtime: str,
    code_digest: str,
) -> None:
    """Download artifacts of registered versions, and see that they are what the registry says.

    Args:
        finetuned: The model.
        gate: P(q).
        champion: The bundle that is served now.
        metrics: Figures of the stage.
        model_name: Name of the registered model.
        model_version: Version that holds model and gate.
        finetuned_digest: Digest of the model.
        gate_digest: Digest of the gate.
        champion_version: Version that holds the bundle.
        champion_digest: Digest of the bundle.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.
    """
    from components.stage import open_stage

    with open_stage(
        "fetch_models",
        inputs={},
        outputs={"finetuned": finetuned, "gate": gate, "champion": champion},
        sections={"runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
    ) as stage:
        from components.refresh import fetch_models as fetch

        fetch(
            model_name,
            {"finetuned": model_version, "gate": model_version, "champion": champion_version},
            {"finetuned": finetuned_digest, "gate": gate_digest, "champion": champion_digest},
            stage.outputs,
        )
