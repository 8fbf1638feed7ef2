"""Component that compares the new catalogue's bundle with the champion's and says whether it is promoted."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def decide_promotion(
    champion: dsl.Input[dsl.Model],
    bundle: dsl.Input[dsl.Model],
    reference: dsl.Input[dsl.Dataset],
    decision: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    has_champion: str,
    judgments_path: str,
    column_map: str,
    judgments_digest: str,
    promotion_section: str,
    evaluate_section: str,
    runtime: str,
    code_digest: str,
) -> str:
    """Rank the reference queries with both bundles, and test the difference.

    Args:
        champion: The bundle that is served now.
        bundle: The new catalogue's.
        reference: Clicks of the reference queries.
        decision: Verdict, figures, values of each query, page.
        report: The page alone, for Kubeflow.
        metrics: Figures of the stage.
        has_champion: "yes", or "no" where nothing is served yet.
        judgments_path: Graded judgments: file, folder or URI; "" for none.
        column_map: JSON of the judgments' column for each of our fields that is named otherwise.
        judgments_digest: Digest of their files; "" for none.
        promotion_section: Config section ``promotion`` as JSON.
        evaluate_section: Config section ``evaluate`` as JSON.
        runtime: Config section ``runtime`` as JSON.
        code_digest: Digest of the code that runs here, for the cache.

    Returns:
        "promote" or "keep".
    """
    import json
    import shutil
    from pathlib import Path

    from components.stage import open_stage
    from smar_core.config import EvaluateConfig, PromotionConfig, RuntimeConfig

    with open_stage(
        "decide_promotion",
        inputs={"champion": champion, "bundle": bundle, "reference": reference},
        outputs={"decision": decision},
        sections={"promotion": promotion_section, "evaluate": evaluate_section, "runtime": runtime},
        metrics=metrics,
        code_digest=code_digest,
        files={"judgments_file": judgments_digest},
    ) as stage:
        from smar_core.evaluation.promotion import decide_promotion as decide

        verdict, stage.figures = decide(
            stage.inputs["champion"],
            stage.inputs["bundle"],
            stage.inputs["reference"],
            judgments_path or None,
            stage.outputs["decision"],
            stage.section(PromotionConfig),
            stage.section(EvaluateConfig),
            stage.section(RuntimeConfig),
            stage.context,
            has_champion=has_champion == "yes",
            column_map=json.loads(column_map),
        )
        shutil.copyfile(stage.outputs["decision"] / "page.html", Path(report.path))
    return verdict
