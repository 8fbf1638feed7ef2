"""Where tensors live and in which precision, from the runtime section."""

from contextlib import AbstractContextManager, nullcontext

import torch

from smar_core.config import RuntimeConfig
from smar_core.errors import UserError


def resolve_device(runtime: RuntimeConfig) -> torch.device:
    """Return the device asked for; ``auto`` takes CUDA when there is one. Raises UserError when it is not there."""
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device is 'cuda' but no CUDA device is visible", "set runtime.device=auto or cpu")
    if runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(runtime.device)


def autocast(runtime: RuntimeConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which the towers run: bfloat16 autocast, or nothing for float32.

    ``auto`` is bfloat16 on CUDA only: on CPUs without bfloat16 units it was measured five times slower than float32.
    """
    wants_bfloat16 = runtime.precision == "bfloat16" or (runtime.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16) if wants_bfloat16 else nullcontext()
