"""The machine that a stage ran on, in words: what a time that it took means."""

import os
import platform
import re
import sys
from pathlib import Path

from smar_core.config import RuntimeConfig


def describe_hardware(runtime: RuntimeConfig) -> str:
    """Return the machine in words: processor, cores that may be used, threads, accelerator."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = re.findall(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        processor = names[0] if names else processor
    words = f"{processor}, {len(os.sched_getaffinity(0))} cores, {runtime.num_threads} threads"
    return f"{words}, {_accelerator()}" if runtime.device != "cpu" and _accelerator() else words


def _accelerator() -> str:
    """Return the accelerator's name; "" where there is none, or for a stage that has no use for one and never loaded torch."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else ""
