"""The ablation pipeline: the variants of the paper's comparison, each trained and measured on the test days."""

from pipelines.experiment import experiment_pipeline_of

ablation_pipeline = experiment_pipeline_of(
    "ablation",
    "What each part of the model brings: variants and seeds on the test days, and their comparison with a baseline.",
    "[]",
)
