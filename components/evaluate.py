"""Component of the seventh stage: measures and the report."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def evaluate(
    items: dsl.Input[dsl.Dataset],
    clicks: dsl.Input[dsl.Dataset],
    synthetic: dsl.Input[dsl.Dataset],
    pretrained: dsl.Input[dsl.Model],
    gate: dsl.Input[dsl.Model],
    finetuned: dsl.Input[dsl.Model],
    bundle: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    judgments_path: str,
    column_map: str,
    judgments_digest: str,
    evaluate_section: str,
    runtime: str,
    code_digest: str,
) -> None:
    """Measure the bundle on the test days and, where there are any, on judgments; write the report.

    Args:
        items: The cleaned catalogue with its pictures.
        clicks: Clicks by split.
        synthetic: Synthetic queries, for the drift report.
        pretrained: The model before fine-tuning.
        gate: P(q) with its report.
        finetuned: The model.
        bundle: What serves queries.
        evaluation: Measures, values of each query, run files, page.
        report: The page alone, for Kubeflow.
        metrics: Figures of the stage.
        judgments_path: Graded judgments: file, folder or URI; "" for none.
        column_map: JSON of the judgments' column for each of our fields that is named otherwise.
        judgments_digest: Digest of their files; "" for none.
        evaluate_section: Config section ``evaluate`` as JSON.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.
    """
    import json
    import shutil
    from pathlib import Path

    from components.stage import open_stage
    from smar_core.config import EvaluateConfig, RuntimeConfig

    with open_stage(
        "evaluate",
        inputs={
            "items": items,
            "clicks": clicks,
            "synthetic": synthetic,
            "pretrained": pretrained,
            "gate": gate,
            "finetuned": finetuned,
            "bundle": bundle,
        },
        outputs={"evaluation": evaluation},
        sections={"evaluate": evaluate_section, "runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
        files={"judgments_file": judgments_digest},
    ) as stage:
        from smar_core.evaluation.evaluate import evaluate as measure

        stage.figures = measure(
            stage.inputs["items"],
            stage.inputs["clicks"],
            stage.inputs["synthetic"],
            stage.inputs["pretrained"],
            stage.inputs["gate"],
            stage.inputs["finetuned"],
            stage.inputs["bundle"],
            judgments_path or None,
            stage.outputs["evaluation"],
            stage.section(EvaluateConfig),
            stage.section(RuntimeConfig),
            stage.context,
            json.loads(column_map),
        )
        shutil.copyfile(stage.outputs["evaluation"] / "page.html", Path(report.path))
