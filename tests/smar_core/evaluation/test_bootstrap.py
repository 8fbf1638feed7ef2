import itertools

import numpy as np
import pytest

from smar_core.config import EvaluateConfig
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.significance import holm
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


def test_weighted_resamples_are_means_of_their_own_traffic() -> None:
    """A query that counts three times is as three equal queries that are always drawn together."""
    values, weights = np.array([[0.0], [1.0], [0.5]]), np.array([3.0, 1.0, 2.0])
    found = resample_means(values, 200, seed=0, weight_Q=weights)[:, 0]
    counts = np.random.default_rng(0).multinomial(3, [1 / 3] * 3, size=200)
    naive = [sum(c * w * v for c, w, v in zip(row, weights, values[:, 0], strict=True)) / (row @ weights) for row in counts]
    assert found == pytest.approx(naive)
    assert np.allclose(
        resample_means(values, 200, seed=0, weight_Q=np.full(3, 7.0)), resample_means(values, 200, seed=0), rtol=1e-12
    )


def test_traffic_decides_a_weighted_mean() -> None:
    values = {"a": measures([1.0, 0.0], [0.5, 0.0]), "b": measures([0.0, 1.0], [0.0, 0.5])}
    scores, differences = summarise(values, {"overall": np.ones(2, bool)}, [("a", "b")], CONFIG, np.array([3.0, 1.0]))
    assert scores["a"]["overall"]["R@50"]["value"] == pytest.approx(0.75)
    assert scores["a"]["overall"]["F1@50"]["value"] == pytest.approx(2 * 0.375 * 0.75 / 1.125)
    assert differences["a - b"]["overall"]["R@50"]["value"] == pytest.approx(0.5)


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


def test_gain_is_given_in_percent_of_the_baseline_too() -> None:
    values = {"a": measures([0.6] * 8, [0.1] * 8), "b": measures([0.5] * 8, [0.0] * 8)}
    difference = summarise(values, {"overall": np.ones(8, bool)}, [("a", "b")], CONFIG)[1]["a - b"]["overall"]
    assert difference["R@50"]["relative_percent"]["value"] == pytest.approx(20.0)
    assert difference["P@50"]["relative_percent"] is None  # of a baseline of 0


@pytest.mark.parametrize("weights", [None, np.array([1.0, 4.0, 2.0, 1.0, 3.0, 1.0, 2.0])])
def test_p_value_of_f1_agrees_with_swapping_the_systems_query_by_query(weights: np.ndarray | None) -> None:
    rng = np.random.default_rng(6)
    values = {name: measures(list(rng.random(7)), list(rng.random(7) * better)) for name, better in (("a", 0.6), ("b", 0.2))}
    _, differences = summarise(values, {"overall": np.ones(7, bool)}, [("a", "b")], CONFIG, weights)

    def f1(recall: np.ndarray, precision: np.ndarray) -> float:
        r, p = np.average(recall, weights=weights), np.average(precision, weights=weights)
        return 2 * r * p / (r + p)

    def gain(swapped: np.ndarray) -> float:
        ab = {
            m: (np.where(swapped, values["b"][m], values["a"][m]), np.where(swapped, values["a"][m], values["b"][m]))
            for m in ("R@10", "P@10")
        }
        return f1(ab["R@10"][0], ab["P@10"][0]) - f1(ab["R@10"][1], ab["P@10"][1])

    gains = [gain(np.array(swapped)) for swapped in itertools.product((False, True), repeat=7)]
    expected = np.mean([abs(other) >= abs(gains[0]) - 1e-12 for other in gains])
    assert 0.01 < expected < 0.5
    assert differences["a - b"]["overall"]["F1@10"]["p"] == pytest.approx(expected, abs=0.015)


def test_several_comparisons_of_a_measure_are_one_family() -> None:
    rng = np.random.default_rng(8)
    values = {
        name: measures(list(rng.random(30) + gain), list(rng.random(30))) for name, gain in (("a", 0.2), ("b", 0.0), ("c", 0.1))
    }
    pairs = [("a", "b"), ("a", "c")]
    family = summarise(values, {"overall": np.ones(30, bool)}, pairs, CONFIG)[1]
    p_values = [family[f"{a} - {b}"]["overall"]["R@50"]["p"] for a, b in pairs]
    assert [family[f"{a} - {b}"]["overall"]["R@50"]["p_holm"] for a, b in pairs] == holm(p_values)
    alone = summarise(values, {"overall": np.ones(30, bool)}, pairs[:1], CONFIG)[1]["a - b"]["overall"]["R@50"]
    assert alone["p"] == alone["p_holm"] == p_values[0] < family["a - b"]["overall"]["R@50"]["p_holm"]


def test_equal_runs_give_equal_summaries() -> None:
    values = {"a": measures([0.1, 0.9, 0.4], [0.0, 0.1, 0.2])}
    slices = {"overall": np.ones(3, bool)}
    assert summarise(values, slices, (), CONFIG) == summarise(values, slices, (), CONFIG)
