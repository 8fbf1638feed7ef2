"""Each failure signature on figures that show it, that do not, and that do not tell."""

from typing import Any

import pyarrow as pa
import pytest

from smar_core import schemas
from smar_core.evaluation.signatures import Signature, find_signatures

NAMES = [
    "Recall up, precision down outside fashion",
    "No gain in fashion",
    "Unstable training",
    "Nothing was learned",
    "Generic pictures hurt",
    "Pictures are ignored",
]


def cell(low: float, high: float) -> dict[str, float]:
    return {"value": (low + high) / 2, "low": low, "high": high}


def differences(num_queries: int = 30, **slices: dict[str, Any]) -> dict[str, Any]:
    return {"differences": {"model - text_only": {name: {"num_queries": num_queries} | of for name, of in slices.items()}}}


def curve(name: str, values: list[float]) -> dict[str, pa.Table]:
    rows = {"step": [10 * n for n in range(len(values))], "name": [name] * len(values), "value": values}
    return {"pretrain": pa.table(rows, schema=schemas.CURVE)}


def found(name: str, scores: dict[str, Any], curves: dict[str, pa.Table] | None = None) -> Signature:
    return next(signature for signature in find_signatures(scores, curves or {}) if signature.name == name)


def test_nothing_measured_leaves_everything_unknown() -> None:
    signatures = find_signatures({}, {})
    assert [signature.name for signature in signatures] == NAMES
    assert all(signature.is_present is None and signature.check for signature in signatures)


@pytest.mark.parametrize(
    ("recall", "precision", "is_present"),
    [
        (cell(0.01, 0.03), cell(-0.004, -0.001), True),
        (cell(0.01, 0.03), cell(-0.004, 0.001), False),  # the interval of the precision holds 0
        (cell(-0.01, 0.03), cell(-0.004, -0.001), False),  # recall is not surely up
    ],
)
def test_recall_up_and_precision_down(recall: dict[str, float], precision: dict[str, float], is_present: bool) -> None:
    scores = differences(overall={"R@50": recall}, not_fashion={"P@50": cell(0.0, 0.001), "P@10": precision})
    signature = found(NAMES[0], scores)
    assert signature.is_present is is_present
    assert "P@10" in signature.evidence and "P@50 +0.05 points (+0.00 to +0.10)" in signature.evidence


def test_a_gate_that_keeps_pictures_out_leaves_the_precision_outside_fashion_open() -> None:
    """The difference to the model's own text index is 0 then, whatever the common training did to that index."""
    scores = differences(overall={"R@50": cell(0.01, 0.03)}, not_fashion={"P@50": cell(0.0, 0.0), "P@10": cell(0.0, 0.0)})
    signature = found(NAMES[0], scores)
    assert signature.is_present is None and "smar,dpsr" in signature.evidence


def test_a_model_of_text_alone_has_no_pictures_to_fail_by() -> None:
    """It was said to have no gain in fashion, and that no picture hurt it; a gate that sends every query to the text may fail."""
    nothing = {measure: cell(0.0, 0.0) for measure in ("R@50", "P@50", "P@10")}
    same = {"overall": {"num_queries": 90, "R@50": cell(0.6, 0.7)}}
    scores = differences(overall=nothing, fashion=nothing, not_fashion=nothing, picture_stock=nothing)
    scores |= {"model": same, "text_only": same}
    for name in (NAMES[0], NAMES[1], NAMES[4]):
        signature = found(name, scores)
        assert signature.is_present is None and "one index, that of text" in signature.evidence
    assert found(NAMES[1], scores | {"gate": {}}).is_present is True
    assert found(NAMES[1], scores | {"model": {}}).is_present is True


@pytest.mark.parametrize(("low", "is_present"), [(0.02, False), (-0.001, True)])
def test_no_gain_in_fashion_says_what_the_gate_costs_there(low: float, is_present: bool) -> None:
    scores = differences(fashion={"R@50": cell(low, 0.05)})
    scores["gate"] = {"differences": {"routed - always_multimodal": {"fashion": {"R@50": cell(-0.03, -0.01)}}}}
    signature = found(NAMES[1], scores)
    assert signature.is_present is is_present
    assert "\N{MINUS SIGN}2.0 points (\N{MINUS SIGN}3.0 to \N{MINUS SIGN}1.0)" in signature.evidence


