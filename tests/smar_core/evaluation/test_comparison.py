"""Run files against qrels files; the oracle reads the same files."""

from pathlib import Path

import ir_measures
import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smar_core.config import EvaluateConfig
from smar_core.errors import UserError
from smar_core.evaluation.comparison import compare_runs
from smar_core.evaluation.significance import paired_comparison

CONFIG = EvaluateConfig(num_bootstrap_samples=20)
NAMES = ("R@10", "P@10", "nDCG@10", "RR@10", "R@50", "nDCG@50")
QRELS = "q1 0 a 2\nq1 0 b 1\nq2 0 c 1\nq3 0 d 0\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


items = st.sampled_from(["i0", "i1", "i2", "A", "%41", "%2541", "x%FF", "x%FE"])
scores = st.sampled_from([0, 1, 1 + 1e-9, 1 - 1e-9, 2.5, 1e39])  # those around 1 are one number to trec_eval
scored = st.lists(st.tuples(items, scores), unique_by=lambda pair: pair[0], max_size=8)
graded = st.dictionaries(items, st.integers(0, 3), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_agree_with_ir_measures(tmp_path: Path, data: st.DataObject) -> None:
    """Ties, ids that look escaped, unjudged items, queries without an answer, a judgment or anything relevant: as trec_eval."""
    qrels = {"q0": {"i0": 1}} | {f"q{n}": data.draw(graded) for n in range(1, 4)}
    run = {"q0": [("i1", 1)]} | {f"q{n}": data.draw(scored) for n in range(1, 6)}
    qrels_path = write(tmp_path / "qrels", "".join(f"{q} 0 {i} {g}\n" for q, of in qrels.items() for i, g in of.items()))
    lines = [f"{q} Q0 {i} {rank} {score} t\n" for q, of in run.items() for rank, (i, score) in enumerate(of, 1)]
    run_path = write(tmp_path / "run", "".join(data.draw(st.permutations(lines))))

    found = compare_runs(run_path, [], qrels_path, CONFIG, "trec_eval").scores
    relevant = {query for query, of in qrels.items() if any(of.values())}
    judged = [judgment for judgment in ir_measures.read_trec_qrels(str(qrels_path)) if judgment.query_id in relevant]
    # No run is longer than 8, so RR and RR@10 are the same; ir_measures would ask another program than trec_eval for the latter.
    measures = {name: ir_measures.RR if name == "RR@10" else ir_measures.parse_measure(name) for name in NAMES}
    means = ir_measures.calc_aggregate(measures.values(), judged, list(ir_measures.read_trec_run(str(run_path))))
    for name, measure in measures.items():
        assert found["run"]["overall"][name]["value"] == pytest.approx(means[measure], abs=1e-9)
    assert found["queries"]["num_excluded"] == sum(bool(of) for of in qrels.values()) - len(relevant)


def test_ties_go_by_rank_or_by_item_id(tmp_path: Path) -> None:
    """By rank b stands before a; trec_eval takes the ids downwards and so b as well, but z, of equal score, before both."""
    qrels = write(tmp_path / "qrels", "q 0 a 1\n")
    run = write(tmp_path / "run", "q Q0 z 3 0.5 t\nq Q0 a 2 0.5 t\nq Q0 b 1 0.5 t\n")
    by_rank = compare_runs(run, [], qrels, CONFIG, "rank").scores["run"]["overall"]["RR@10"]["value"]
    by_item = compare_runs(run, [], qrels, CONFIG, "trec_eval").scores["run"]["overall"]["RR@10"]["value"]
    assert (by_rank, by_item) == (1 / 2, 1 / 3)


def test_scores_that_are_equal_in_float32_are_a_tie_to_trec_eval(tmp_path: Path) -> None:
    """It was told from others by decimals that trec_eval does not keep, and came first instead of second."""
    qrels = write(tmp_path / "qrels", "q 0 a 1\n")
    run = write(tmp_path / "run", "q Q0 a 1 0.7000000001 t\nq Q0 b 2 0.7 t\n")
    assert compare_runs(run, [], qrels, CONFIG, "trec_eval").scores["run"]["overall"]["RR@10"]["value"] == 1 / 2
    assert compare_runs(run, [], qrels, CONFIG, "rank").scores["run"]["overall"]["RR@10"]["value"] == 1.0


def test_ids_are_compared_as_they_stand(tmp_path: Path) -> None:
    """``x%FF`` and ``x%FE`` were read as one item, and ``%41`` as ``A``."""
    qrels = write(tmp_path / "qrels", "q 0 x%FE 1\nq 0 A 1\n")
    run = write(tmp_path / "run", "q Q0 x%FF 1 0.9 t\nq Q0 %41 2 0.8 t\nq Q0 x%FE 3 0.7 t\n")
    found = compare_runs(run, [], qrels, CONFIG, "rank").scores["run"]["overall"]
    assert (found["RR@10"]["value"], found["R@10"]["value"]) == (1 / 3, 1 / 2)


def test_trec_eval_reads_no_rank(tmp_path: Path) -> None:
    qrels, run = write(tmp_path / "qrels", "q 0 a 1\n"), write(tmp_path / "run", "q Q0 a 1.0 0.5 t\n")
    assert compare_runs(run, [], qrels, CONFIG, "trec_eval").scores["run"]["overall"]["RR@10"]["value"] == 1.0
    with pytest.raises(UserError, match="line 1: rank or score is no number"):
        compare_runs(run, [], qrels, CONFIG, "rank")


def test_scores_go_before_ranks(tmp_path: Path) -> None:
    qrels = write(tmp_path / "qrels", "q 0 a 1\n")
    run = write(tmp_path / "run", "q Q0 a 2 0.9 t\nq Q0 b 1 0.5 t\n")
    assert compare_runs(run, [], qrels, CONFIG, "rank").scores["run"]["overall"]["RR@10"]["value"] == 1.0


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    """q2 is not in the run and scores 0; q3 has nothing relevant; q9 is not judged."""
    run = write(tmp_path / "run", "q1 Q0 a 1 0.9 t\nq1 Q0 x 2 0.8 t\nq9 Q0 a 1 0.9 t\n")
    found = compare_runs(run, [], write(tmp_path / "qrels", QRELS), CONFIG, "rank").scores
    counts = {"num_missing_queries": 1, "num_unknown_queries": 1, "num_ranked_items": 2}
    assert found["queries"] == {"num_test": 3, "num_excluded": 1, "runs": {"run": counts}}
    assert found["run"]["overall"]["num_queries"] == 2
    assert found["run"]["overall"]["R@10"]["value"] == pytest.approx((1 / 2 + 0) / 2)


def test_baselines_are_compared_as_one_family(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    queries = [f"q{n}" for n in range(12)]
    qrels = write(tmp_path / "qrels", "".join(f"{q} 0 i{n % 5} 1\n" for n, q in enumerate(queries)))
    paths = [
        write(
            tmp_path / name,
            "".join(f"{q} Q0 i{i} {r} {-r} t\n" for q in queries for r, i in enumerate(rng.permutation(15)[:size], 1)),
        )
        for name, size in (("run", 15), ("weak", 4), ("weaker", 2))
    ]
    found = compare_runs(paths[0], paths[1:], qrels, CONFIG, "rank")
    cells = [found.scores["differences"][f"run - {name}"]["overall"]["R@10"] for name in ("weak", "weaker")]
    assert max(cell["p_holm"] for cell in cells) <= 2 * max(cell["p"] for cell in cells)
    assert min(cell["p_holm"] for cell in cells) == pytest.approx(min(1.0, 2 * min(cell["p"] for cell in cells)))

    table = found.per_query
    chosen = table.filter(pc.equal(table["measure"], "R@10"))
    value, weak = (chosen.filter(pc.equal(chosen["system"], name))["value"].to_numpy() for name in ("run", "weak"))
    alone = paired_comparison(value, weak, num_samples=20, confidence=0.95, seed=0)
    assert cells[0]["value"] == pytest.approx(alone.difference.value) and cells[0]["p"] == alone.p_value


@pytest.mark.parametrize(
    ("run", "qrels", "problem"),
    [
        ("q1 Q0 a 1 0.9 t\nq1 Q0 a 2 0.8 t\n", QRELS, "ranks item a twice for query q1"),
        ("q1 Q0 a 1 nan t\n", QRELS, "score nan for query q1, item a"),
        ("q8 Q0 a 1 0.9 t\n", QRELS, "no query id of the qrels"),
        ("", QRELS, "no query id of the qrels"),
        ("q1 Q0 a 1\n", QRELS, "line 1: 4 fields instead of 6"),
        ("q1 Q0 a 1 0.9 t\n", "q1 0 a 0\n", "no item with a grade above 0"),
        ("q1 Q0 a 1 0.9 t\n", "", "no item with a grade above 0"),
    ],
)
def test_files_that_do_not_serve(tmp_path: Path, run: str, qrels: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        compare_runs(write(tmp_path / "run", run), [], write(tmp_path / "qrels", qrels), CONFIG, "rank")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    qrels = write(tmp_path / "qrels", QRELS)
    with pytest.raises(UserError, match=r"missing cannot be read \(No such file"):
        compare_runs(tmp_path / "missing", [], qrels, CONFIG, "rank")
    (tmp_path / "run.gz").write_bytes(b"\x1f\x8b\x08\xff")
    with pytest.raises(UserError, match="no UTF-8 text"):
        compare_runs(tmp_path / "run.gz", [], qrels, CONFIG, "rank")
    with pytest.raises(UserError, match="given twice"):
        compare_runs(qrels, [qrels], qrels, CONFIG, "rank")
