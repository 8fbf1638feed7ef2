"""Writing and opening an artifact of kind ``model``: weights, tokenizer, curve and a summary of the training.

The summary, ``training.json``, records the form of the loss (PAPER.md 9) and what was learned of it beside the towers.
Left out: weights of each category or pair, of which the curve has the means.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.config import LossConfig, OptimiserConfig
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.schemas import CURVE
from smar_core.stage import StageContext
from smar_core.training.loop import TrainingResult


def open_model(artifact: Artifact) -> tuple[SmarModel, TextTokenizer]:
    """Load the model and its tokenizer."""
    return SmarModel.from_pretrained(artifact.path), TextTokenizer.load(artifact.path / "tokenizer.json")


def write_model_artifact(
    output: Path,
    model: SmarModel,
    tokenizer: TextTokenizer,
    result: TrainingResult,
    *,
    stage: str,
    loss: LossConfig,
    config: OptimiserConfig,
    context: StageContext,
) -> dict[str, float]:
    """Write a model artifact and return the figures worth comparing between runs."""
    summary: dict[str, Any] = {
        "stage": stage,
        "best_step": result.best_step,
        "num_steps": config.num_steps,
        "batch_size": config.batch_size,
        "num_true_pairs": result.num_true_pairs,
        "num_synthetic_pairs": result.num_synthetic_pairs,
        "num_distinct_synthetic_pairs_seen": result.num_distinct_synthetic_pairs_seen,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "best": result.best_figures,
        "loss": loss.model_dump(mode="json"),
        "learned": learned_figures(result.curve, result.best_step),
    }
    with create_artifact(output, "model", config_digest=context.config_digest, parents=context.parents) as folder:
        model.save_pretrained(folder)
        tokenizer.save(folder / "tokenizer.json")
        steps, names, values = zip(*result.curve, strict=True) if result.curve else ((), (), ())
        curve = pa.Table.from_arrays(
            [pa.array(steps, pa.int32()), pa.array(names, pa.string()), pa.array(values, pa.float64())], schema=CURVE
        )
        pq.write_table(curve, folder / "curve.parquet")
        write_json(folder / "training.json", summary)
    counts = ("best_step", "num_true_pairs", "num_synthetic_pairs", "num_distinct_synthetic_pairs_seen", "num_parameters")
    return {**result.best_figures, **{name: float(summary[name]) for name in counts}}


def learned_figures(curve: Iterable[tuple[int, str, float]], step: int) -> dict[str, float]:
    """Return what the objective had learned by a step: temperature and mean weights of the losses, as logged last.

    Args:
        curve: (step, name, value) in the order of the steps.
        step: The last that counts; of before the first logged one nothing is known.

    >>> learned_figures([(5, "loss", 1.0), (5, "temperature", 0.03), (10, "temperature", 0.04)], 9)
    {'temperature': 0.03}
    """
    names = ("temperature", "weight_")
    return {name: value for at_step, name, value in curve if at_step <= step and name.startswith(names)}
