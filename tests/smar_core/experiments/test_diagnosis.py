"""What stands beside the routed search: kept, averaged over seeds, and shown folded."""

import pytest

from smar_core.experiments.comparison import compare_trials
from smar_core.experiments.details import make_details
from smar_core.experiments.diagnosis import Diagnosis, Intervals, gather_diagnosis, mean_diagnosis
from smar_core.experiments.evidence import Evidence
from smar_core.experiments.findings import Experiment
from smar_core.experiments.markdown import as_markdown
from smar_core.experiments.page import render_page
from smar_core.experiments.table import make_tables
from smar_core.experiments.trials import Trial
from tests.smar_core.experiments.evidences import QUERIES, make_evidence, make_scores
from tests.smar_core.experiments.test_comparison import ablation

VALUES = (0.5, 0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def diagnosed() -> Experiment:
    """Two seeds with a diagnosis and one of an earlier version; a variant without pictures, and one of an earlier version."""
    text_alone = {"ann": make_scores(0.5)["ann"]}
    evidences = [
        make_evidence(Trial(variant="smar", seed=0), VALUES),
        make_evidence(Trial(variant="smar", seed=1), VALUES, diagnosis=gather_diagnosis(make_scores(0.5))),
        make_evidence(Trial(variant="smar", seed=2), VALUES, diagnosis=gather_diagnosis(make_scores(0.7))),
        make_evidence(Trial(variant="dpsr", seed=1), VALUES, diagnosis=gather_diagnosis(text_alone)),
        make_evidence(Trial(variant="smar-nc", seed=1), VALUES),
    ]
    return compare_trials("ablation", "smar", evidences, {QUERIES.digest: QUERIES})


def test_what_is_kept_is_r50_of_the_compared_slices() -> None:
    found = gather_diagnosis(make_scores(0.5))
    assert list(found.systems) == ["text_only", "multimodal"]
    assert set(found.systems["multimodal"]) == {"overall", "fashion", "not_fashion"}
    assert found.systems["text_only"]["fashion"].value == 0.31
    assert found.routing_gain["always_text"]["overall"].value == 0.05
    assert found.loss["blank"]["multimodal"]["not_fashion"].value == 0.05
    assert set(found.share_of_gain_lost["shuffled"]["model"]) == {"overall", "fashion"}  # None where the gain may be nothing
    assert list(found.ann) == ["text"]
    assert found.judgments == "judgments"
    assert found.intervals == Intervals(confidence=0.9, num_bootstrap_samples=400, seed=3)
    assert found.exclusive == {"overall": {"num_pairs": 8, "num_multimodal_only": 2, "num_text_only": 1}}


def test_model_without_any_of_it_has_an_empty_one() -> None:
    assert gather_diagnosis({"model": make_scores(0.5)["model"], "queries": {"split": "test"}}) == Diagnosis()


def test_file_of_an_earlier_version_is_read() -> None:
    written = make_evidence(Trial(variant="smar"), VALUES).model_dump(mode="json")
    del written["diagnosis"]
    assert Evidence.model_validate(written).diagnosis == Diagnosis()


def test_file_that_does_not_say_what_its_intervals_are_is_read() -> None:
    written = make_evidence(Trial(variant="smar"), VALUES, diagnosis=gather_diagnosis(make_scores(0.5))).model_dump(mode="json")
    del written["diagnosis"]["judgments"], written["diagnosis"]["intervals"]
    found = Evidence.model_validate(written).diagnosis
    assert (found.judgments, found.intervals) == (None, None) and found.judged


def test_mean_is_of_what_all_seeds_have() -> None:
    one, other = gather_diagnosis(make_scores(0.5)), gather_diagnosis(make_scores(0.7) | {"ann": {}})
    mean = mean_diagnosis([one, other])
    assert mean.systems["multimodal"]["overall"].value == pytest.approx(0.5)
    assert mean.systems["multimodal"]["overall"].high == pytest.approx(0.6)
    assert mean.ann == {}


def test_seeds_of_earlier_versions_do_not_count(diagnosed: Experiment) -> None:
    row = next(row for row in diagnosed.rows if row.setting == "smar")
    assert (row.seeds, row.diagnosed_seeds) == ((0, 1, 2), (1, 2))
    assert row.diagnosis.policies["routed"]["overall"].value == pytest.approx(0.6)


def test_tables_have_rows_of_what_a_setting_has(diagnosed: Experiment) -> None:
    systems, routings, reliance, exclusive, views, gate, ann = make_details(diagnosed)
    assert systems.rows == (
        ("smar", "1, 2", "text_only", "0.400", "0.410", "0.420"),
        ("smar", "1, 2", "multimodal", "0.500", "0.510", "0.520"),
    )
    assert routings.rows[0][2:4] == ("always_text", "0.600 (+5.0 [\N{MINUS SIGN}5.0, +15.0])")
    assert routings.rows[1][2:4] == ("routed", "0.600")
    assert [row[2:4] for row in reliance.rows] == [
        (kind, system) for kind in ("shuffled", "blank") for system in ("model", "multimodal")
    ]
    assert reliance.rows[0][4].endswith("], 80%") and not reliance.rows[0][6].endswith("%")
    none = "\N{EN DASH}"
    assert [row[2:] for row in exclusive.rows] == [("multimodal", "2 (25.0%)", none, none), ("text", "1 (12.5%)", none, none)]
    assert [row[2:] for row in views.rows] == [
        ("R@50 by traffic", "0.750", "0.760", "0.770"),
        ("nDCG@10, judged", "0.850", none, none),
        ("R@50 attainable", "0.780", none, none),
    ]
    assert gate.rows == (("smar", "1, 2", "0.600 [0.500, 0.700]"),)
    assert ann.rows == (("smar", "1, 2", "0.9876", *3 * "\N{EN DASH}"), ("dpsr", "1", "0.9876", *3 * "\N{EN DASH}"))


def compare_with(**changes: object) -> Experiment:
    """Compare two trials whose evaluations differ in what is named."""
    found = gather_diagnosis(make_scores(0.5))
    one = make_evidence(Trial(variant="smar"), VALUES, diagnosis=found)
    other = make_evidence(Trial(variant="dpsr"), VALUES, diagnosis=found.model_copy(update=changes))
    return compare_trials("ablation", "smar", [one, other], {QUERIES.digest: QUERIES})


def notes(experiment: Experiment) -> dict[str, str]:
    return {table.title.partition(":")[0].partition(",")[0]: table.note for table in make_details(experiment)}


def test_evaluations_alike_need_no_word() -> None:
    said = notes(compare_with())
    assert "the paired 90% bootstrap interval over queries." in said["Routings"]
    assert not any("compared between settings" in note for note in said.values())


@pytest.mark.parametrize("digest", ["others", None])
def test_different_judgments_are_said_where_their_figures_are(digest: str | None) -> None:
    """They stood side by side as if the judges had been the same."""
    experiment = compare_with(judgments=digest)
    assert experiment.judgments == ("judgments", digest)
    said = [name for name, note in notes(experiment).items() if "judged by different judgments" in note]
    assert said == ["Other views of the routed search"]
    without = compare_with(judgments=None, judged={}, attainable={})
    assert without.judgments == ("judgments",)


@pytest.mark.parametrize(
    ("intervals", "confidence"),
    [
        (Intervals(confidence=0.995, num_bootstrap_samples=400, seed=3), "90% or 99.5%"),
        (Intervals(confidence=0.9, num_bootstrap_samples=400, seed=4), "90%"),
        (None, "90% or 95%"),
    ],
)
def test_different_intervals_are_said_where_they_stand(intervals: Intervals | None, confidence: str) -> None:
    said = notes(compare_with(intervals=intervals))
    told = [name for name, note in said.items() if "evaluations differ in confidence" in note]
    assert told == ["Routings", "Reliance on pictures", "Gate"]
    assert all(f"{confidence} bootstrap interval over queries" in said[name] for name in told)


def test_bounds_of_several_seeds_are_called_what_they_are(diagnosed: Experiment) -> None:
    """They were called the bootstrap interval, and are means of two."""
    for name in ("Routings", "Reliance on pictures", "Gate"):
        assert "(of several seeds, the mean of the seeds' intervals)" in notes(diagnosed)[name]
        assert "mean of the seeds' intervals" not in notes(compare_with())[name]


def test_tables_without_a_row_are_left_out() -> None:
    assert make_details(ablation()) == []
    assert "<details>" not in render_page(ablation()) + as_markdown(ablation())


def test_page_and_markdown_fold_them(diagnosed: Experiment) -> None:
    page, text = render_page(diagnosed), as_markdown(diagnosed)
    for told in (page, text):
        assert told.count("<details>") == told.count("</details>") == len(make_details(diagnosed)) == 7
        assert told.index("<details>") > told.index(make_tables(diagnosed)[-1].note)
