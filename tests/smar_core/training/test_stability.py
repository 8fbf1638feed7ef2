"""When a training is stopped, and what is said then."""

import json

import pytest

from smar_core.config import OptimiserConfig
from smar_core.errors import DivergedError
from smar_core.training.stability import FACTOR, NUM_FIRST, PATIENCE, StabilityWatch

NAN = float("nan")


def _watch(norms: list[float], **changes: object) -> StabilityWatch:
    watch = StabilityWatch(OptimiserConfig(**changes))
    for step, norm in enumerate(norms, 1):
        watch.check_loss(step, {"loss": 2.0, "loss_text": 1.0, "loss_image": 1.0}, 1e-3)
        watch.check_gradient(step, norm, {"loss": 2.0}, 1e-3)
    return watch


def test_rising_gradients_call_for_a_lower_rate() -> None:
    watch = _watch([1, 1, 1, 5, 40, 900], max_grad_norm=1e6, checkpoint_every_steps=4)
    with pytest.raises(DivergedError) as found:
        watch.check_loss(7, {"loss": NAN, "loss_text": NAN, "loss_image": 1.0}, 1e-3)
    said = str(found.value)
    assert "the loss is nan at step 7" in said
    assert "loss_text nan, loss_image 1" in said
    assert "last gradient norms: 1, 1, 5, 40, 900" in said
    assert "the checkpoint of step 4 is kept" in said
    assert "only loss_text broke" in said
    assert "lower learning_rate or raise warmup_share" in said
    assert "lower max_grad_norm (1e+06), which clipped none of them" in said


def test_even_gradients_call_for_another_temperature() -> None:
    with pytest.raises(DivergedError) as found:
        _watch([1, 2, 1, 2, 1, 2]).check_loss(7, {"loss": NAN, "loss_text": NAN}, 1e-3)
    assert "raise loss.temperature" in str(found.value)
    assert "broke" not in str(found.value)
    assert "there is no checkpoint yet" in str(found.value)


def test_gradient_that_is_not_finite_stops() -> None:
    with pytest.raises(DivergedError, match="gradient's norm is inf at step 3"):
        _watch([1, 1]).check_gradient(3, float("inf"), {"loss": 2.0}, 1e-3)


def test_loss_far_above_its_start_for_long_stops_and_a_spike_does_not() -> None:
    """The count is part of the state: a resumed watch stops at the same step."""
    watch = _watch([1.0] * NUM_FIRST)
    high, figures = 2.0 * FACTOR + 0.1, {"loss": 2.0 * FACTOR}
    step = NUM_FIRST
    for loss in [high] * (PATIENCE - 1) + [figures["loss"]] + [high] * (PATIENCE - 1):
        step += 1
        watch.check_loss(step, {"loss": loss}, 1e-3)
    resumed = StabilityWatch(OptimiserConfig())
    resumed.restore(json.loads(json.dumps(watch.state())))
    for each in (watch, resumed):
        with pytest.raises(DivergedError, match=rf"for {PATIENCE} steps above 3 times its start \(2\)"):
            each.check_loss(step + 1, {"loss": high}, 1e-3)
