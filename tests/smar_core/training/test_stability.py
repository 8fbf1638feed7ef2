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
    high, spiked_down = 2.0 * FACTOR + 0.1, 2.0 * FACTOR
    step = NUM_FIRST
    for loss in [high] * (PATIENCE - 1) + [spiked_down] + [high] * (PATIENCE - 1):
        step += 1
        watch.check_loss(step, {"loss": loss, "loss_text": loss}, 1e-3)
    resumed = StabilityWatch(OptimiserConfig())
    resumed.restore(json.loads(json.dumps(watch.state())))
    for each in (watch, resumed):
        with pytest.raises(DivergedError, match=rf"for {PATIENCE} steps above 3 times its start \(2\)"):
            each.check_loss(step + 1, {"loss": high, "loss_text": high}, 1e-3)


@pytest.mark.parametrize("seen", ["loss", "gradient"])
def test_what_is_not_finite_at_the_first_step_is_told(seen: str) -> None:
    """Failed with "max() arg is an empty sequence": before the first step's end there is no gradient norm to speak of."""
    watch = StabilityWatch(OptimiserConfig())
    with pytest.raises(DivergedError, match=rf"{seen}.* at step 1 .*last gradient norms: none yet; .*nothing had moved yet"):
        if seen == "loss":
            watch.check_loss(1, {"loss": NAN, "loss_text": NAN}, 1e-3)
        else:
            watch.check_gradient(1, float("inf"), {"loss": 2.0, "loss_text": 2.0}, 1e-3)


def test_total_below_zero_that_falls_does_not_stop() -> None:
    """A sound training was stopped at step 110: the entropy of learned weights takes the total below 0, and -1.1 is above 3
    times -1. What is watched is the sum of the losses before they are weighed, which are never below 0.
    """
    watch = StabilityWatch(OptimiserConfig())
    for step in range(1, NUM_FIRST + 2 * PATIENCE):
        watch.check_loss(step, {"loss": -1.0 - step / 1000, "loss_text": 1.0 / step, "loss_image": 1.0, "weight_text": 9.0}, 1e-3)


def test_losses_that_rise_under_a_total_below_zero_stop() -> None:
    """Went on to the end, the weights hiding it from the total. What else is logged beside the losses plays no part."""
    watch = StabilityWatch(OptimiserConfig())
    start, risen = {"loss_text": 1.0, "loss_image": 1.0}, {"loss_text": 1.1, "loss_image": 5.1}
    with pytest.raises(DivergedError, match=rf"sum of the losses is 6\.2 at step {NUM_FIRST + PATIENCE} .*its start \(2\)"):
        for step in range(1, NUM_FIRST + PATIENCE + 1):
            parts = start if step <= NUM_FIRST else risen
            watch.check_loss(step, {"loss": -5.0, **parts, "temperature": 0.1 * step}, 1e-3)


def test_the_largest_norm_since_it_was_last_asked_for_survives_a_resumption() -> None:
    """Of a run of 200,000 steps every 1,000th is logged; a spike between two of them was lost."""
    watch = _watch([1, 7, 2])
    resumed = StabilityWatch(OptimiserConfig())
    resumed.restore(json.loads(json.dumps(watch.state())))
    for each in (watch, resumed):
        each.check_gradient(4, 3.0, {}, 1e-3)
        assert (each.take_largest_norm(), each.take_largest_norm()) == (7.0, 0.0)
