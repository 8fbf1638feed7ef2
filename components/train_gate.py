"""Component of the fourth stage: the gate P(q)."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def train_gate(
    items: dsl.Input[dsl.Dataset],
    clicks: dsl.Input[dsl.Dataset],
    pretrained: dsl.Input[dsl.Model],
    gate: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    gate_section: str,
    runtime: str,
    code_digest: str,
) -> None:
    """Train the prediction header that says whether the picture helps a query.

    Args:
        items: The cleaned catalogue, for its categories.
        clicks: Clicks by split, for the labels.
        pretrained: The model whose query tower the gate reads.
        gate: The gate with its report.
        metrics: Figures of the stage.
        gate_section: Config section ``gate`` as JSON.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.
    """
    from components.stage import open_stage
    from smar_core.config import GateConfig, RuntimeConfig

    with open_stage(
        "train_gate",
        inputs={"items": items, "clicks": clicks, "pretrained": pretrained},
        outputs={"gate": gate},
        sections={"gate": gate_section, "runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
    ) as stage:
        from smar_core.training.gate import train_gate as train

        stage.figures = train(
            stage.inputs["items"],
            stage.inputs["clicks"],
            stage.inputs["pretrained"],
            stage.outputs["gate"],
            stage.section(GateConfig),
            stage.section(RuntimeConfig),
            stage.context,
        )
