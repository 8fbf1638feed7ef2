"""Two processes against one, through the real launcher; each start of them takes seconds, so there are few."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import FinetuneConfig, LossConfig, ModelConfig, PretrainConfig, RuntimeConfig
from smar_core.errors import EXIT_INTERRUPTED, DivergedError, UserError
from smar_core.stage import StageContext
from smar_core.training.finetune import finetune
from smar_core.training.job import Job
from smar_core.training.model_artifact import open_model
from smar_core.training.pretrain import pretrain

MODEL = ModelConfig(
    patch_size_px=8, hidden_size=24, embed_dim=16, feed_forward_size=32, num_query_layers=1, num_image_layers=1, dropout=0.0
)
CONFIG = PretrainConfig(
    batch_size=7,
    queries_per_item=2,
    num_steps=4,
    validate_every_steps=2,
    checkpoint_every_steps=3,
    hard_negatives=2,
    mine_every_steps=2,
    hard_negative_depth=6,
)


class _Heard:
    """Progress that remembers the phases."""

    def __init__(self) -> None:
        self.phases: set[str] = set()

    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        self.phases.add(phase)


def runtime_of(num_processes: int) -> RuntimeConfig:
    return RuntimeConfig(
        launcher="local" if num_processes == 1 else "torchrun", num_threads=2, num_processes=num_processes, device="cpu"
    )


@pytest.fixture
def pretrain_in(finished_run, tokenizer: Artifact, synthetic: Artifact, tmp_path: Path):
    def run(num_processes: int, model: ModelConfig = MODEL) -> tuple[Path, dict[str, float], set[str]]:
        output, heard = tmp_path / f"model-{num_processes}", _Heard()
        context = StageContext("config", tmp_path / f"work-{num_processes}", {}, heard)
        inputs = finished_run.items, finished_run.clicks, tokenizer, synthetic
        loss = LossConfig(temperature_mode="learned")
        return output, pretrain(*inputs, output, model, loss, CONFIG, runtime_of(num_processes), context), heard.phases

    return run


def assert_same_training(one: Path, two: Path) -> None:
    """Loss, gradient norm and learned temperature of the steps, and the weights after them, up to rounding.

    Biases of keys cancel in the softmax: their gradient is rounding alone, which Adam scales up to whole steps.
    """
    curves = [open_artifact(path, "model").read_table("curve").to_pydict() for path in (one, two)]
    assert curves[0]["name"] == curves[1]["name"]
    assert {"loss", "grad_norm", "temperature"} <= set(curves[0]["name"])
    assert curves[1]["value"] == pytest.approx(curves[0]["value"], rel=1e-4)
    (model_of_one, _), (model_of_two, _) = (open_model(open_artifact(path, "model")) for path in (one, two))
    for (name, left), right in zip(model_of_one.named_parameters(), model_of_two.parameters(), strict=True):
        if not name.endswith("key_value.bias"):
            torch.testing.assert_close(right, left, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_two_processes_pretrain_as_one(pretrain_in) -> None:
    """The first process mines hard negatives for both."""
    (one, figures_of_one, _), (two, figures_of_two, heard) = (pretrain_in(num_processes) for num_processes in (1, 2))
    assert figures_of_two == pytest.approx(figures_of_one)
    assert_same_training(one, two)
    assert heard


def test_two_processes_finetune_in_chunks_as_one_at_once(finished_run, tmp_path: Path) -> None:
    """Each process encodes its share of the rows two at a time; without dropout, which each would draw for itself."""
    made = []
    for num_processes, chunk_size in ((1, None), (2, 2)):
        output, context = tmp_path / f"model-{num_processes}", StageContext("config", tmp_path / f"work-{num_processes}")
        config = FinetuneConfig(
            batch_size=5, queries_per_item=2, num_steps=3, validate_every_steps=3, chunk_size=chunk_size, dropout=0.0
        )
        inputs = finished_run.items, finished_run.clicks, finished_run.pretrained, finished_run.gate
        loss = LossConfig(temperature_mode="learned")
        made.append((output, finetune(*inputs, output, loss, config, runtime_of(num_processes), context)))
    (one, figures_of_one), (two, figures_of_two) = made
    assert figures_of_two == pytest.approx(figures_of_one)
    assert_same_training(one, two)


def test_mistake_found_by_the_processes_reaches_the_user(pretrain_in) -> None:
    """It is the words of the process that failed, not of torchrun."""
    with pytest.raises(UserError, match="nowhere"):
        pretrain_in(2, ModelConfig(**(MODEL.model_dump() | {"query_encoder": "/nowhere"})))


def test_trainjobs_need_somebody_to_start_them(finished_run, tmp_path: Path) -> None:
    inputs = finished_run.items, finished_run.clicks, finished_run.pretrained, finished_run.gate
    runtime = RuntimeConfig(launcher="trainjob", device="cpu")
    with pytest.raises(UserError, match=r"runtime\.launcher is trainjob.*set runtime\.launcher to torchrun"):
        finetune(*inputs, tmp_path / "model", LossConfig(), FinetuneConfig(), runtime, StageContext("config", tmp_path))


def test_process_ends_with_its_starter() -> None:
    """Its standard input is at its end from the start."""
    code = "import time; from smar_core.training.launch import end_with_starter; end_with_starter(); time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, check=False).returncode == EXIT_INTERRUPTED


def test_error_that_was_first_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("pretrain", {}, "", {}, "", str(tmp_path), {})
    job.write()
    assert job.first_error() is None
    for process, error in ((7, DivergedError("the loss is nan")), (3, RuntimeError("connection closed by peer"))):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        job.leave_error(error)
    first = job.first_error()
    assert isinstance(first, DivergedError)
    assert str(first) == "the loss is nan"


def test_other_errors_keep_their_words_and_trace(tmp_path: Path) -> None:
    job = Job("pretrain", {}, "", {}, "", str(tmp_path), {})
    job.write()
    job.leave_error(IndexError("no row 7"))
    error = job.first_error()
    assert isinstance(error, RuntimeError)
    assert str(error) == "IndexError: no row 7"
    assert "IndexError" in error.__notes__[0]