def test_a_falling_loss_is_stable_and_a_jump_is_found_with_its_step() -> None:
    falling = [8.0 / (1 + step / 10) for step in range(60)]
    assert found(NAMES[2], {}, curve("loss", falling)).is_present is False
    jump = found(NAMES[2], {}, curve("loss_text", [*falling[:40], 9.0, *falling[41:]]))
    assert jump.is_present is True and "loss_text of pretrain, step 400" in jump.evidence


def test_a_total_that_learned_weights_take_through_0_is_no_jump() -> None:
    """Its ratio to a median near 0 was a spike of 40 in a sound run."""
    total, parts = [1.0, 0.5, 0.2, 0.05, 0.01, 0.4, -0.3], [2.0, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3]
    assert found(NAMES[2], {}, curve("loss", total)).is_present is True
    tables = [curve("loss", total)["pretrain"], curve("loss_text", parts)["pretrain"]]
    assert found(NAMES[2], {}, {"pretrain": pa.concat_tables(tables)}).is_present is False
    broken = [curve("loss", [*total[:-1], float("nan")])["pretrain"], tables[1]]
    assert found(NAMES[2], {}, {"pretrain": pa.concat_tables(broken)}).is_present is True


@pytest.mark.parametrize(
    ("looks", "is_present"),
    [
        ([0.003, 0.005, 0.004], True),
        ([0.003, 0.4, 0.2], False),
        ([0.003], None),
        ([0.97, 0.97], None),  # a catalogue of 51 items
    ],
)
def test_a_pre_training_that_ends_where_it_began(looks: list[float], is_present: bool | None) -> None:
    signature = found("Nothing was learned", {}, curve("validation_R@50_multimodal", looks))
    assert signature.is_present is is_present
    assert found("Nothing was learned", {}, curve("loss", looks)).is_present is None
    known = [curve("validation_R@50_text", [0.52, 0.7])["pretrain"], curve("validation_R@50_image", looks)["pretrain"]]
    assert found("Nothing was learned", {}, {"pretrain": pa.concat_tables(known)}).is_present is None


def test_gradients_may_jump_higher_than_losses() -> None:
    steady = [2.0] * 20
    assert found(NAMES[2], {}, curve("grad_norm", [*steady, 6.0])).is_present is False
    assert found(NAMES[2], {}, curve("grad_norm", [*steady, 8.0])).is_present is True


def test_a_learning_rate_that_warms_up_is_no_jump() -> None:
    assert found(NAMES[2], {}, curve("learning_rate", [10.0**n for n in range(8)])).is_present is None


def test_a_value_that_is_not_finite_is_named() -> None:
    signature = found(NAMES[2], {}, curve("grad_norm", [1.0, 2.0, float("inf"), 1.0]))
    assert signature.is_present is True and "Grad_norm of pretrain is not finite at step 20" in signature.evidence


@pytest.mark.parametrize(("high", "is_present"), [(-0.01, True), (0.01, False)])
def test_generic_pictures_that_hurt(high: float, is_present: bool) -> None:
    signature = found(NAMES[4], differences(picture_stock={"R@50": cell(-0.05, high)}))
    assert signature.is_present is is_present and "picture stock" in signature.evidence


def test_too_few_queries_do_not_tell() -> None:
    assert found(NAMES[4], differences(29, picture_stock={"R@50": cell(-0.05, -0.01)})).is_present is None


@pytest.mark.parametrize(("low", "is_present"), [(0.02, False), (-0.01, True)])
@pytest.mark.parametrize("system", ["multimodal", "model"])
def test_pictures_whose_shuffling_costs_nothing_are_ignored(system: str, low: float, is_present: bool) -> None:
    assert found(NAMES[5], shuffled(system, 30, low)).is_present is is_present
    few = found(NAMES[5], shuffled(system, 29, low))
    assert few.is_present is None and "30 or more queries" in few.evidence


def shuffled(system: str, num_queries: int, low: float) -> dict[str, Any]:
    loss = {"overall": {"num_queries": num_queries, "R@50": cell(low, 0.04)}}
    return {"reliance": {"shuffled": {"loss": {system: loss}}}}


def test_signatures_are_json() -> None:
    assert set(find_signatures({}, {})[0].as_json()) == {"name", "is_present", "evidence", "check"}
