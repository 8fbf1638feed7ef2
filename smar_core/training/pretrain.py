"""Stage ``pretrain``: alpha * L_t + beta * L_i + gamma * L_m on clicks and synthetic queries (PAPER.md 8)."""

from pathlib import Path

import torch
from torch import Tensor

from smar_core.artifact import Artifact
from smar_core.categories import category_parts
from smar_core.config import ItemTower, LossConfig, ModelConfig, PretrainConfig, RuntimeConfig
from smar_core.losses.objectives import PretrainingObjective
from smar_core.losses.weights import build_weights
from smar_core.model.building import build_for_pictures
from smar_core.model.pictures import PictureStore
from smar_core.stage import StageContext
from smar_core.training.distributed import ALONE, Ranks
from smar_core.training.hard_negatives import HardNegatives
from smar_core.training.launch import Launcher, run_in_processes
from smar_core.training.loop import TrainingLoop
from smar_core.training.model_artifact import write_model_artifact
from smar_core.training.pairs import open_training_data
from smar_core.training.popularity import popularity_correction
from smar_core.training.sampler import PairSampler
from smar_core.training.validation import Validator, read_validation_queries


def pretrain(
    items: Artifact,
    clicks: Artifact,
    tokenizer: Artifact,
    synthetic: Artifact,
    output: Path,
    model: ModelConfig,
    loss: LossConfig,
    config: PretrainConfig,
    runtime: RuntimeConfig,
    context: StageContext,
    trainjobs: Launcher | None = None,
    ranks: Ranks | None = None,
) -> dict[str, float]:
    """Train the towers from scratch (or from checkpoints) and write the best model seen on the validation days.

    Args:
        items, clicks, tokenizer, synthetic: Prepared data.
        output: Folder of the model artifact.
        model, loss, config, runtime: Config sections.
        context: Work folder, parents and progress.
        trainjobs: Starts the processes where ``runtime.launcher`` is ``trainjob``; None: nobody can.
        ranks: The processes that train, of which this is one; None: they are yet to be started, as ``runtime`` says.

    Returns:
        Validation figures of the best step, and counts.

    Raises:
        UserError: No training pair, a checkpoint that does not fit, or nobody to start the processes.
        DivergedError: The training went wrong, as ``StabilityWatch`` finds.
    """
    if ranks is None and runtime.launcher != "local":
        inputs = {"items": items, "clicks": clicks, "tokenizer": tokenizer, "synthetic": synthetic}
        sections = {"model": model, "loss": loss, "config": config, "runtime": runtime}
        return run_in_processes("pretrain", inputs, output, sections, context, runtime, trainjobs)
    ranks = ranks or ALONE
    torch.set_num_threads(runtime.num_threads_per_process)
    pictures = PictureStore.open(items)
    network, text_tokenizer = build_for_pictures(model, tokenizer.path / "tokenizer.json", pictures, config.seed)
    data = open_training_data(
        items,
        clicks,
        synthetic,
        text_tokenizer,
        context.work,
        max_query_tokens=model.max_query_tokens,
        max_item_tokens=model.max_item_tokens,
        ranks=ranks,
    )
    sampler = PairSampler.of(data, config, synthetic_share=config.synthetic_share)
    network.config.matryoshka_dims = list(loss.matryoshka_dims)
    weights = build_weights(loss, embed_dim=model.embed_dim, category_N=top_categories(items))
    tower: ItemTower = "multimodal" if loss.gamma else "text" if loss.alpha else "image"
    result = TrainingLoop(
        network,
        text_tokenizer,
        data,
        pictures,
        sampler,
        PretrainingObjective(loss, weights, popularity_correction(loss, data, sampler, config)),
        Validator(items, read_validation_queries(items, clicks, config.validation_queries), None, context.progress),
        f"validation_R@50_{tower}",
        config,
        runtime,
        context,
        HardNegatives(items, tower, config, context) if config.hard_negatives else None,
        ranks,
    ).run()
    if not ranks.is_first:
        return {}
    return write_model_artifact(
        output, network, text_tokenizer, result, stage="pretrain", loss=loss, config=config, context=context
    )


def top_categories(items: Artifact) -> Tensor:
    """Return the number of each item's top category [N], int64; categories are numbered in the order of their names."""
    names = [category_parts(category)[:1] for category in items.read_table("items", ["category"])["category"].to_pylist()]
    number = {name: place for place, name in enumerate(sorted(set(names)))}
    return torch.tensor([number[name] for name in names])
