"""Names that MLflow is given: tags, metrics, parameters, and the filters that find them again."""

import json
from collections.abc import Mapping
from typing import Any

PIPELINE_RUN_ID_TAG = "kfp.pipeline_run_id"
STAGE_TAG = "smar.stage"
CACHED_TAG = "smar.is_cached"
CONFIG_TAG = "smar.config"
TRIAL_TAG = "smar.trial"
TRIAL_RUN_TAG = "smar.trial_run_id"
READ_TAG = "smar.is_read"
PROBLEM_TAG = "smar.problem"
PARENT_TAG = "mlflow.parentRunId"


def metric_name(name: str) -> str:
    """Return a measure's name as MLflow allows it.

    >>> metric_name("validation_R@50_text")
    'validation_R_at_50_text'
    """
    return name.replace("@", "_at_")


def flatten(sections: Mapping[str, Any]) -> dict[str, str]:
    """Return config sections as MLflow parameters ``section.key``."""
    return {
        f"{name}.{key}": json.dumps(value) if isinstance(value, (list, dict)) else str(value)
        for name, section in sections.items()
        for key, value in section.model_dump(mode="json").items()
    }


def where(tags: Mapping[str, str]) -> str:
    """Return MLflow's filter for what has these tags.

    >>> where({"a": "1", "b": "2"})
    "tags.`a` = '1' and tags.`b` = '2'"
    """
    return " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
