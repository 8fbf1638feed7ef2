"""Component of the third stage: multi-task pre-training."""

from kfp import dsl

from components.image import IMAGE
from components.passthroughs import PASSTHROUGHS


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False, task_config_passthroughs=PASSTHROUGHS)
def pretrain(
    items: dsl.Input[dsl.Dataset],
    clicks: dsl.Input[dsl.Dataset],
    tokenizer: dsl.Input[dsl.Artifact],
    synthetic: dsl.Input[dsl.Dataset],
    pretrained: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    model_section: str,
    loss_section: str,
    pretrain_section: str,
    runtime: str,
    code_digest: str,
    task_config: dsl.TaskConfig,
    workspace: str = "",
) -> None:
    """Train the four towers on clicks and synthetic queries.

    Args:
        items: The cleaned catalogue with its pictures.
        clicks: Clicks by split.
        tokenizer: The vocabulary.
        synthetic: Synthetic queries.
        pretrained: The best checkpoint, with its curve.
        metrics: Figures of the stage.
        model_section: Config section ``model`` as JSON.
        loss_section: Config section ``loss`` as JSON.
        pretrain_section: Config section ``pretrain`` as JSON.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.
        task_config: What the pod was given, which Kubeflow puts in; the pods of a TrainJob are given the same.
        workspace: Folder of a volume that outlives this try of the stage, for its checkpoints; "" for none.
    """
    from components.stage import open_stage
    from components.trainjob import trainjobs
    from smar_core.config import LossConfig, ModelConfig, PretrainConfig, RuntimeConfig

    with open_stage(
        "pretrain",
        inputs={"items": items, "clicks": clicks, "tokenizer": tokenizer, "synthetic": synthetic},
        outputs={"pretrained": pretrained},
        sections={"model": model_section, "loss": loss_section, "pretrain": pretrain_section, "runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
        workspace=workspace,
    ) as stage:
        from smar_core.training.pretrain import pretrain as train

        stage.figures = train(
            stage.inputs["items"],
            stage.inputs["clicks"],
            stage.inputs["tokenizer"],
            stage.inputs["synthetic"],
            stage.outputs["pretrained"],
            stage.section(ModelConfig),
            stage.section(LossConfig),
            stage.section(PretrainConfig),
            stage.section(RuntimeConfig),
            stage.context,
            trainjobs(task_config),
        )
