"""Stage ``finetune``: adaptive embedding learning on clicks, per pair P * L_m + (1 - P) * L_t (PAPER.md 11).

P is that of the pair's query or, under a gate on items, of its item.
"""

from pathlib import Path

import torch
from torch import nn

from smar_core.artifact import Artifact
from smar_core.config import FinetuneConfig, LossConfig, RuntimeConfig
from smar_core.errors import UserError
from smar_core.losses.objectives import FinetuningObjective
from smar_core.model.device import resolve_device
from smar_core.model.gate import Gate
from smar_core.model.layers import set_dropout
from smar_core.model.modeling import SmarModel
from smar_core.model.pictures import PictureStore
from smar_core.stage import StageContext
from smar_core.training.distributed import ALONE, Ranks
from smar_core.training.hard_negatives import HardNegatives
from smar_core.training.launch import Launcher, run_in_processes
from smar_core.training.loop import TrainingLoop
from smar_core.training.model_artifact import learned_figures, open_model, write_model_artifact
from smar_core.training.pairs import open_training_data, rows_by_item_id
from smar_core.training.popularity import popularity_correction
from smar_core.training.sampler import PairSampler
from smar_core.training.validation import Routing, Validator, read_validation_queries

_BATCH = 256


def finetune(
    items: Artifact,
    clicks: Artifact,
    pretrained: Artifact,
    gate: Artifact,
    output: Path,
    loss: LossConfig,
    config: FinetuneConfig,
    runtime: RuntimeConfig,
    context: StageContext,
    trainjobs: Launcher | None = None,
    ranks: Ranks | None = None,
) -> dict[str, float]:
    """Continue from the pre-trained model on clicks alone, and write the best model seen on the validation days.

    Args:
        items, clicks: Prepared data.
        pretrained: Model to start from.
        gate: P(q); it does not move.
        output: Folder of the model artifact.
        loss, config, runtime: Config sections.
        context: Work folder, parents and progress.
        trainjobs: Starts the processes where ``runtime.launcher`` is ``trainjob``; None: nobody can.
        ranks: The processes that train, of which this is one; None: they are yet to be started, as ``runtime`` says.

    Returns:
        Validation figures of the best step, and counts.

    Raises:
        UserError: Nobody to start the processes.
        DivergedError: The training went wrong, as ``StabilityWatch`` finds.
    """
    if ranks is None and runtime.launcher != "local":
        inputs = {"items": items, "clicks": clicks, "pretrained": pretrained, "gate": gate}
        sections = {"loss": loss, "config": config, "runtime": runtime}
        return run_in_processes("finetune", inputs, output, sections, context, runtime, trainjobs)
    ranks = ranks or ALONE
    torch.set_num_threads(runtime.num_threads_per_process)
    device = resolve_device(runtime)
    network, tokenizer = open_model(pretrained)
    freeze(network, config.freeze)
    if config.dropout is not None:
        set_dropout(network, config.dropout)
    loss = continue_temperature(loss, pretrained)
    header = Gate.load(gate.path)
    data = open_training_data(
        items,
        clicks,
        None,
        tokenizer,
        context.work,
        max_query_tokens=network.config.max_query_tokens,
        max_item_tokens=network.config.max_item_tokens,
        ranks=ranks,
    )
    if header.is_on_items:
        probabilities = header.item_probabilities(list(rows_by_item_id(items)))
    else:
        probabilities = header.probabilities(data.true.queries, batch_size=_BATCH, device=device)
    if config.gate_weighting == "hard":
        probabilities = (probabilities >= header.threshold).astype(float)
    queries = read_validation_queries(items, clicks, config.validation_queries)
    route = header.route(header.probabilities(queries.queries, batch_size=_BATCH, device=device))

    sampler = PairSampler.of(data, config, synthetic_share=0.0)
    network.config.matryoshka_dims = list(loss.matryoshka_dims)
    result = TrainingLoop(
        network,
        tokenizer,
        data,
        PictureStore.open(items),
        sampler,
        FinetuningObjective(
            loss,
            header.towers,
            torch.from_numpy(probabilities).float(),
            config.text_weight,
            gate_side="item" if header.is_on_items else "query",
            log_q_N=popularity_correction(loss, data, sampler, config),
        ),
        Validator(items, queries, Routing(header, route), context.progress),
        "validation_R@50_routed",
        config,
        runtime,
        context,
        HardNegatives(items, header.towers[-1], config, context) if config.hard_negatives else None,
        ranks,
    ).run()
    if not ranks.is_first:
        return {}
    return write_model_artifact(output, network, tokenizer, result, stage="finetune", loss=loss, config=config, context=context)


def continue_temperature(loss: LossConfig, pretrained: Artifact) -> LossConfig:
    """Return the loss with the temperature of the pre-training step whose weights were kept, where it is learned.

    Read off the curve, which a model that was written before ``learned`` was in the summary has too.
    """
    if loss.temperature_mode == "fixed":
        return loss
    points = [(row["step"], row["name"], row["value"]) for row in pretrained.read_table("curve").to_pylist()]
    learned = learned_figures(points, pretrained.read_json("training.json")["best_step"])
    return loss.model_copy(update={"temperature": learned.get("temperature", loss.temperature)})


def freeze(model: SmarModel, towers: tuple[str, ...]) -> None:
    """Stop the gradients of the named towers. From scratch, query and text share a token embedding, which either freezes."""
    modules: dict[str, nn.Module | None] = {
        "query": model.query_tower,
        "text": model.text_tower,
        "image": model.image_tower,
        "multimodal": model.multimodal_tower,
    }
    for tower in towers:
        module = modules[tower]
        if module is None:
            raise UserError(f"finetune.freeze names {tower}, which the model does not have", "name its towers only")
        module.requires_grad_(False)
    shared = model.query_tower.embedding
    if "text" in towers and shared is not None and model.config.text_encoder is None:
        shared.requires_grad_(False)
