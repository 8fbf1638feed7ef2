"""Where tensors live, on a machine without a GPU: tests see none."""

import pytest
import torch

from smar_core.config import RuntimeConfig
from smar_core.errors import UserError
from smar_core.model.device import resolve_device


def test_a_gpu_that_is_asked_for_and_not_there_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no CUDA device"):
        resolve_device(RuntimeConfig(device="cuda"))


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_the_processor_does(device: str) -> None:
    assert resolve_device(RuntimeConfig(device=device)) == torch.device("cpu")
