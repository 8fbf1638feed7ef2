"""Stops a training that has gone wrong, and says what was seen and what to try.

Three things end it: a loss that is not finite, a gradient that is not (before the optimiser spreads it into the weights), and
losses that stay far above where they began: ``PATIENCE`` steps in a row, each above ``FACTOR`` times the mean of the first
``NUM_FIRST`` steps. A contrastive loss falls from its start, also after hard negatives were mined anew, so this rule waits for
what no sound training does; spikes it leaves alone. It looks at the sum of L_t, L_i and L_m as they are: each is 0 at least,
while learned weights add a term that takes the total below 0, where three times the start says nothing.
Left out: going back to a checkpoint by itself with a lower rate, which would hide the cause.
"""

import math
from collections.abc import Mapping
from statistics import mean, median
from typing import Any

from smar_core.config import OptimiserConfig
from smar_core.errors import DivergedError

NUM_FIRST, FACTOR, PATIENCE = 10, 3.0, 100
_NUM_NORMS = 20
_RISE = 10.0
"""A gradient norm this many times the median of those before it has risen."""


class StabilityWatch:
    """Looks at every step.

    Args:
        config: Rates, clipping and the interval of checkpoints, which the advice names.
    """

    def __init__(self, config: OptimiserConfig) -> None:
        self._config = config
        self._first: list[float] = []
        self._num_high = 0
        self._norms: list[float] = []
        self._largest_norm = 0.0

    def state(self) -> dict[str, Any]:
        """Return what a resumed watch needs, for JSON."""
        return {
            "first": self._first,
            "num_high": self._num_high,
            "norms": self._norms,
            "largest_norm": self._largest_norm,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        self._first, self._num_high, self._norms = list(state["first"]), int(state["num_high"]), list(state["norms"])
        self._largest_norm = float(state["largest_norm"])

    def check_loss(self, step: int, figures: Mapping[str, float], learning_rate: float) -> None:
        """Look at the loss of a step.

        Args:
            step: Number of the step, from 1.
            figures: ``loss``, its parts by names that begin with ``loss_``, and what is learned.
            learning_rate: Of the step.

        Raises:
            DivergedError: It is not finite, or the sum of its parts is far above its start for long.
        """
        loss = figures["loss"]
        if not math.isfinite(loss):
            raise DivergedError(self._say(f"the loss is {loss} at step {step}", step, figures, learning_rate))
        total = sum(value for name, value in figures.items() if name.startswith("loss_"))
        if len(self._first) < NUM_FIRST:
            self._first.append(total)
            return
        start = mean(self._first)
        self._num_high = self._num_high + 1 if total > FACTOR * start else 0
        if self._num_high >= PATIENCE:
            height = f"for {PATIENCE} steps above {FACTOR:g} times its start ({start:.4g})"
            seen = f"the sum of the losses is {total:.4g} at step {step} and {height}"
            raise DivergedError(self._say(seen, step, figures, learning_rate))

    def check_gradient(self, step: int, norm: float, figures: Mapping[str, float], learning_rate: float) -> None:
        """Look at the norm of a step's gradient, before it was clipped; raises DivergedError when it is not finite."""
        if not math.isfinite(norm):
            raise DivergedError(self._say(f"the gradient's norm is {norm} at step {step}", step, figures, learning_rate))
        self._norms = [*self._norms, norm][-_NUM_NORMS:]
        self._largest_norm = max(self._largest_norm, norm)

    def take_largest_norm(self) -> float:
        """Return the largest norm since the last call: a curve that logs some steps only must not miss a spike between them."""
        largest, self._largest_norm = self._largest_norm, 0.0
        return largest

    def _say(self, seen: str, step: int, figures: Mapping[str, float], learning_rate: float) -> str:
        parts = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "loss")
        norms = ", ".join(f"{norm:.3g}" for norm in self._norms[-5:]) or "none yet"
        kept = (step - 1) // self._config.checkpoint_every_steps * self._config.checkpoint_every_steps
        checkpoint = f"the checkpoint of step {kept} is kept" if kept else "there is no checkpoint yet"
        facts = f"{seen} (parts: {parts}; learning rate {learning_rate:.2g}; last gradient norms: {norms}; {checkpoint})"
        return f"{facts}; {self._advise(figures)}"

    def _advise(self, figures: Mapping[str, float]) -> str:
        """Derive what to try from what was seen."""
        broken = [name for name, value in figures.items() if name != "loss" and not math.isfinite(value)]
        finite = [name for name in figures if name != "loss" and name not in broken]
        advice = []
        if broken and any(name.startswith("loss_") for name in finite):
            advice.append(f"only {', '.join(broken)} broke, so look at that tower's input first")
        if not self._norms:
            advice.append("nothing had moved yet: set runtime.precision=float32, or raise loss.temperature (of info_nce)")
            advice.append("else look at the data and at the weights it starts from")
        elif self._has_risen():
            advice.append("gradients rose before it: lower learning_rate or raise warmup_share")
            if self._config.max_grad_norm > max(self._norms):
                advice.append(f"lower max_grad_norm ({self._config.max_grad_norm:g}), which clipped none of them")
        else:
            advice.append(
                "gradients did not rise before it: raise loss.temperature (of info_nce), or set runtime.precision=float32"
            )
            advice.append("else lower learning_rate")
        return "; ".join(advice)

    def _has_risen(self) -> bool:
        """Whether the last gradient norms are far above those before; what went wrong within a few steps counts as risen."""
        if len(self._norms) < 4:
            return True
        half = len(self._norms) // 2
        return max(self._norms[half:]) > _RISE * median(self._norms[:half])
