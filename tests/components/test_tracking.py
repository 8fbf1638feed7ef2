"""What MLflow is told of a pipeline run."""

from pathlib import Path

from components.tracking import compared_metrics, default_uri, flatten, metric_name
from smar_core.config import EvaluateConfig


def test_metric_names_are_ones_that_mlflow_allows() -> None:
    assert metric_name("validation_R@50_text") == "validation_R_at_50_text"


def test_config_is_flattened_to_section_and_key() -> None:
    flat = flatten({"evaluate": EvaluateConfig(cutoffs=(10, 50))})
    assert flat["evaluate.cutoffs"] == "[10, 50]"
    assert flat["evaluate.seed"] == "0"


def test_compared_metrics_name_system_and_slice_only_where_needed() -> None:
    """R@50 and P@50 of the routed search over all queries are what one wants first."""

    def measured(value: float) -> dict[str, dict[str, float]]:
        return {"R@50": {"value": value, "low": 0.0, "high": 1.0}, "P@50": {"value": value / 2, "low": 0.0, "high": 1.0}}

    scores = {
        "model": {"overall": {"num_queries": 3, **measured(0.7)}, "fashion": {"num_queries": 2, **measured(0.6)}},
        "text_only": {"overall": {"num_queries": 3, **measured(0.5)}},
        "ann": {"overall": {"num_queries": 3}},
    }
    assert compared_metrics(scores) == {
        "R_at_50": 0.7,
        "P_at_50": 0.35,
        "R_at_50/fashion": 0.6,
        "P_at_50/fashion": 0.3,
        "text_only/R_at_50": 0.5,
        "text_only/P_at_50": 0.25,
    }


def test_default_store_lies_in_the_folder(tmp_path: Path) -> None:
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
