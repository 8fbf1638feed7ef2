"""The learned temperature: its start, its bounds, its way back from them."""

import pytest
import torch

from smar_core.config import TEMPERATURE_RANGE, OptimiserConfig
from smar_core.losses.pace import PACE
from smar_core.losses.temperature import LearnedTemperature
from smar_core.training.loop import build_optimiser


def test_starts_where_it_is_told() -> None:
    assert LearnedTemperature(1 / 30)().item() == pytest.approx(1 / 30)


@pytest.mark.parametrize(("gone_to", "expected"), [(-20.0, TEMPERATURE_RANGE[0]), (3.0, TEMPERATURE_RANGE[1])])
def test_is_held_in_its_range_and_can_leave_the_bound(gone_to: float, expected: float) -> None:
    temperature = LearnedTemperature(0.05)
    with torch.no_grad():
        temperature.log_by_pace.fill_(gone_to)
    value = temperature()
    assert value.item() == pytest.approx(expected)
    value.backward()
    assert temperature.log_by_pace.grad is not None
    assert temperature.log_by_pace.grad.item() == pytest.approx(PACE * expected)


def test_does_not_decay() -> None:
    optimiser = build_optimiser(LearnedTemperature(0.05), OptimiserConfig(weight_decay=0.5))
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.0]
