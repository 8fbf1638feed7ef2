import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from smar_core.evaluation.measures import Qrels, add_f1, measure_run
from smar_core.retrieval.exact import NO_ITEM

NUM_ITEMS = 12


def run_of(*rankings: list[int], depth: int = 10) -> np.ndarray:
    run = np.full((len(rankings), depth), NO_ITEM, dtype=np.int32)
    for query, rows in enumerate(rankings):
        run[query, : len(rows)] = rows
    return run


def test_values_worked_out_by_hand() -> None:
    """Grades: item 4 has 3, item 7 has 2, item 1 has 1. The run puts 7 first, an unjudged item second, 4 third."""
    qrels = Qrels.build(1, [0, 0, 0], [4, 7, 1], [3, 2, 1])
    values = {name: value.item() for name, value in measure_run(run_of([7, 9, 4]), qrels, (2, 10)).items()}
    assert values["R@10"] == pytest.approx(2 / 3)
    assert values["P@10"] == pytest.approx(0.2)
    assert values["R@2"] == pytest.approx(1 / 3)
    assert values["P@2"] == pytest.approx(0.5)
    assert values["P@2_max"] == 1.0
    assert values["P@10_max"] == pytest.approx(0.3)
    assert values["RR@10"] == 1.0
    # DCG 2/log2(2) + 3/log2(4) = 3.5; ideal 3/log2(2) + 2/log2(3) + 1/log2(4) = 4.76186
    assert values["nDCG@10"] == pytest.approx(3.5 / 4.7618595071)


def test_reciprocal_rank_looks_at_the_first_hit_within_ten() -> None:
    qrels = Qrels.build(3, [0, 0, 1, 2], [4, 5, 4, 11], [1, 1, 1, 1])
    run = run_of([0, 1, 4, 5], [0], list(range(12)), depth=12)
    assert measure_run(run, qrels, (10,))["RR@10"].tolist() == [pytest.approx(1 / 3), 0.0, 0.0]


def test_f1_is_the_harmonic_mean_of_the_averages() -> None:
    """The figures of PAPER.md 14: R .690 and P .033 give .063."""
    means = add_f1({"P@50": np.array([0.033]), "R@50": np.array([0.690])}, (50,))
    assert means["F1@50"].item() == pytest.approx(0.063, abs=5e-4)


def test_perfect_run_scores_one() -> None:
    qrels = Qrels.build(2, [0, 0, 0, 1], [3, 1, 8, 5], [1, 3, 2, 1])
    values = measure_run(run_of([1, 8, 3], [5]), qrels, (3, 10))
    for name in ("R@3", "R@10", "nDCG@3", "nDCG@10", "RR@10"):
        assert values[name].tolist() == [1.0, 1.0]
    assert values["P@10"].tolist() == values["P@10_max"].tolist()


def test_query_that_the_run_lacks_scores_zero() -> None:
    qrels = Qrels.build(2, [0, 1], [0, 0], [1, 1])
    values = measure_run(run_of([0], []), qrels, (10,))
    for name in ("R@10", "P@10", "nDCG@10", "RR@10"):
        assert values[name][0] > 0 and values[name][1] == 0


def test_build_keeps_the_highest_grade_and_no_zeros() -> None:
    qrels = Qrels.build(2, [1, 0, 1, 0], [3, 2, 3, 5], [1, 2, 3, 0])
    assert list(zip(qrels.query_E.tolist(), qrels.row_E.tolist(), qrels.grade_E.tolist(), strict=True)) == [(0, 2, 2), (1, 3, 3)]


def test_select_renumbers_queries() -> None:
    qrels = Qrels.build(3, [0, 1, 2, 2], [4, 5, 6, 7], [1, 1, 2, 1]).select(np.array([0, 2]))
    assert qrels.num_relevant.tolist() == [1, 2]
    assert qrels.grades_of(run_of([4, 6], [6, 4]))[:, :2].tolist() == [[1, 0], [2, 0]]


def test_no_queries_have_no_values() -> None:
    values = measure_run(run_of(), Qrels.build(0, [], [], []), (10,))
    assert all(value.shape == (0,) for value in values.values())


rankings = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=10), min_size=1, max_size=4)
judgments = st.dictionaries(st.integers(0, NUM_ITEMS - 1), st.integers(0, 3), min_size=1, max_size=8).filter(
    lambda grades: any(grades.values())
)


@settings(max_examples=60, deadline=None)
@given(run=rankings, data=st.data())
def test_agrees_with_trec_eval_and_ir_measures(run: list[list[int]], data: st.DataObject) -> None:
    """The run's order stands: the oracles are given scores that fall with the rank, so that they see no tie."""
    graded = [data.draw(judgments) for _ in run]
    entries = [(query, row, grade) for query, of in enumerate(graded) for row, grade in of.items()]
    ours = measure_run(run_of(*run), Qrels.build(len(run), *zip(*entries, strict=True)), (5, 10))

    names = [f"q{query}" for query in range(len(run))]
    qrels = {name: {f"i{row}": grade for row, grade in of.items()} for name, of in zip(names, graded, strict=True)}
    scored = {name: {f"i{row}": -float(rank) for rank, row in enumerate(rows)} for name, rows in zip(names, run, strict=True)}
    trec = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.5,10", "recall.5,10", "P.5,10"}).evaluate(scored)
    for query, name in enumerate(names):
        for cutoff in (5, 10):
            for our_name, their_name in (("R", "recall"), ("P", "P"), ("nDCG", "ndcg_cut")):
                theirs = trec.get(name, {}).get(f"{their_name}_{cutoff}", 0.0)
                assert ours[f"{our_name}@{cutoff}"][query] == pytest.approx(theirs, abs=1e-9)
    means = ir_measures.calc_aggregate([ir_measures.RR @ 10, ir_measures.nDCG @ 10, ir_measures.R @ 10], qrels, scored)
    for measure, mean in means.items():
        assert ours[str(measure)].mean() == pytest.approx(mean, abs=1e-9)
