"""A temperature that is learned with the towers, as CLIP learns its own, instead of tuned.

Its logarithm, divided by ``PACE``, is the parameter, so that a step changes it by a share of itself. It stays within
``TEMPERATURE_RANGE``: below, one hard negative outweighs a batch and the loss is no longer stable; above, nothing is told
apart. Left out: one temperature a tower.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, section 2.5.
"""

import math

import torch
from torch import Tensor, nn

from smar_core.config import TEMPERATURE_RANGE
from smar_core.losses.pace import PACE


class LearnedTemperature(nn.Module):
    """A positive number within ``TEMPERATURE_RANGE``.

    Args:
        start: Its first value, within the range.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_by_pace = nn.Parameter(torch.tensor(math.log(start) / PACE))

    def forward(self) -> Tensor:
        """Return the temperature, a scalar.

        A step may have carried the parameter out of the range. It is put back in place, since a clamped copy would have no
        gradient from which it could return.
        """
        with torch.no_grad():
            self.log_by_pace.clamp_(*(math.log(bound) / PACE for bound in TEMPERATURE_RANGE))
        return (PACE * self.log_by_pace).exp()
