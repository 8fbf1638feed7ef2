"""Starting ``smar`` in a working folder of its own, on a shop's data, with settings small enough for a test."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETTINGS = (
    "prepare.image_width_px=16",
    "prepare.image_height_px=16",
    "prepare.vocab_size=400",
    "synthetic.ratio=10",
    "synthetic.max_item_share=0.2",
    "model.hidden_size=24",
    "model.embed_dim=24",
    "model.feed_forward_size=24",
    "model.num_query_layers=1",
    "model.num_image_layers=1",
    "pretrain.batch_size=24",
    "pretrain.num_steps=40",
    "pretrain.validate_every_steps=20",
    "pretrain.checkpoint_every_steps=5",
    "gate.num_steps=30",
    "finetune.batch_size=24",
    "finetune.num_steps=200",
    "finetune.validate_every_steps=100",
    "finetune.checkpoint_every_steps=5",
    "evaluate.num_bootstrap_samples=50",
    "evaluate.num_examples=2",
    "runtime.num_threads=1",
    "beam.num_workers=1",
    "runtime.device=cpu",
)

# Tests that were themselves started in the background have SIGINT ignored, and children inherit that.
PROGRAM = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from pipelines.cli import main; main()"


@dataclass(frozen=True)
class Shop:
    """A working folder, and the data to run on.

    Attributes:
        folder: Where ``smar`` is started; holds ``.smar`` and ``mlflow.db``.
        data: Folder of items.parquet, clicks.parquet and judgments.parquet.
        environment: Variables that ``smar`` is given beside those of the tests.
    """

    folder: Path
    data: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run_arguments(self, out: str, *more: str, settings: Sequence[str] = SETTINGS) -> list[str]:
        """Return the arguments of ``smar run`` on the data."""
        files = [part for name in ("items", "clicks", "judgments") for part in (f"--{name}", str(self.data / f"{name}.parquet"))]
        return ["run", *files, "--preset", "demo", "--out", out, *(p for s in settings for p in ("--set", s)), *more]

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[str]":
        """Start ``smar``."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "SMAR", "KFP"))}
        return subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, *arguments],
            cwd=self.folder,
            env={**environment, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def smar(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run ``smar`` to its end."""
        process = self.start(arguments)
        out, error = process.communicate(timeout=500)
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def run(self, out: str, *more: str) -> dict[str, Any]:
        """Run the pipeline, which must end well, and return its run.json."""
        done = self.smar(*self.run_arguments(out, *more))
        assert done.returncode == 0, done.stderr + self.latest_log()
        return self.read(out, "run.json")

    def read(self, out: str, name: str) -> dict[str, Any]:
        """Read a JSON file of a run."""
        value: dict[str, Any] = json.loads((self.folder / out / name).read_text())
        return value

    def runs(self) -> list[Path]:
        """Return the state folders of all runs, the latest last."""
        return sorted((self.folder / ".smar" / "runs").glob("*"))

    def latest_log(self) -> str:
        """Return the end of the latest run's log."""
        return (self.runs()[-1] / "log.txt").read_text()[-3000:]


def executed(run: dict[str, Any]) -> list[str]:
    """Return the stages that a run executed, sorted by name."""
    return sorted(name for name, stage in run["stages"].items() if stage["status"] == "executed")


def wait_for_side_file(shop: Shop, name: str, known: Collection[Path], seconds: float = 300) -> bool:
    """Wait until a stage of a run that is not among the known ones has left a side file."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any((run / "side" / name).is_file() for run in shop.runs() if run not in known):
            return True
        time.sleep(0.05)
    return False
