"""Component of the fifth stage: fine-tuning under the gate."""

from kfp import dsl

from components.image import IMAGE
from components.passthroughs import PASSTHROUGHS


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False, task_config_passthroughs=PASSTHROUGHS)
def finetune(
    items: dsl.Input[dsl.Dataset],
    clicks: dsl.Input[dsl.Dataset],
    pretrained: dsl.Input[dsl.Model],
    gate: dsl.Input[dsl.Model],
    finetuned: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    loss_section: str,
    finetune_section: str,
    runtime: str,
    code_digest: str,
    task_config: dsl.TaskConfig,
    workspace: str = "",
) -> None:
    """Fine-tune the towers on clicks, each pair weighted by its query's P(q).

    Args:
        items: The cleaned catalogue with its pictures.
        clicks: Clicks by split.
        pretrained: The model to start from.
        gate: P(q).
        finetuned: The best checkpoint, with its curve.
        metrics: Figures of the stage.
        loss_section: Config section ``loss`` as JSON.
        finetune_section: Config section ``finetune`` as JSON.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.
        task_config: What the pod was given, which Kubeflow puts in; the pods of a TrainJob are given the same.
        workspace: Folder of a volume that outlives this try of the stage, for its checkpoints; "" for none.
    """
    from components.stage import open_stage
    from components.trainjob import trainjobs
    from smar_core.config import FinetuneConfig, LossConfig, RuntimeConfig

    with open_stage(
        "finetune",
        inputs={"items": items, "clicks": clicks, "pretrained": pretrained, "gate": gate},
        outputs={"finetuned": finetuned},
        sections={"loss": loss_section, "finetune": finetune_section, "runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
        workspace=workspace,
    ) as stage:
        from smar_core.training.finetune import finetune as train

        stage.figures = train(
            stage.inputs["items"],
            stage.inputs["clicks"],
            stage.inputs["pretrained"],
            stage.inputs["gate"],
            stage.outputs["finetuned"],
            stage.section(LossConfig),
            stage.section(FinetuneConfig),
            stage.section(RuntimeConfig),
            stage.context,
            trainjobs(task_config),
        )
