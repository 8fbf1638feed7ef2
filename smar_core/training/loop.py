"""The training loop of both stages: draw a batch, encode each item once, step, look at the validation days, checkpoint.

The stages differ in their objective and their batches only. Every step seeds torch from (seed, step), so that a resumed run
takes the very steps of an uninterrupted one.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smar_core.config import OptimiserConfig, RuntimeConfig
from smar_core.losses.objectives import Objective
from smar_core.model.device import resolve_device
from smar_core.model.modeling import SmarModel
from smar_core.model.pictures import PictureStore
from smar_core.model.tokens import TextTokenizer
from smar_core.stage import StageContext
from smar_core.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
)
from smar_core.training.distributed import ALONE, Ranks
from smar_core.training.encoder import BatchEncoder
from smar_core.training.gradients import BatchGradients
from smar_core.training.hard_negatives import HardNegatives
from smar_core.training.pairs import TrainingData
from smar_core.training.sampler import Batch, PairSampler
from smar_core.training.stability import StabilityWatch
from smar_core.training.validation import Validator

_POINTS_A_CURVE = 200


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training leaves; the model holds the best weights.

    Attributes:
        best_step: Step of the best look at the validation days.
        best_figures: Figures of that look.
        curve: (step, name, value).
        num_true_pairs, num_synthetic_pairs: Pairs trained on, repeats counted.
        num_distinct_synthetic_pairs_seen: Different synthetic pairs among them.
    """

    best_step: int
    best_figures: dict[str, float]
    curve: list[tuple[int, str, float]]
    num_true_pairs: int
    num_synthetic_pairs: int
    num_distinct_synthetic_pairs_seen: int


