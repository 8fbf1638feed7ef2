"""What routing by P(q) earns: the chosen threshold beside every other one, the constant choices, and the best possible one.

A routing is a choice between two rankings for each query. ``routed`` is the gate with its threshold, which was chosen on the
validation days and is only looked at here; ``always_text`` and ``always_multimodal`` are P(q) = 0 and 1; ``oracle`` takes for
each query the ranking of higher R@50, the text index where they are equal. The oracle reads the same clicks that it is measured
on, so part of its lead is luck that no gate can reach. Left out: gates that look at the item too; they choose no ranking.

Shapes: Q queries, T thresholds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from smar_core.config import EvaluateConfig
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.measures import Values
from smar_core.evaluation.slices import Mask
from smar_core.evaluation.summary import summarise

MEASURE = "R@50"
MAIN_SLICES = ("overall", "fashion", "not_fashion")
NUM_THRESHOLDS = 51
"""Thresholds of the sweep, from 0 to 1 in steps of 0.02."""


def measure_routing(
    probabilities_Q: Values,
    is_multimodal_Q: Mask,
    values: Mapping[str, Mapping[str, Values]],
    slices: Mapping[str, Mask],
    threshold: float,
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Compare the gate's routing with the other ones.

    Args:
        probabilities_Q: P(q) in 0..1.
        is_multimodal_Q: The gate's decision.
        values: Values [Q] by measure of the rankings ``text`` and ``multimodal``.
        slices: Mask over the queries by name; ``MAIN_SLICES`` are used.
        threshold: The gate's own.
        config: Resamples, confidence and seed.

    Returns:
        ``policies`` and ``differences`` (``routed`` less each other one) as ``summarise`` gives them, ``threshold``,
        ``curve`` (a list of threshold, share_multimodal, value, low, high) and ``utility``, what ``utility_auc`` says.
    """
    gain_Q = values["multimodal"][MEASURE] - values["text"][MEASURE]
    choices = {
        "routed": is_multimodal_Q,
        "always_text": np.zeros(len(gain_Q), dtype=bool),
        "always_multimodal": np.ones(len(gain_Q), dtype=bool),
        "oracle": gain_Q > 0,
    }
    routed = {
        policy: {measure: np.where(choice_Q, values["multimodal"][measure], text_Q) for measure, text_Q in values["text"].items()}
        for policy, choice_Q in choices.items()
    }
    shown = {name: slices[name] for name in MAIN_SLICES}
    policies, differences = summarise(routed, shown, [("routed", other) for other in choices if other != "routed"], config)
    return {
        "threshold": threshold,
        "policies": policies,
        "differences": differences,
        "curve": sweep_thresholds(probabilities_Q, values["multimodal"][MEASURE], values["text"][MEASURE], config),
        "utility": utility_auc(probabilities_Q, gain_Q, config),
    }


def sweep_thresholds(
    probabilities_Q: Values, multimodal_Q: Values, text_Q: Values, config: EvaluateConfig
) -> list[dict[str, float]]:
    """Return the mean, with its interval, of routing every query by each threshold; all thresholds see equal resamples.

    Args:
        probabilities_Q: P(q) in 0..1; a query is multimodal from the threshold on.
        multimodal_Q, text_Q: A measure of either ranking.
        config: Resamples, confidence and seed.
    """
    thresholds_T = np.linspace(0.0, 1.0, NUM_THRESHOLDS)
    is_multimodal_QT = probabilities_Q[:, None] >= thresholds_T
    value_QT = np.where(is_multimodal_QT, multimodal_Q[:, None], text_Q[:, None])
    sample_ST = resample_means(value_QT, config.num_bootstrap_samples, config.seed)
    return [
        {"threshold": float(threshold), "share_multimodal": float(is_multimodal_QT[:, place].mean())}
        | percentile_interval(float(value_QT[:, place].mean()), sample_ST[:, place], config.confidence).as_json()
        for place, threshold in enumerate(thresholds_T)
    ]


def utility_auc(probabilities_Q: Values, gain_Q: Values, config: EvaluateConfig) -> dict[str, Any]:
    """Return how well P(q) orders queries by which ranking serves them better.

    A gate that was taught categories may know fashion perfectly and still not know where the picture helps. Queries that both
    rankings serve equally say nothing about the choice and are left out.

    Args:
        probabilities_Q: P(q).
        gain_Q: The multimodal ranking's measure less the text ranking's.
        config: Resamples, confidence and seed.

    Returns:
        ``auc`` with its bootstrap interval, or None when one ranking is never the better one; and the three counts of queries.
    """
    is_helped_U, probability_U = gain_Q[gain_Q != 0] > 0, probabilities_Q[gain_Q != 0]
    counts = {
        "num_multimodal_better": int(is_helped_U.sum()),
        "num_text_better": int((~is_helped_U).sum()),
        "num_equal": int((gain_Q == 0).sum()),
    }
    if not _has_both(is_helped_U):
        return {"auc": None} | counts
    rng = np.random.default_rng(config.seed)
    draws = (rng.integers(len(is_helped_U), size=len(is_helped_U)) for _ in range(config.num_bootstrap_samples))
    samples = [roc_auc_score(is_helped_U[draw], probability_U[draw]) for draw in draws if _has_both(is_helped_U[draw])]
    value = float(roc_auc_score(is_helped_U, probability_U))
    return {"auc": percentile_interval(value, np.array(samples or [value]), config.confidence).as_json()} | counts


def _has_both(is_helped_U: Mask) -> bool:
    return bool(is_helped_U.any() and not is_helped_U.all())
