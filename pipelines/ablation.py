"""The ablation pipeline: the variants of the paper's comparison, each trained and measured on the test days."""

from kfp import dsl

from pipelines.experiment import add_experiment

NAME = "smar-ablation"


@dsl.pipeline(
    name=NAME,
    description="What each part of the model brings: variants and seeds on the test days, and their comparison with a baseline.",
)
def ablation_pipeline(
    items: str,
    clicks: str,
    trials: list,
    images: str = "",
    column_map: str = "{}",
    judgments: str = "",
    items_digest: str = "",
    clicks_digest: str = "",
    images_digest: str = "",
    judgments_digest: str = "",
    preset: str = "study",
    settings: str = "[]",
    baseline: str = "smar",
    results: str = "",
    recorded: str = "[]",
    code_prepare_data: str = "",
    code_generate_synthetic_queries: str = "",
    code_pretrain: str = "",
    code_train_gate: str = "",
    code_finetune: str = "",
    code_export_embeddings: str = "",
    code_evaluate: str = "",
    code: str = "{}",
) -> None:
    """Wire the experiment.

    Args:
        items: Catalogue: file, folder or URI.
        clicks: Click log: file, folder or URI.
        trials: Of each: variant, overrides (a JSON list of section.key=value) and seed, all of them strings.
        images: Folder or URI that image paths of the catalogue are relative to; "" for none.
        column_map: JSON of the input's column for each of our fields that is named otherwise.
        judgments: Graded judgments; "" for none.
        items_digest: Digest of the catalogue's files.
        clicks_digest: Digest of the click log's files.
        images_digest: Digest of the pictures' files.
        judgments_digest: Digest of the judgments' files.
        preset: What all trials start from.
        settings: JSON list of section.key=value, which all trials have.
        baseline: Setting that the others are compared with: variant and overrides, joined by commas.
        results: Folder, reached by every task, in which the evidence of each trial is kept; "" for none.
        recorded: JSON list of the names of trials whose evidence is there and is only compared.
        code_prepare_data: Digest of the stage's code; likewise for the other stages.
        code: JSON of all of them, for the evidence.
    """
    add_experiment(
        "ablation",
        {
            "items": items,
            "clicks": clicks,
            "images": images,
            "column_map": column_map,
            "judgments": judgments,
            "items_digest": items_digest,
            "clicks_digest": clicks_digest,
            "images_digest": images_digest,
            "judgments_digest": judgments_digest,
        },
        {
            "preset": preset,
            "settings": settings,
            "trials": trials,
            "baseline": baseline,
            "results": results,
            "recorded": recorded,
        },
        {
            "prepare_data": code_prepare_data,
            "generate_synthetic_queries": code_generate_synthetic_queries,
            "pretrain": code_pretrain,
            "train_gate": code_train_gate,
            "finetune": code_finetune,
            "export_embeddings": code_export_embeddings,
            "evaluate": code_evaluate,
        },
        code,
    )
