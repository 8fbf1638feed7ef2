"""Component of the sixth stage: the bundle that serves queries."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def export_embeddings(
    items: dsl.Input[dsl.Dataset],
    finetuned: dsl.Input[dsl.Model],
    gate: dsl.Input[dsl.Model],
    bundle: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    export_section: str,
    runtime: str,
    code_digest: str,
) -> None:
    """Embed every item, build the indexes, and pack what search needs into one bundle.

    Args:
        items: The cleaned catalogue with its pictures.
        finetuned: The model.
        gate: P(q), which routes a query to an index.
        bundle: Embeddings, indexes, query tower, gate, tokenizer.
        metrics: Figures of the stage.
        export_section: Config section ``export`` as JSON.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.
    """
    from components.stage import open_stage
    from smar_core.config import ExportConfig, RuntimeConfig

    with open_stage(
        "export_embeddings",
        inputs={"items": items, "finetuned": finetuned, "gate": gate},
        outputs={"bundle": bundle},
        sections={"export": export_section, "runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
    ) as stage:
        from smar_core.retrieval.export import export_embeddings as export

        stage.figures = export(
            stage.inputs["items"],
            stage.inputs["finetuned"],
            stage.inputs["gate"],
            stage.outputs["bundle"],
            stage.section(ExportConfig),
            stage.section(RuntimeConfig),
            stage.context,
        )
