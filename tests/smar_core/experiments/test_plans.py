"""Which trials an experiment has, and which plans are refused."""

import pytest

from smar_core.errors import UserError
from smar_core.experiments.plans import DEFAULT_AXES, parse_setting, plan_ablation, plan_sweep
from smar_core.experiments.trials import (
    Trial,
)


def test_ablation_goes_seed_by_seed_so_that_a_part_of_it_has_every_variant() -> None:
    plan = plan_ablation("demo", [], ["smar", "dpsr"], [0, 3])
    assert [trial.name for trial in plan.trials] == ["smar-0", "dpsr-0", "smar-3", "dpsr-3"]
    assert plan.configure(plan.trials[1]).model.item_towers == ("text",)


def test_sweep_moves_one_setting_at_a_time_and_trains_the_preset_once() -> None:
    """Values that are the preset's own, however they are written, are one trial, shared by the axes."""
    plan = plan_sweep("demo", [], ["loss.alpha=0.5,1.0", "loss.beta=1,2"], [0, 1])
    assert [trial.name for trial in plan.trials[:3]] == ["smar-0", "smar,loss.alpha=0.5-0", "smar,loss.beta=2-0"]
    assert [trial.seed for trial in plan.trials] == [0, 0, 0, 1, 1, 1]
    assert plan.configure(plan.trials[1]).loss.alpha == 0.5


def test_sweep_looks_at_the_validation_days() -> None:
    plan = plan_sweep("demo", [], ["loss.alpha=0.5"], [0])
    assert {plan.configure(trial).evaluate.split for trial in plan.trials} == {"validation"}


def test_default_sweep_is_that_of_the_papers_figure() -> None:
    plan = plan_sweep("study", [], DEFAULT_AXES, [0])
    assert len(plan.trials) == 1 + 3 * 4
    assert {trial.overrides[0].partition("=")[0] for trial in plan.trials[1:]} == {"loss.alpha", "loss.beta", "loss.gamma"}


@pytest.mark.parametrize(
    ("axis", "names"),
    [
        ("loss.alpha", "section.key=value"),
        ("alpha=1,2", "section.key=value"),
        ("loss.alpha=1,", "section.key=value"),
        ("model.text_encoder=/somewhere", "section.key=value"),
        ("loss.alpha=1,1", "twice"),
        ("loss.alfa=1,2", "alfa"),
        ("loss.alpha=many", "loss.alpha"),
        ("prepare.vocab_size=400", "share"),
        ("evaluate.batch_size=3", "share"),
        ("pretrain.seed=1,2", "--seeds"),
        ("loss.alpha=1.0", "own"),
    ],
)
def test_wrong_axis(axis: str, names: str) -> None:
    with pytest.raises(UserError, match=names):
        plan_sweep("demo", [], [axis], [0])


def test_trials_beside_the_variants_have_any_overrides_and_every_seed() -> None:
    beside = ["smar gate.supervision=utility", "smar loss.matryoshka_dims=[32, 16]  pretrain.hard_negatives=2"]
    plan = plan_ablation("demo", [], ["smar"], [0, 1], beside=beside)
    names = ["smar-0", "smar,gate.supervision=utility-0", "smar,loss.matryoshka_dims=_32,_16_,pretrain.hard_negatives=2-0"]
    assert [trial.name for trial in plan.trials[:3]] == names
    config = plan.configure(plan.trials[5])
    assert (config.loss.matryoshka_dims, config.pretrain.hard_negatives, config.pretrain.seed) == ((32, 16), 2, 1)


def test_order_and_spaces_of_a_setting_do_not_matter() -> None:
    one, other = "smar loss.alpha=2 loss.beta = 0.5", " smar  loss.beta=0.5 loss.alpha= 2"
    assert parse_setting(one) == parse_setting(other) == Trial(variant="smar", overrides=("loss.alpha=2", "loss.beta=0.5"))


def test_setting_may_be_the_baseline() -> None:
    plan = plan_ablation("demo", [], ["dpsr"], [0], "smar  loss.beta=0 loss.alpha=0.5", ["smar loss.alpha=0.5 loss.beta=0"])
    assert plan.baseline == plan.trials[1].setting == "smar,loss.alpha=0.5,loss.beta=0"


