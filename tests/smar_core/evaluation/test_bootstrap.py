import numpy as np
import pytest

from smar_core.config import EvaluateConfig
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.summary import summarise


def measures(recall: list[float], precision: list[float]) -> dict[str, np.ndarray]:
    return {f"{name}@{k}": np.array(v) for k in (10, 50) for name, v in (("R", recall), ("P", precision))}


CONFIG = EvaluateConfig(cutoffs=(10, 50), num_bootstrap_samples=400)


def test_interval_is_close_to_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    interval = percentile_interval(values.mean(), resample_means(values[:, None], 4000, seed=0)[:, 0], 0.95)
    half_width = 1.96 * values.std() / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.02)


def test_interval_covers_the_true_mean_in_about_its_share_of_samples() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        values = rng.random(60)
        interval = percentile_interval(values.mean(), resample_means(values[:, None], 300, seed=trial)[:, 0], 0.9)
        covered += interval.low <= 0.5 <= interval.high
    assert 165 <= covered <= 195


def test_resamples_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).random((50, 2))
    first = resample_means(values, 100, seed=5)
    assert np.array_equal(first, resample_means(values, 100, seed=5))
    assert not np.array_equal(first, resample_means(values, 100, seed=6))
    monkeypatch.setattr("smar_core.evaluation.bootstrap.MAX_COUNTS_IN_MEMORY", 50 * 7)
    assert np.allclose(first, resample_means(values, 100, seed=5))


def test_summary_holds_means_f1_and_intervals() -> None:
    values = {"model": measures([1.0, 0.0, 0.5, 0.5], [0.1, 0.0, 0.2, 0.1])}
    scores, _ = summarise(values, {"overall": np.ones(4, bool), "none": np.zeros(4, bool)}, (), CONFIG)
    overall = scores["model"]["overall"]
    assert set(scores["model"]) == {"overall"}
    assert overall["num_queries"] == 4
    assert overall["R@50"]["value"] == 0.5
    assert overall["F1@50"]["value"] == pytest.approx(2 * 0.5 * 0.1 / 0.6)
    for measure in ("R@50", "P@50", "F1@50"):
        assert overall[measure]["low"] < overall[measure]["value"] < overall[measure]["high"]


def test_differences_are_paired() -> None:
    """One system is always .1 better: each mean is uncertain, their difference is not."""
    recall = np.random.default_rng(4).random(40) * 0.9
    values = {"a": measures(list(recall + 0.1), list(recall)), "b": measures(list(recall), list(recall))}
    scores, differences = summarise(values, {"overall": np.ones(40, bool)}, [("a", "b")], CONFIG)
    difference = differences["a - b"]["overall"]["R@50"]
    assert [difference[part] for part in ("value", "low", "high")] == pytest.approx([0.1, 0.1, 0.1])
    assert scores["a"]["overall"]["R@50"]["high"] - scores["a"]["overall"]["R@50"]["low"] > 0.1


def test_equal_runs_give_equal_summaries() -> None:
    values = {"a": measures([0.1, 0.9, 0.4], [0.0, 0.1, 0.2])}
    slices = {"overall": np.ones(3, bool)}
    assert summarise(values, slices, (), CONFIG) == summarise(values, slices, (), CONFIG)