class TrainingLoop:
    """Trains a model in place.

    Args:
        model: Its parameters that require gradients move.
        tokenizer: For the looks at the validation days.
        data: Pairs and tokens.
        pictures: The catalogue's pictures.
        sampler: Draws the batches.
        objective: The stage's loss; parameters of its own are trained too.
        validator: Computes the figures; the best checkpoint is the one of highest ``criterion``.
        criterion: Name of the figure to maximise.
        config: Steps, rates and intervals.
        runtime: Device, precision.
        context: Work folder for checkpoints, and progress.
        hard_negatives: Where a batch's hard negatives come from; None: it has none.
        ranks: The processes that train together; the first one alone validates, logs and saves.
    """

    def __init__(
        self,
        model: SmarModel,
        tokenizer: TextTokenizer,
        data: TrainingData,
        pictures: PictureStore,
        sampler: PairSampler,
        objective: Objective,
        validator: Validator,
        criterion: str,
        config: OptimiserConfig,
        runtime: RuntimeConfig,
        context: StageContext,
        hard_negatives: HardNegatives | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self._device = resolve_device(runtime)
        self._model = model.to(self._device)
        self._objective = objective.to(self._device)
        self._trained = nn.ModuleDict({"model": self._model, "objective": self._objective})
        self._tokenizer, self._sampler, self._validator, self._ranks = tokenizer, sampler, validator, ranks
        self._criterion, self._config, self._context = criterion, config, context
        self._hard_negatives = hard_negatives
        self._encoder = BatchEncoder(self._model, tokenizer, data, pictures, runtime, self._device)
        self._gradients = BatchGradients(self._encoder, self._objective, config.chunk_size, ranks)
        self._watch = StabilityWatch(config)
        self._optimiser = build_optimiser(self._trained, config)
        self._towers = [p for p in self._model.parameters() if p.requires_grad]
        self._learned = list(self._objective.parameters())
        self._step = 0
        self._best_step = 0
        self._best_figures: dict[str, float] = {}
        self._best_weights = _copy_weights(model)
        self._curve: list[tuple[int, str, float]] = []

    def run(self) -> TrainingResult:
        """Train to the last step, from the newest checkpoint of the work folder if there is one.

        Raises:
            DivergedError: As ``StabilityWatch`` finds.
        """
        self._resume()
        if self._step == 0:
            self._look()
        started, first_step = time.monotonic(), self._step
        while self._step < self._config.num_steps:
            figures = self._train_step()
            rate = (self._step - first_step) * self._config.batch_size / (time.monotonic() - started)
            self._context.progress.update("train", self._step, self._config.num_steps, pairs_per_second=rate, **figures)
            is_last = self._step == self._config.num_steps
            if is_last or self._step % max(1, self._config.num_steps // _POINTS_A_CURVE) == 0:
                self._log({**figures, "grad_norm": self._watch.take_largest_norm()})
            if is_last or self._step % self._config.validate_every_steps == 0:
                self._look()
            if not is_last and self._step % self._config.checkpoint_every_steps == 0:
                self._save()
        self._model.load_state_dict(self._best_weights)
        return TrainingResult(
            self._best_step,
            self._best_figures,
            self._curve,
            self._step * self._sampler.num_true_a_batch,
            self._step * self._sampler.num_synthetic_a_batch,
            self._sampler.num_distinct_synthetic_seen,
        )

    def _train_step(self) -> dict[str, float]:
        learning_rate = self._config.learning_rate * rate_factor(self._step, self._config.num_steps, self._config.warmup_share)
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        batch = self._draw()
        self._model.train()
        self._optimiser.zero_grad(set_to_none=True)
        loss, parts = self._gradients(batch, self._config.seed * 1_000_003 + self._step)
        figures = {"loss": float(loss), **{name: float(value) for name, value in parts.items()}}
        self._watch.check_loss(self._step + 1, figures, learning_rate)
        if self._learned:  # apart, so that a steep learned temperature or weight does not scale down the step of the towers
            nn.utils.clip_grad_norm_(self._learned, self._config.max_grad_norm)
        norm = float(nn.utils.clip_grad_norm_(self._towers, self._config.max_grad_norm))
        self._watch.check_gradient(self._step + 1, norm, figures, learning_rate)
        self._optimiser.step()
        self._step += 1
        return {**figures, "learning_rate": learning_rate, "grad_norm": norm}

    def _draw(self) -> Batch:
        """Return the step's batch, with its hard negatives."""
        if self._hard_negatives is None:
            return self._sampler.draw()
        self._hard_negatives.get_ready(self._step, self._sampler, self._encoder, self._tokenizer, self._ranks)
        return self._hard_negatives.join(self._sampler.draw(), self._step)

    def _look(self) -> None:
        """Compute the validation figures and keep the weights if they are the best; a tie goes to the later step."""
        if not self._ranks.is_first:
            return
        figures = self._validator.figures(self._model, self._tokenizer, self._device)
        self._log(figures)
        if figures.get(self._criterion, 0.0) >= self._best_figures.get(self._criterion, 0.0):
            self._best_step, self._best_figures = self._step, figures
            self._best_weights = _copy_weights(self._model)

    def _log(self, figures: dict[str, float]) -> None:
        self._curve += [(self._step, name, value) for name, value in figures.items()]

    def _save(self) -> None:
        if not self._ranks.is_first:
            return
        sampler, num_taken_of_item = self._sampler.state()
        save_checkpoint(
            self._context.work,
            TrainingState(
                self._step,
                self._trained.state_dict(),
                optimiser_tensors(self._optimiser),
                self._best_step,
                self._best_weights,
                self._best_figures,
                sampler,
                torch.from_numpy(num_taken_of_item),
                self._curve,
                self._watch.state(),
            ),
        )
        if self._hard_negatives is not None:
            self._hard_negatives.forget_before(self._step)

    def _resume(self) -> None:
        state = load_checkpoint(self._context.work)
        if state is None:
            return
        self._step, self._curve = state.step, state.curve
        self._best_step, self._best_figures, self._best_weights = state.best_step, state.best_figures, state.best_weights
        self._trained.load_state_dict(state.weights)
        restore_optimiser(self._optimiser, state.optimiser)
        self._watch.restore(state.stability)
        self._sampler.restore(state.sampler, state.num_taken_of_item.numpy())


def build_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """Return AdamW over the parameters that require gradients; biases, norms and other vectors do not decay."""
    moving = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in moving if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in moving if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)


def rate_factor(step: int, num_steps: int, warmup_share: float) -> float:
    """Return the share of the learning rate at a step: linear warm-up, then a cosine to 0.

    >>> [round(rate_factor(step, 100, 0.1), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    num_warmup = max(1, round(num_steps * warmup_share))
    if step < num_warmup:
        return (step + 1) / num_warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))


def _copy_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
