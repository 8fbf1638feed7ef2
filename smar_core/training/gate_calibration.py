"""Calibration and threshold of the gate, from the validation days.

Calibration is Platt's: a logistic regression on the header's logit, fitted to what P is judged by (``Labelled.target``). Under
``category`` that is the share of clicks on visual items, not only whether it is above a half. Under ``utility`` an example
counts as much as both rankings differ on it and not at all where they are equal, so that P becomes the share of the
difference that speaks for the picture: P >= 0.5 exactly where S_m is expected to gain. That is why a threshold other than 0.5
must earn its place (``recall_threshold``).
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from smar_core.training.gate_labels import Labelled

Values = NDArray[np.float64]

THRESHOLDS: Values = np.round(np.linspace(0.0, 1.0, 21), 2)
"""Thresholds that are tried where recall decides: 0 is always S_m, 1 nearly always S_t."""


def fit_calibration(logit_G: Values, found: Labelled) -> tuple[float, float]:
    """Return scale and shift of the calibrated logit; 1 and 0 when one answer is always right.

    The logits are standardised for the fit, so that its regularisation does not depend on how far the header spreads them.
    Under ``category`` they are left as they are: a header of hard labels spreads them well enough.

    Args:
        logit_G: The header's logits.
        found: Labels of the same queries or items of the validation days.
    """
    if not found.has_both_classes:
        return 1.0, 0.0
    centre, spread = 0.0, 1.0
    if found.supervision == "utility":
        centre, spread = float(logit_G.mean()), max(float(logit_G.std()), 1e-6)
    logit_E, is_visual_E = np.tile((logit_G - centre) / spread, 2), np.repeat([True, False], len(logit_G))
    weight_E = np.r_[found.weight * found.target, found.weight * (1 - found.target)]
    counts = weight_E > 0
    fitted = LogisticRegression(C=1.0).fit(logit_E[counts, None], is_visual_E[counts], sample_weight=weight_E[counts])
    scale = float(fitted.coef_[0, 0]) / spread
    return scale, float(fitted.intercept_[0]) - scale * centre


def accuracy_threshold(probability_G: Values, is_positive_G: NDArray[np.bool_]) -> float:
    """Return the threshold of highest accuracy among the middles between answers; of equal ones the nearest to 0.5.

    >>> accuracy_threshold(np.array([0.1, 0.3, 0.8]), np.array([False, False, True]))
    0.5
    """
    values = np.unique(probability_G)
    candidates = np.r_[0.5, (values[1:] + values[:-1]) / 2]
    accuracy = np.array([((probability_G >= candidate) == is_positive_G).mean() for candidate in candidates])
    best = candidates[accuracy == accuracy.max()]
    return float(best[np.abs(best - 0.5).argmin()])


def recall_threshold(recall_TQ: Values) -> float:
    """Return the one of ``THRESHOLDS`` nearest to 0.5 that is as good as the best one, but for noise.

    Noise is two standard errors of the paired difference to the best threshold's recall.

    Args:
        recall_TQ: R@50 of each query when it is routed by each threshold.

    >>> recall_threshold(np.linspace(0.0, 1.0, 21)[:, None] ** [[0.0, 0.0]])
    0.5
    >>> recall_threshold(np.where(THRESHOLDS <= 0.2, 1.0, 0.0)[:, None] * [[1.0, 1.0]])
    0.2
    """
    best_Q = recall_TQ[recall_TQ.mean(axis=1).argmax()]
    loss_TQ = best_Q - recall_TQ
    error_T = loss_TQ.std(axis=1) / np.sqrt(recall_TQ.shape[1])
    good = THRESHOLDS[loss_TQ.mean(axis=1) <= 2 * error_T]
    return float(good[np.abs(good - 0.5).argmin()])
