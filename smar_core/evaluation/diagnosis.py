"""What takes the model apart beyond its scores: gate, pictures, and what either index finds alone.

Each part is left out where a model has nothing to measure it on: routing and exclusive matches need two indexes to choose
between, reliance needs one that looks at pictures.
"""

from collections.abc import Mapping
from typing import Any

import torch

from smar_core.artifact import Artifact
from smar_core.config import EvaluateConfig
from smar_core.evaluation.exclusive import count_exclusive, ranks_of
from smar_core.evaluation.measures import measure_run
from smar_core.evaluation.reliance import measure_reliance, rank_disturbed
from smar_core.evaluation.routing import MAIN_SLICES, measure_routing
from smar_core.evaluation.systems import EncodedTest
from smar_core.evaluation.testset import ClickTest
from smar_core.evaluation.views import Measured
from smar_core.progress import Progress
from smar_core.retrieval.exact import Ranking


def diagnose(
    test: ClickTest,
    encoded: EncodedTest,
    rankings: Mapping[str, Ranking],
    clicks_view: Measured,
    threshold: float,
    *,
    finetuned: Artifact,
    items: Artifact,
    config: EvaluateConfig,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """Measure routing, exclusive matches and modality reliance, as far as the model has them.

    Args:
        test: The test queries.
        encoded: Their embeddings and routing.
        rankings: By system, of the whole catalogue.
        clicks_view: The same, measured against clicks.
        threshold: The gate's own.
        finetuned: The model of the bundle.
        items: The catalogue.
        config: Resamples, confidence, seed, and whether reliance is measured.
        device: Where the catalogue is encoded.
        progress: Told about the items encoded.

    Returns:
        ``gate``, ``exclusive`` and ``reliance``, each where there is something to measure.
    """
    values, slices = clicks_view.values, {name: clicks_view.slices[name] for name in MAIN_SLICES}
    found: dict[str, Any] = {}
    if has_two_indexes(encoded):
        of_index = {"multimodal": values["multimodal"], "text": values["text_only"]}
        found["gate"] = measure_routing(encoded.probabilities, encoded.route == 1, of_index, slices, threshold, config)
        multimodal_E, text_E = (ranks_of(rankings[system].rows_QK, test.qrels) for system in ("multimodal", "text_only"))
        found["exclusive"] = count_exclusive(multimodal_E, text_E, test.qrels.query_E, slices)
    if config.reliance == "measured" and encoded.modalities != ("text",):
        disturbed = rank_disturbed(
            finetuned, items, encoded, rankings, max(config.cutoffs), config=config, device=device, progress=progress
        )
        measured = {
            kind: {system: measure_run(ranking.rows_QK, test.qrels, config.cutoffs) for system, ranking in of.items()}
            for kind, of in disturbed.items()
        }
        found["reliance"] = measure_reliance(values, measured, slices, config)
    return found


def has_two_indexes(encoded: EncodedTest) -> bool:
    """Return whether a gate chooses between text and multimodal."""
    return encoded.modalities == ("text", "multimodal")
