"""The sweep pipeline: one setting at a time moved away from the preset's value, measured on the validation days."""

from pipelines.experiment import experiment_pipeline_of

sweep_pipeline = experiment_pipeline_of(
    "sweep",
    "What each setting does: one at a time on the validation days, compared with the preset.",
    '["evaluate.split=validation"]',
)
