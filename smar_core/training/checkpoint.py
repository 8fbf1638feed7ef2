"""Checkpoints from which a killed training goes on as if nothing had happened.

A checkpoint is a folder ``checkpoint-STEP`` of safetensors and JSON, filled under another name and renamed last, so a half
one is never read. Random numbers need no state: every step seeds torch from (seed, step).
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_STATE = "state.json"


@dataclass
class TrainingState:
    """All that changes while training goes on.

    Attributes:
        step: Steps done.
        weights: The model's and the objective's.
        optimiser: Tensors by ``<parameter number>.<name>``.
        best_step, best_weights, best_figures: The best look at the validation days so far.
        sampler: Small values of the sampler.
        num_taken_of_item: Its cursors [N].
        curve: (step, name, value) logged so far.
        stability: Small values of the ``StabilityWatch``.
    """

    step: int
    weights: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    best_step: int
    best_weights: dict[str, Tensor]
    best_figures: dict[str, float]
    sampler: dict[str, Any]
    num_taken_of_item: Tensor
    curve: list[tuple[int, str, float]]
    stability: dict[str, Any]


def save_checkpoint(work: Path, state: TrainingState) -> None:
    """Write a checkpoint and remove the older ones."""
    work.mkdir(parents=True, exist_ok=True)
    temporary, final = work / "checkpoint.tmp", work / f"checkpoint-{state.step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_file(_plain(state.weights), temporary / "weights.safetensors")
    save_file(_plain(state.best_weights), temporary / "best.safetensors")
    save_file(_plain(state.optimiser | {"num_taken_of_item": state.num_taken_of_item}), temporary / "optimiser.safetensors")
    values = {
        "step": state.step,
        "best_step": state.best_step,
        "best_figures": state.best_figures,
        "sampler": state.sampler,
        "curve": state.curve,
        "stability": state.stability,
    }
    (temporary / _STATE).write_text(json.dumps(values), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)
    for older in _checkpoints(work)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def load_checkpoint(work: Path) -> TrainingState | None:
    """Return the newest checkpoint of a work folder, None when there is none."""
    found = _checkpoints(work)
    if not found:
        return None
    values = json.loads((found[-1] / _STATE).read_text(encoding="utf-8"))
    optimiser = load_file(found[-1] / "optimiser.safetensors")
    return TrainingState(
        step=values["step"],
        weights=load_file(found[-1] / "weights.safetensors"),
        num_taken_of_item=optimiser.pop("num_taken_of_item"),
        optimiser=optimiser,
        best_step=values["best_step"],
        best_weights=load_file(found[-1] / "best.safetensors"),
        best_figures=values["best_figures"],
        sampler=values["sampler"],
        curve=[(int(step), str(name), float(value)) for step, name, value in values["curve"]],
        stability=values["stability"],
    )


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to named tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{name}": torch.as_tensor(value) for number, values in state.items() for name, value in values.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimiser_tensors`` returned; the parameter groups stay as built."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _checkpoints(work: Path) -> list[Path]:
    return sorted(path for path in work.glob("checkpoint-*") if (path / _STATE).is_file())


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
