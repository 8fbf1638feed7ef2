"""Component of the second stage: synthetic queries."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def generate_synthetic_queries(
    items: dsl.Input[dsl.Dataset],
    clicks: dsl.Input[dsl.Dataset],
    tokenizer: dsl.Input[dsl.Artifact],
    synthetic: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    synthetic_section: str,
    beam_section: str,
    runtime: str,
    code_digest: str,
) -> None:
    """Draw synthetic queries from the items' texts by Random Substring Retrieval.

    Args:
        items: The cleaned catalogue.
        clicks: Clicks by split; held-out queries are dropped, true ones set the number.
        tokenizer: The vocabulary, for the drift report.
        synthetic: Queries with their provenance, and the drift report.
        metrics: Figures of the stage.
        synthetic_section: Config section ``synthetic`` as JSON.
        beam_section: Config section ``beam`` as JSON.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.
    """
    from components.stage import open_stage
    from smar_core.config import BeamConfig, SyntheticConfig

    with open_stage(
        "generate_synthetic_queries",
        inputs={"items": items, "clicks": clicks, "tokenizer": tokenizer},
        outputs={"synthetic": synthetic},
        sections={"synthetic": synthetic_section, "beam": beam_section, "runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
    ) as stage:
        from smar_core.data.synthetic import generate_synthetic_queries as generate

        stage.figures = generate(
            stage.inputs["items"],
            stage.inputs["clicks"],
            stage.inputs["tokenizer"],
            stage.outputs["synthetic"],
            stage.section(SyntheticConfig),
            stage.section(BeamConfig),
            stage.context,
        )
