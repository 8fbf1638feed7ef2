"""An ensemble finds what its members' noise hides, and bundles of other catalogues are refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ensemble
from benchmarks.ensemble import compare, measure_members
from smar_core.errors import UserError
from smar_core.evaluation.measures import Qrels
from smar_core.evaluation.testset import Split, load_click_test

N, D = 600, 24


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


class OneItemEach:
    """A test in which query q looks for item q."""

    qrels = Qrels.build(N, np.arange(N), np.arange(N), np.ones(N))


def member(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth with noise of its own."""
    truth_ND = np.random.default_rng(99).normal(size=(N, D))
    noise = np.random.default_rng(seed).normal(size=(2, N, D))
    return unit(truth_ND + 0.9 * noise[0]), unit(truth_ND + 0.9 * noise[1])


def test_noise_that_members_do_not_share_is_averaged_out() -> None:
    members = [member(seed) for seed in range(3)]
    value_MQ, together_Q = measure_members(members, OneItemEach())  # type: ignore[arg-type]  # has all that is read
    assert value_MQ.shape == (3, N)
    assert together_Q.mean() > value_MQ.mean() + 0.05


def test_a_member_beside_itself_is_itself() -> None:
    value_MQ, together_Q = measure_members([member(0)] * 2, OneItemEach())  # type: ignore[arg-type]  # has all that is read
    assert np.array_equal(value_MQ[0], together_Q)


def test_two_sides_are_compared_query_by_query(stored_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "CUTOFF", 5)
    found = compare([stored_bundle] * 2, [stored_bundle], "test")
    assert set(found) == {"overall", "fashion", "not_fashion"}
    assert found["overall"]["num_queries"] == found["fashion"]["num_queries"] + found["not_fashion"]["num_queries"]
    for of_slice in found.values():
        assert of_slice["members"] == of_slice["ensemble"] == of_slice["against_ensemble"]
        assert of_slice["ensemble_less_against"] == of_slice["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert 0 < found["overall"]["members"]["value"] < 1


def test_bundles_of_other_clicks_are_refused(stored_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days: Iterator[Split] = iter(["test", "validation"])
    monkeypatch.setattr(ensemble, "load_click_test", lambda clicks, item_ids, _: load_click_test(clicks, item_ids, next(days)))
    with pytest.raises(UserError, match="of other items or clicks"):
        compare([stored_bundle] * 2, [], "test")
