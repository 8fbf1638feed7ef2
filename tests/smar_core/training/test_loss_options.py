"""Every option of the losses through real stages on ten products, two of which have no picture."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import FinetuneConfig, GateConfig, LossConfig, ModelConfig, PretrainConfig, RuntimeConfig
from smar_core.losses.objectives import PretrainingObjective
from smar_core.losses.weights import build_weights
from smar_core.stage import StageContext
from smar_core.training.finetune import continue_temperature, finetune
from smar_core.training.gate import train_gate
from smar_core.training.gradients import BatchGradients
from smar_core.training.loop import TrainingResult
from smar_core.training.model_artifact import open_model, write_model_artifact
from smar_core.training.popularity import popularity_correction
from smar_core.training.pretrain import pretrain, top_categories
from smar_core.training.sampler import PairSampler

RUNTIME = RuntimeConfig(num_threads=1, device="cpu")
MODEL = ModelConfig(patch_size_px=8, hidden_size=24, embed_dim=16, feed_forward_size=32, num_query_layers=1, num_image_layers=1)
WEIGHTS = ("per_category", "uncertainty", "per_pair")
OPTIONS: dict[str, dict[str, Any]] = {
    **{kind: {"weights": kind} for kind in WEIGHTS},
    "temperature": {"temperature_mode": "learned"},
    "popularity": {"popularity": "logq"},
    "matryoshka": {"matryoshka_dims": [4, 8]},
    "all": {"weights": "per_pair", "temperature_mode": "learned", "popularity": "logq", "matryoshka_dims": [8]},
}


class Killed(BaseException):
    """Stands for a kill signal."""


class _KillAfterStep3:
    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        if phase == "train" and done == 3:
            raise Killed


@pytest.fixture
def train(finished_run, tokenizer: Artifact, synthetic: Artifact, tmp_path: Path):
    """Pre-train two steps and return the model artifact: (name, options of the loss)."""

    def run(
        name: str,
        options: dict[str, Any],
        *,
        work: str | None = None,
        num_steps: int = 2,
        patch_init: str = "random",
        **context: Any,
    ) -> Artifact:
        config = PretrainConfig(
            batch_size=8, queries_per_item=2, num_steps=num_steps, validate_every_steps=2, checkpoint_every_steps=2
        )
        pretrain(
            *(finished_run.items, finished_run.clicks, tokenizer, synthetic, tmp_path / name),
            *(MODEL.model_copy(update={"patch_init": patch_init}), LossConfig.model_validate(options), config, RUNTIME),
            StageContext("", tmp_path / (work or f"work-{name}"), **context),
        )
        return open_artifact(tmp_path / name, "model")

    return run


def _always_text(finished_run, pretrained: Artifact, tmp_path: Path) -> Artifact:
    config = GateConfig(mode="always_text")
    context = StageContext("", tmp_path / "work-gate")
    train_gate(finished_run.items, finished_run.clicks, pretrained, tmp_path / "gate", config, RUNTIME, context)
    return open_artifact(tmp_path / "gate", "gate")


def _curve(model: Artifact) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for row in model.read_table("curve").to_pylist():
        values.setdefault(row["name"], []).append(row["value"])
    return values


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_trains_and_is_logged(train, tmp_path: Path, options: dict[str, Any]) -> None:
    plain, changed = (open_model(train(name, chosen))[0] for name, chosen in (("plain", {}), ("changed", options)))
    assert not torch.equal(plain.query_tower.head.projection.weight, changed.query_tower.head.projection.weight)
    curve = _curve(open_artifact(tmp_path / "changed", "model"))
    assert all(math.isfinite(value) for values in curve.values() for value in values)
    weights = {name for name in curve if name.startswith("weight_")}
    assert weights == ({"weight_text", "weight_image", "weight_multimodal"} if "weights" in options else set())
    assert ("temperature" in curve) == ("temperature_mode" in options)
    assert changed.config.matryoshka_dims == options.get("matryoshka_dims", [])


@pytest.mark.parametrize("kind", WEIGHTS)
def test_learned_weights_are_resumed(train, kind: str) -> None:
    """Weights and temperature are part of a checkpoint: a killed run goes on with them."""
    options = {"weights": kind, "temperature_mode": "learned"}
    whole = train("whole", options, num_steps=5)
    with pytest.raises(Killed):
        train("resumed", options, num_steps=5, work="work", progress=_KillAfterStep3())
    assert train("resumed", options, num_steps=5, work="work").digest == whole.digest


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_chunks_give_the_gradient_of_the_whole_batch(
    workbench, batch, finished_run, assert_same_gradients, options: dict[str, Any]
) -> None:
    """Of the towers and of what the objective learns itself."""
    loss, data = LossConfig.model_validate(options), workbench.data
    sampler = PairSampler(data.true, data.synthetic, batch_size=8, queries_per_item=2, synthetic_share=0.5, seed=0)
    log_q_N = popularity_correction(loss, data, sampler, PretrainConfig(batch_size=8, queries_per_item=2))

    def gradients(chunk_size: int | None) -> dict[str, torch.Tensor | None]:
        model = workbench.model()
        weights = build_weights(loss, embed_dim=16, category_N=top_categories(finished_run.items))
        objective = PretrainingObjective(loss, weights, log_q_N)
        BatchGradients(workbench.encoder(model), objective, chunk_size)(batch, 0)
        return {name: p.grad for name, p in [*model.named_parameters(), *objective.named_parameters()]}

    assert_same_gradients(gradients(None), gradients(3))


@pytest.fixture
def best_at_step_5(workbench: Any, tmp_path: Path) -> Artifact:
    """A model whose best step lies between two points of the curve; from then on the temperature went elsewhere."""
    temperatures = {2: 0.03, 4: 0.04, 6: 0.05}
    curve = [point for step, value in temperatures.items() for point in ((step, "loss", 1.0), (step, "temperature", value))]
    result = TrainingResult(5, {"validation_R@50_text": 0.5}, curve, 0, 0, 0)
    config, context = PretrainConfig(num_steps=6), StageContext("", tmp_path)
    write_model_artifact(
        *(tmp_path / "best", workbench.model(), workbench.tokenizer, result),
        stage="pretrain",
        loss=LossConfig(kind="hinge", margin=0.5),
        config=config,
        context=context,
    )
    return open_artifact(tmp_path / "best", "model")


def test_temperature_that_fine_tuning_goes_on_with_is_that_of_the_kept_weights(best_at_step_5: Artifact) -> None:
    """It was the last one of the curve, 0.05, though the weights kept are those of the best step."""
    assert continue_temperature(LossConfig(temperature_mode="learned"), best_at_step_5).temperature == 0.04
    assert continue_temperature(LossConfig(), best_at_step_5).temperature == 1 / 30


def test_form_of_the_loss_is_recorded_with_the_model(best_at_step_5: Artifact) -> None:
    """PAPER.md 9 asks for it, and a model told nothing of its loss."""
    summary = best_at_step_5.read_json("training.json")
    assert LossConfig.model_validate(summary["loss"]) == LossConfig(kind="hinge", margin=0.5)
    assert summary["learned"] == {"temperature": 0.04}


def test_fine_tuning_goes_on_with_the_learned_temperature(finished_run, train, tmp_path: Path) -> None:
    options = {"temperature_mode": "learned", "popularity": "logq", "matryoshka_dims": [8]}
    pretrained = train("pretrained", options, num_steps=5)
    ended = pretrained.read_json("training.json")["learned"]["temperature"]
    assert ended != pytest.approx(1 / 30, rel=1e-2)
    loss = LossConfig.model_validate(options)
    assert continue_temperature(loss, pretrained).temperature == ended
    assert continue_temperature(LossConfig(), pretrained).temperature == 1 / 30
    config = FinetuneConfig(batch_size=4, queries_per_item=1, num_steps=2, learning_rate=1e-5)
    finetune(
        *(finished_run.items, finished_run.clicks, pretrained, _always_text(finished_run, pretrained, tmp_path)),
        *(tmp_path / "model", loss, config, RUNTIME, StageContext("", tmp_path / "work")),
    )
    finetuned = open_artifact(tmp_path / "model", "model")
    assert _curve(finetuned)["temperature"] == pytest.approx([ended] * 2, rel=1e-3)
    assert open_model(finetuned)[0].config.matryoshka_dims == [8]
    assert finetuned.read_json("training.json")["loss"] == loss.model_dump(mode="json") | {"temperature": ended}


def test_top_categories_are_numbered_by_name(finished_run) -> None:
    """Apparel five times and Home, in the order of the catalogue."""
    assert top_categories(finished_run.items).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]


def test_patch_projection_from_the_pictures(train) -> None:
    """Through the stage: two steps from either start, of which the second knows the catalogue's pictures."""
    random = open_model(train("random", {}))[0]
    started = open_model(train("pca", {}, patch_init="pca"))[0]
    distance = (random.image_tower.patch.bias - started.image_tower.patch.bias).abs().max()
    assert distance > 10 * 2 * 1e-3  # further than two steps at the rate could take it
