"""Files of trials: small, readable, whole, and never taken for another experiment's."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smar_core.artifact import create_artifact, open_artifact
from smar_core.config import load_config
from smar_core.errors import UserError
from smar_core.experiments.evidence import (
    describe_hardware,
    describe_versions,
    evidence_file,
    gather_queries,
    gather_values,
    queries_file,
    read_evidence,
    read_queries,
    split_recorded,
    write_evidence,
)
from smar_core.experiments.plans import plan_ablation, plan_sweep
from smar_core.experiments.trials import Plan, Trial
from smar_core.schemas import PER_QUERY, SLICES
from tests.smar_core.experiments.evidences import QUERIES, make_evidence

SMAR, DPSR = Trial(variant="smar"), Trial(variant="dpsr")
VALUES = (0.5, 1.0, 0.0, 0.25)


@pytest.fixture
def plan() -> Plan:
    return plan_ablation("demo", [], ["smar", "dpsr"], [0])


def test_write_then_read_is_the_same(tmp_path: Path) -> None:
    evidence = make_evidence(SMAR, VALUES)
    assert write_evidence(tmp_path / "new", evidence, QUERIES) == tmp_path / "new" / "smar-0.json"
    assert read_evidence(tmp_path / "new", SMAR) == evidence
    assert read_queries(tmp_path / "new", evidence.queries) == QUERIES


def test_trials_share_the_file_of_queries_and_a_line_holds_a_key(tmp_path: Path) -> None:
    for trial in (SMAR, DPSR):
        write_evidence(tmp_path, make_evidence(trial, VALUES), QUERIES)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "dpsr-0.json",
        queries_file(tmp_path, QUERIES.digest).name,
        "smar-0.json",
    ]
    text = evidence_file(tmp_path, SMAR).read_text()
    assert len(text.splitlines()) == 2 + len(json.loads(text))


def test_name_says_what_was_moved(tmp_path: Path) -> None:
    trial = Trial(variant="smar", overrides=("loss.alpha=0.5",), seed=2)
    assert evidence_file(tmp_path, trial).name == "smar,loss.alpha=0.5-2.json"


def test_altered_queries_are_refused(tmp_path: Path) -> None:
    write_evidence(tmp_path, make_evidence(SMAR, VALUES), QUERIES)
    path = queries_file(tmp_path, QUERIES.digest)
    path.write_text(path.read_text().replace('"fashion": [0,1]', '"fashion": [0]'))
    with pytest.raises(UserError, match="altered"):
        read_queries(tmp_path, QUERIES.digest)


def test_file_that_is_no_evidence_is_refused(tmp_path: Path, plan: Plan) -> None:
    evidence_file(tmp_path, SMAR).write_text('{"preset": "demo"}')
    with pytest.raises(UserError, match=r"smar-0\.json"):
        split_recorded(plan, tmp_path, "data")


def test_recorded_trials_are_not_run_again(tmp_path: Path, plan: Plan) -> None:
    assert split_recorded(plan, tmp_path, "data") == ([], [SMAR, DPSR], [])
    write_evidence(tmp_path, make_evidence(DPSR, VALUES), QUERIES)
    assert split_recorded(plan, tmp_path, "data") == ([DPSR], [SMAR], [])


def test_trial_of_other_data_or_settings_is_run_again_and_it_is_said(tmp_path: Path, plan: Plan) -> None:
    write_evidence(tmp_path, make_evidence(SMAR, VALUES), QUERIES)
    written = make_evidence(DPSR, VALUES)
    older = written.model_copy(update={"config": written.config | {"loss": {**written.config["loss"], "margin": 7.0}}})
    write_evidence(tmp_path, older, QUERIES)
    recorded, missing, told = split_recorded(plan, tmp_path, "other data")
    assert (recorded, missing) == ([], [SMAR, DPSR])
    assert told == [
        "smar-0: recorded with other data; it is run again and replaced",
        "dpsr-0: recorded with other loss.margin, data; it is run again and replaced",
    ]


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (plan_ablation("study", [], ["smar"], [0]), "preset demo"),
        (plan_ablation("demo", ["pretrain.num_steps=3"], ["smar"], [0]), "settings none"),
        (plan_sweep("demo", [], ["loss.alpha=2"], [0]), "days test"),
    ],
)
def test_file_of_another_experiment_is_never_replaced(other: Plan, names: str, tmp_path: Path) -> None:
    write_evidence(tmp_path, make_evidence(SMAR, VALUES), QUERIES)
    with pytest.raises(UserError, match=names):
        split_recorded(other, tmp_path, "data")


def test_file_of_another_trial_of_the_same_name_is_never_replaced(tmp_path: Path) -> None:
    """Names keep only what is safe in a file's, so two trials of different plans may share one."""
    one, other = (f"gate.visual_categories=[Shoes{mark}Bags]" for mark in "_ ")
    write_evidence(tmp_path, make_evidence(Trial(variant="smar", overrides=(one,)), VALUES), QUERIES)
    plan = plan_ablation("demo", [], ["smar"], [0]).model_copy(update={"trials": (Trial(variant="smar", overrides=(other,)),)})
    with pytest.raises(UserError, match="Shoes_Bags"):
        split_recorded(plan, tmp_path, "data")


def test_settings_that_change_no_figure_are_no_other_experiment(tmp_path: Path) -> None:
    write_evidence(tmp_path, make_evidence(SMAR, VALUES), QUERIES)
    plan = plan_ablation("demo", ["runtime.num_workers=1"], ["smar"], [0])
    assert split_recorded(plan, tmp_path, "data") == ([SMAR], [], [])


def test_values_and_slices_of_an_evaluation_follow_the_ids(tmp_path: Path) -> None:
    """Rows come in any order, and other systems, sources and measures stand between them."""
    kept = [("b", 1 / 3), ("a", 1.0)]
    rows = [("model", "clicks", query, f"query {query}", "R@50", value) for query, value in kept]
    rows += [("text_only", "clicks", "a", "query a", "R@50", 0.0), ("model", "judgments", "a", "query a", "R@50", 0.0)]
    rows += [("model", "clicks", "a", "query a", "P@50", 0.1)]
    slices = [("overall", "a"), ("overall", "b"), ("fashion", "b"), ("synthetic", "another query")]
    with create_artifact(tmp_path / "evaluation", "evaluation", config_digest="", parents={}) as folder:
        columns = list(zip(*rows, strict=True))
        pq.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], schema=PER_QUERY), folder / "per_query.parquet")
        columns = list(zip(*slices, strict=True))
        pq.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], schema=SLICES), folder / "slices.parquet")
        (folder / "scores.json").write_text("{}")
        (folder / "page.html").write_text("")
    evaluation = open_artifact(tmp_path / "evaluation", "evaluation")
    queries = gather_queries(evaluation)
    assert queries.query_ids == ("a", "b")
    assert queries.slices == {"fashion": (1,)}
    assert gather_values(evaluation) == (1.0, 0.333333)


def test_machine_and_versions_are_told_in_words() -> None:
    assert "3 threads" in describe_hardware(load_config("demo", ["runtime.num_threads=3", "runtime.device=cpu"]).runtime)
    assert describe_versions()["torch"].startswith("2.")
