"""What trials say together, against values worked out by hand."""

import numpy as np
import pytest

from smar_core.errors import UserError
from smar_core.evaluation.significance import holm, paired_comparison
from smar_core.experiments.comparison import CONFIDENCE, NUM_SAMPLES, SEED, compare_trials
from smar_core.experiments.evidence import Evidence, Queries
from smar_core.experiments.findings import Experiment
from smar_core.experiments.trials import Trial
from tests.smar_core.experiments.evidences import QUERIES, SMALL, make_evidence

ABLATION = {
    ("smar", 0): (1.0, 0.5, 1.0, 0.0),
    ("smar", 1): (0.5, 0.5, 1.0, 0.0),
    ("dpsr", 0): (0.0, 0.5, 1.0, 0.0),
    ("dpsr", 1): (0.0, 0.0, 1.0, 0.5),
    ("smar-nc", 1): (0.5, 0.5, 0.0, 0.0),
}


def ablation() -> Experiment:
    evidences = [make_evidence(Trial(variant=variant, seed=seed), values) for (variant, seed), values in ABLATION.items()]
    return compare_trials("ablation", "smar", evidences[::-1], {QUERIES.digest: QUERIES})


def sweep(values: dict[str, tuple[float, ...]]) -> Experiment:
    evidences = [
        make_evidence(Trial(variant="smar", overrides=(f"loss.alpha={value}",) if value else ()), v, settings=SMALL)
        for value, v in values.items()
    ]
    return compare_trials("sweep", "smar", evidences, {QUERIES.digest: QUERIES})


def test_rows_are_means_over_seeds_the_baseline_first() -> None:
    rows = {row.setting: row for row in ablation().rows}
    assert list(rows) == ["smar", "smar-nc", "dpsr"]
    assert rows["smar"].seeds == (0, 1)
    assert rows["smar"].measures["overall"]["R@50"].value == pytest.approx((2.5 + 2.0) / 8)
    assert rows["smar"].measures["fashion"]["R@50"].value == pytest.approx((1.5 + 1.0) / 4)
    assert rows["smar"].measures["fashion"]["P@50"].value == pytest.approx((1.5 + 1.0) / 4)
    assert rows["smar"].deviation["fashion"] == pytest.approx(np.std([0.75, 0.5], ddof=1))
    assert rows["smar-nc"].deviation == {}
    assert rows["smar"].seconds == 90.0


def test_difference_is_paired_over_the_seeds_in_common() -> None:
    """smar-nc has seed 1 alone: its difference must not see smar's seed 0."""
    found = {(d.setting, d.slice): d for d in ablation().differences}
    assert found["smar-nc", "overall"].seeds == (1,)
    assert found["smar-nc", "overall"].difference.value == pytest.approx(-0.25)
    assert found["smar-nc", "fashion"].difference.value == 0.0
    assert found["dpsr", "overall"].seeds == (0, 1)
    assert found["dpsr", "not_fashion"].difference.value == pytest.approx(0.125)
    assert found["dpsr", "fashion"].num_queries == 2


def test_intervals_and_tests_are_those_of_the_significance_module() -> None:
    found = {(d.setting, d.slice): d for d in ablation().differences}
    means = {v: np.mean([x for (name, _), x in ABLATION.items() if name == v], axis=0) for v in ("smar", "dpsr")}
    expected = paired_comparison(means["dpsr"], means["smar"], num_samples=NUM_SAMPLES, confidence=CONFIDENCE, seed=SEED)
    one = found["dpsr", "overall"]
    assert (one.difference.low, one.difference.high) == pytest.approx((expected.difference.low, expected.difference.high))
    assert one.p_value == expected.p_value
    family = [found[setting, "overall"] for setting in ("smar-nc", "dpsr")]
    assert [d.holm_p_value for d in family] == holm([d.p_value for d in family])


def test_headline_is_the_baselines_gain_over_dpsr() -> None:
    experiment = ablation()
    assert {d.slice: d.difference.value for d in experiment.headline}["overall"] == pytest.approx(0.5625 - 0.375)
    assert all(d.baseline == "dpsr" and d.setting == "smar" for d in experiment.headline)
    assert all(d.holm_p_value == d.p_value for d in experiment.headline)


def test_axis_holds_the_presets_own_value_in_its_place() -> None:
    (axis,) = sweep({"": (0.5, 0.5, 0.5, 0.5), "2": (1.0, 0.5, 0.5, 0.5), "0.5": (0.0, 0.5, 0.5, 1.0)}).axes
    assert (axis.key, axis.values, axis.own) == ("loss.alpha", ("0.5", "1", "2"), "1")
    assert [cell.value for cell in axis.points["overall"]] == [0.5, 0.5, 0.625]


def test_each_slice_names_its_own_best_value_and_a_tie_leaves_the_preset() -> None:
    (axis,) = sweep({"": (0.5, 0.5, 0.5, 0.5), "2": (1.0, 0.5, 0.5, 0.0), "0.5": (0.5, 0.5, 0.5, 0.5)}).axes
    best = {choice.slice: choice for choice in axis.choices}
    assert {name: choice.value for name, choice in best.items()} == {"overall": "1", "fashion": "2", "not_fashion": "1"}
    assert best["overall"].against_own is None
    against = best["fashion"].against_own
    assert against is not None and against.difference.value == 0.25


