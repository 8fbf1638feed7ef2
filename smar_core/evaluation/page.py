"""The page of a run, made of what its stages left and what evaluation found."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from smar_core.artifact import Artifact
from smar_core.report.data import Example, Match, ReportData
from smar_core.report.page import render_report

TITLE = "SMAR: what the pictures bring"


def render_page(
    scores: Mapping[str, Any],
    curves: Mapping[str, pa.Table],
    stages: Mapping[str, Artifact],
    bundle_settings: Mapping[str, Any],
    examples: Sequence[Example],
    matches: Sequence[Match],
) -> str:
    """Return the page as HTML.

    Args:
        scores: Content of ``scores.json``.
        curves: Of pre-training and fine-tuning, by stage.
        stages: Artifacts of the run by what they are to it: ``items``, ``clicks``, ``synthetic``, ``pretrained``, ``gate`` and
            ``finetuned``.
        bundle_settings: Of the exported bundle.
        examples, matches: Queries with pictures.
    """
    training = {"pretrain": stages["pretrained"], "finetune": stages["finetuned"]}
    looked_at = stages["gate"].read_table("gate_queries", ["split", "label", "probability"])
    looked_at = looked_at.filter(pc.equal(looked_at["split"], "validation"))
    data = ReportData(
        title=TITLE,
        scores=scores,
        curves=curves,
        training={stage: artifact.read_json("training.json") for stage, artifact in training.items()},
        gate_report=stages["gate"].read_json("gate_report.json"),
        gate_probabilities=looked_at["probability"].to_pylist(),
        gate_is_visual=pc.greater(looked_at["label"], 0.5).to_pylist(),
        statistics={name: stages[name].read_json("statistics.json") for name in ("items", "clicks")},
        drift=stages["synthetic"].read_json("drift.json"),
        bundle=bundle_settings,
        examples=examples,
        matches=matches,
    )
    return render_report(data)
