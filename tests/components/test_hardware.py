"""The machine in words."""

import pytest
import torch

from components.hardware import describe_hardware
from smar_core.config import RuntimeConfig


def test_threads_and_accelerator_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")
    assert describe_hardware(RuntimeConfig(num_threads=3)).endswith("3 threads, H100")
    assert describe_hardware(RuntimeConfig(num_threads=3, device="cpu")).endswith("3 threads")