def test_a_value_is_chosen_by_the_seeds_that_it_shares_with_the_presets_own() -> None:
    """Seed 0 was lucky for all: the preset's second seed took its mean below a value that lost to it."""
    own = [make_evidence(Trial(variant="smar", seed=seed), values) for seed, values in enumerate(((1.0,) * 4, (0.0,) * 4))]
    others = [make_evidence(Trial(variant="smar", overrides=(f"loss.alpha={v}",)), (0.75,) * 4) for v in (2, 3)]
    (axis,) = compare_trials("sweep", "smar", [*own, *others], {QUERIES.digest: QUERIES}).axes
    assert [cell.value for cell in axis.points["overall"]] == [0.5, 0.75, 0.75]
    assert {choice.value for choice in axis.choices} == {"1"}


def test_slice_without_a_query_is_left_out() -> None:
    queries = Queries(query_ids=QUERIES.query_ids, slices={"not_fashion": (0, 1, 2, 3)})
    evidence = make_evidence(Trial(variant="smar"), (0.0, 1.0, 0.0, 1.0), queries=queries.digest)
    assert compare_trials("ablation", "smar", [evidence], {queries.digest: queries}).num_queries == {
        "overall": 4,
        "not_fashion": 4,
    }


OTHER_FASHION = QUERIES.model_copy(update={"slices": {**QUERIES.slices, "fashion": (0,)}})
OTHER_QUERIES = QUERIES.model_copy(update={"query_ids": ("a", "b", "c", "e")})


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"queries": OTHER_QUERIES.digest}, "smar-0 and dpsr-0 are of different queries"),
        ({"queries": OTHER_FASHION.digest}, "queries"),
        ({"preset": "study"}, "preset"),
        ({"split": "validation"}, "days"),
    ],
)
def test_trials_that_cannot_be_compared_are_refused(changes: dict[str, str], names: str) -> None:
    one: Evidence = make_evidence(Trial(variant="smar"), (0.0,) * 4)
    other = make_evidence(Trial(variant="dpsr"), (0.0,) * 4).model_copy(update=changes)
    with pytest.raises(UserError, match=names):
        compare_trials("ablation", "smar", [one, other], {q.digest: q for q in (QUERIES, OTHER_QUERIES, OTHER_FASHION)})


def test_slices_that_nothing_is_compared_on_may_differ() -> None:
    """``evaluate.min_slice_queries`` decides which categories have a slice, and calls for no new training."""
    more = QUERIES.model_copy(update={"slices": {**QUERIES.slices, "category:Bags": (0, 3)}})
    one = make_evidence(Trial(variant="smar"), (0.5, 0.0, 1.0, 0.0))
    other = make_evidence(Trial(variant="dpsr"), (0.0,) * 4).model_copy(update={"queries": more.digest})
    experiment = compare_trials("ablation", "smar", [one, other], {q.digest: q for q in (QUERIES, more)})
    assert {d.slice: d.difference.value for d in experiment.differences} == {
        "overall": -0.375,
        "fashion": -0.25,
        "not_fashion": -0.5,
    }


def test_settings_beside_the_axes_of_a_sweep_are_compared_with_the_baseline() -> None:
    """One option alone is no axis either: it would be a family of its own, and its p uncorrected."""
    values = (("loss.alpha=2",), ("loss.alpha=0.5",), ("loss.beta=2",), ("loss.alpha=2", "loss.beta=2"))
    settings = [(), *values]
    trials = [Trial(variant="smar", overrides=overrides) for overrides in settings] + [Trial(variant="smar-nc")]
    evidences = [make_evidence(trial, (0.5, 0.5, 0.0, number / 8), settings=SMALL) for number, trial in enumerate(trials)]
    experiment = compare_trials("sweep", "smar", evidences, {QUERIES.digest: QUERIES})
    assert [(axis.key, axis.values) for axis in experiment.axes] == [("loss.alpha", ("0.5", "1", "2"))]
    found = {d.setting: d for d in experiment.differences if d.slice == "overall"}
    assert {setting: d.difference.value for setting, d in found.items()} == {
        "smar,loss.beta=2": 0.09375,
        "smar,loss.alpha=2,loss.beta=2": 0.125,
        "smar-nc": 0.15625,
    }
    assert all(d.holm_p_value == min(1.0, 3 * min(e.p_value for e in found.values())) for d in found.values())


def test_axis_of_a_list_names_the_presets_own_as_it_would_be_written() -> None:
    overrides = [(), ("loss.matryoshka_dims=[16]",), ("loss.matryoshka_dims=[8]",)]
    trials = [Trial(variant="smar", overrides=of) for of in overrides]
    evidences = [make_evidence(trial, (0.5,) * 4, settings=SMALL) for trial in trials]
    (axis,) = compare_trials("sweep", "smar", evidences, {QUERIES.digest: QUERIES}).axes
    assert (axis.own, axis.values) == ("[]", ("[16]", "[8]", "[]"))


def test_baseline_must_be_there() -> None:
    with pytest.raises(UserError, match="baseline"):
        compare_trials("ablation", "smar", [make_evidence(Trial(variant="dpsr"), (0.0,) * 4)], {QUERIES.digest: QUERIES})


def test_equal_trials_give_an_equal_experiment() -> None:
    assert ablation() == ablation()