def test_sweep_may_be_of_settings_alone_and_stays_on_the_validation_days() -> None:
    plan = plan_sweep("demo", [], [], [0], beside=["dpsr", "smar gate.supervision=utility loss.alpha=2"])
    assert [trial.setting for trial in plan.trials] == ["smar", "dpsr", "smar,gate.supervision=utility,loss.alpha=2"]
    assert {plan.configure(trial).evaluate.split for trial in plan.trials} == {"validation"}


@pytest.mark.parametrize(
    ("beside", "names"),
    [
        (["smar prepare.vocab_size=400"], "share"),
        (["smar evaluate.split=validation"], "share"),
        (["smar pretrain.seed=1"], "--seeds"),
        (["smar loss.alpha=0.5 loss.alpha=2"], "twice"),
        (["smar loss.alfa=2"], "alfa"),
        (["smar loss.alpha"], "no variant"),
        (["loss.alpha=2"], "no variant first"),
        (["dpr loss.alpha=2"], "dpr"),
        (["smar loss.alpha=1.0"], "trains what 'smar' does"),
        (["smar loss.alpha=0.5", "smar loss.alpha=.5"], "trains what 'smar,loss.alpha=0.5' does"),
        (["smar-nc gate.visual_categories=[Bags]"], "fashion"),
        (["smar gate.visual_categories=[" + ", ".join(["Watches"] * 40) + "]"], "characters"),
    ],
)
def test_wrong_setting(beside: list[str], names: str) -> None:
    with pytest.raises(UserError, match=names):
        plan_ablation("demo", [], ["smar"], [0], beside=beside)
    with pytest.raises(UserError, match=names):
        plan_sweep("demo", [], [], [0], beside=beside)


def test_two_trials_of_one_file_are_refused() -> None:
    beside = ["smar gate.visual_categories=[Shoes_Bags]", "smar gate.visual_categories=[Shoes Bags]"]
    with pytest.raises(UserError, match=r"share the file smar,gate\.visual_categories=_Shoes_Bags_-0\.json"):
        plan_ablation("demo", [], ["smar"], [0], beside=beside)


def test_choosing_by_the_test_days_is_refused() -> None:
    with pytest.raises(UserError, match="test days"):
        plan_sweep("demo", ["evaluate.split = test"], ["loss.alpha=2"], [0])


@pytest.mark.parametrize(
    ("variants", "seeds", "baseline", "names"),
    [
        (["smar", "smar"], [0], "smar", "twice"),
        (["smar"], [], "smar", "--seeds"),
        (["smar"], [0, 0], "smar", "twice"),
        (["dpsr"], [0], "smar", "baseline"),
        (["smar", "dpr"], [0], "smar", "dpr"),
        (["smar"], [-1], "smar", "seed"),
    ],
)
def test_wrong_ablation(variants: list[str], seeds: list[int], baseline: str, names: str) -> None:
    with pytest.raises(UserError, match=names):
        plan_ablation("demo", [], variants, seeds, baseline)


def test_setting_of_all_trials_must_be_read_by_one_and_a_trials_own_by_it() -> None:
    """The header's steps were taken for an ablation without a header."""
    steps = "gate.num_steps=5"
    plan = plan_ablation("demo", [steps], ["smar", "dpsr"], [0])
    assert [plan.configure(trial).gate.mode for trial in plan.trials] == ["learned", "always_text"]
    with pytest.raises(UserError, match=r"plays no part in gate\.mode always_text"):
        plan_ablation("demo", [steps], ["dpsr"], [0], baseline="dpsr")
    with pytest.raises(UserError, match=r"plays no part in gate\.mode always_text"):
        plan_ablation("demo", [], ["smar"], [0], beside=[f"dpsr {steps}"])
    with pytest.raises(UserError, match=r"plays no part in gate\.mode always_multimodal"):
        plan_sweep("demo", [], ["gate.num_steps=5,6"], [0], variant="smar-always")
