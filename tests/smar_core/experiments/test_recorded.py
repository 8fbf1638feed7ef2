"""Recorded trials are not run again, and never taken for another experiment's."""

from pathlib import Path

import pytest

from smar_core.errors import UserError
from smar_core.experiments.evidence import (
    evidence_file,
    write_evidence,
)
from smar_core.experiments.plans import plan_ablation, plan_sweep
from smar_core.experiments.recorded import split_recorded
from smar_core.experiments.trials import Plan, Trial
from tests.smar_core.experiments.evidences import QUERIES, make_evidence

SMAR, DPSR = Trial(variant="smar"), Trial(variant="dpsr")
VALUES = (0.5, 1.0, 0.0, 0.25)


@pytest.fixture
def plan() -> Plan:
    return plan_ablation("demo", [], ["smar", "dpsr"], [0])


def test_file_that_is_no_evidence_is_refused(tmp_path: Path, plan: Plan) -> None:
    evidence_file(tmp_path, SMAR).write_text('{"preset": "demo"}')
    with pytest.raises(UserError, match=r"smar-0\.json"):
        split_recorded(plan, tmp_path, "data")


def test_recorded_trials_are_not_run_again(tmp_path: Path, plan: Plan) -> None:
    assert split_recorded(plan, tmp_path, "data") == ([], [SMAR, DPSR], [])
    write_evidence(tmp_path, make_evidence(DPSR, VALUES), QUERIES)
    assert split_recorded(plan, tmp_path, "data") == ([DPSR], [SMAR], [])
    assert split_recorded(plan, tmp_path, "data", use_recorded=False) == ([], [SMAR, DPSR], [])


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
    plan = plan_ablation("demo", ["beam.num_workers=1"], ["smar"], [0])
    assert split_recorded(plan, tmp_path, "data") == ([SMAR], [], [])
