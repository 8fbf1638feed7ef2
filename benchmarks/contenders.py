"""The programs that ``rivals`` compares, each as a function that works until it is told to stop, calling back after each step.

Ours are the real stages. The others get towers of the same sizes, batches by the same sampler, of which they too encode each
item once, token ids made beforehand and cut to the longest of the batch as ours are, and a bare loop (forward, their own loss,
backward, clipped gradients, fused AdamW): nothing of their trainers or loaders, which would cost them more.
Not equal, to our cost: ours draws false negatives out, logs, and seeds every step. To theirs: a picture is encoded where an item
has none, too; BERT has a norm after the embeddings' sum and none at the end, and the Router's two sides have a table of token
embeddings each where ours share one; CLIP has a class token beside its patches, causal text and, in open_clip, a loss in both
directions over texts that always fill its context. Theirs computes on padding; ours does not, which is most of the difference.
"""

import importlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.stages import Job, measure_pretrain
from smar_core.model.building import build_for_pictures
from smar_core.model.encoding import encode_catalogue, item_texts
from smar_core.model.pictures import PictureStore
from smar_core.model.tokens import TextTokenizer
from smar_core.training.pairs import open_training_data
from smar_core.training.sampler import PairSampler

StepDone = Callable[[], None]
Contender = Callable[[Job, StepDone], None]


@dataclass(frozen=True)
class _Batch:
    """A batch as the others take it: B queries, N distinct items.

    Attributes:
        query_ids_BL, query_mask_BL, item_ids_NL, item_mask_NL: Tokens.
        pixels_NCHW: Pictures scaled to -1..1, None when they are not wanted.
        positive_B: Place of each query's item among the items.
    """

    query_ids_BL: Tensor
    query_mask_BL: Tensor
    item_ids_NL: Tensor
    item_mask_NL: Tensor
    pixels_NCHW: Tensor | None
    positive_B: Tensor


class _StepsOf:
    """Progress of one of our stages that reports the steps of a phase."""

    def __init__(self, phase: str, step_done: StepDone) -> None:
        self._phase, self._step_done = phase, step_done

    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        if phase == self._phase:
            self._step_done()


def smar_training(job: Job, step_done: StepDone) -> None:
    """Our pre-training, of whatever variant the job's config is."""
    measure_pretrain(job, _StepsOf("train", step_done))


def smar_export(job: Job, step_done: StepDone) -> None:
    """Our encoding of the catalogue, from the items artifact to arrays."""
    config, items = job.config, job.artifact("items")
    pictures = PictureStore.open(items)
    model, tokenizer = build_for_pictures(config.model, job.artifact("tokenizer").path / "tokenizer.json", pictures, seed=0)
    while True:
        encode_catalogue(model, tokenizer, items, batch_size=config.export.batch_size, device=torch.device("cpu"))
        step_done()


def sentence_transformers_training(job: Job, step_done: StepDone) -> None:
    """A Router of two BERTs, one a side, under MultipleNegativesRankingLoss."""
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = _router(job)
    loss = MultipleNegativesRankingLoss(model, scale=1 / job.config.loss.temperature)

    def encode(task: str, ids_NL: Tensor, mask_NL: Tensor) -> Tensor:
        found: Tensor = model({"input_ids": ids_NL, "attention_mask": mask_NL.long()}, task=task)["sentence_embedding"]
        return found

    def loss_of(batch: _Batch) -> Tensor:
        query_BD = encode("query", batch.query_ids_BL, batch.query_mask_BL)
        item_ND = encode("document", batch.item_ids_NL, batch.item_mask_NL)
        value: Tensor = loss.compute_loss_from_embeddings([query_BD, item_ND[batch.positive_B]], None)
        return value

    _train(job, model, loss_of, step_done, with_pictures=False)


def sentence_transformers_export(job: Job, step_done: StepDone) -> None:
    """``encode_document`` of every item's text."""
    model, texts = _router(job), item_texts(job.artifact("items"))
    while True:
        model.encode_document(texts, batch_size=job.config.export.batch_size, show_progress_bar=False)
        step_done()


def clip_training(job: Job, step_done: StepDone) -> None:
    """CLIP of transformers, which is what sentence-transformers trains, under its MultipleNegativesRankingLoss."""
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = _clip(job)
    loss = MultipleNegativesRankingLoss(model, scale=1 / job.config.loss.temperature)

    def loss_of(batch: _Batch) -> Tensor:
        query_BD = model.get_text_features(input_ids=batch.query_ids_BL, attention_mask=batch.query_mask_BL).pooler_output
        item_ND = model.get_image_features(pixel_values=batch.pixels_NCHW).pooler_output
        value: Tensor = loss.compute_loss_from_embeddings([query_BD, item_ND[batch.positive_B]], None)
        return value

    _train(job, model, loss_of, step_done, with_pictures=True)


def clip_export(job: Job, step_done: StepDone) -> None:
    """Image features of every item's picture."""
    model = _clip(job).eval()
    _export_pictures(job, lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output, step_done)


def open_clip_training(job: Job, step_done: StepDone) -> None:
    """open_clip's CLIP under its ClipLoss."""
    model, loss = _open_clip(job)
    scale = torch.tensor(1 / job.config.loss.temperature)
    max_tokens = job.config.model.max_query_tokens

    def loss_of(batch: _Batch) -> Tensor:
        ids_BL = nn.functional.pad(batch.query_ids_BL, (0, max_tokens - batch.query_ids_BL.shape[1]))
        query_BD = model.encode_text(ids_BL, normalize=True)
        item_ND = model.encode_image(batch.pixels_NCHW, normalize=True)
        value: Tensor = loss(item_ND[batch.positive_B], query_BD, scale)
        return value

    _train(job, model, loss_of, step_done, with_pictures=True)


def open_clip_export(job: Job, step_done: StepDone) -> None:
    """Image features of every item's picture."""
    model = _open_clip(job)[0].eval()
    _export_pictures(job, lambda pixels: model.encode_image(pixels, normalize=True), step_done)


def _router(job: Job) -> Any:
    """Return a SentenceTransformer whose two sides have the sizes of our query and text tower."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Router, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    model, folder = job.config.model, job.folder
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(job.artifact("tokenizer").path / "tokenizer.json"), pad_token="[PAD]", cls_token="[CLS]"
    )
    sides = {}
    for side, num_layers, max_tokens in (
        ("query", model.num_query_layers, model.max_query_tokens),
        ("document", model.num_text_layers, model.max_item_tokens),
    ):
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=model.hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=model.num_heads,
            intermediate_size=model.feed_forward_size,
            hidden_dropout_prob=model.dropout,
            attention_probs_dropout_prob=model.dropout,
            max_position_embeddings=max_tokens,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(folder / side)
        tokenizer.save_pretrained(folder / side)
        tower = Transformer(str(folder / side), max_seq_length=max_tokens, model_kwargs={"add_pooling_layer": False})
        sides[side] = [tower, Pooling(model.hidden_size), Normalize()]
    return SentenceTransformer(modules=[Router.for_query_document(sides["query"], sides["document"])], device="cpu")


def _vocab_size(job: Job) -> int:
    """Return the tokens that there are, which may be fewer than ``prepare.vocab_size`` allows."""
    return TextTokenizer.load(job.artifact("tokenizer").path / "tokenizer.json").vocab_size


def _clip(job: Job) -> Any:
    from transformers import CLIPConfig, CLIPModel

    model, pictures = job.config.model, PictureStore.open(job.artifact("items"))
    sizes = {
        "hidden_size": model.hidden_size,
        "intermediate_size": model.feed_forward_size,
        "num_attention_heads": model.num_heads,
        "attention_dropout": model.dropout,
        "hidden_act": "gelu",
        "projection_dim": model.embed_dim,
    }
    text = sizes | {
        "num_hidden_layers": model.num_query_layers,
        "vocab_size": _vocab_size(job),
        "max_position_embeddings": model.max_query_tokens,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = sizes | {
        "num_hidden_layers": model.num_image_layers,
        "image_size": pictures.width_px,
        "patch_size": model.patch_size_px,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=model.embed_dim))


def _open_clip(job: Job) -> tuple[Any, Any]:
    """Return open_clip's model and loss."""
    _import_torchvision()
    import open_clip

    model, pictures = job.config.model, PictureStore.open(job.artifact("items"))
    ratio, head_size = model.feed_forward_size / model.hidden_size, model.hidden_size // model.num_heads
    vision = {
        "layers": model.num_image_layers,
        "width": model.hidden_size,
        "head_width": head_size,
        "mlp_ratio": ratio,
        "patch_size": model.patch_size_px,
        "image_size": (pictures.height_px, pictures.width_px),
    }
    text = {
        "context_length": model.max_query_tokens,
        "vocab_size": _vocab_size(job),
        "width": model.hidden_size,
        "heads": model.num_heads,
        "layers": model.num_query_layers,
        "mlp_ratio": ratio,
    }
    return open_clip.CLIP(embed_dim=model.embed_dim, vision_cfg=vision, text_cfg=text), open_clip.ClipLoss()


def _import_torchvision() -> None:
    """Import torchvision, which open_clip needs, even where its compiled operators do not fit this build of torch.

    It looks two of them up when it is imported; open_clip uses none.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


_KEPT: list[torch.library.Library] = []
"""A declaration ends with the object that made it."""


def _train(job: Job, model: nn.Module, loss_of: Callable[[_Batch], Tensor], step_done: StepDone, *, with_pictures: bool) -> None:
    config = job.config.pretrain
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, fused=True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    model.train()
    for batch in _batches(job, with_pictures):
        optimiser.zero_grad(set_to_none=True)
        loss_of(batch).backward()
        nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimiser.step()
        step_done()


def _batches(job: Job, with_pictures: bool) -> Iterator[_Batch]:
    """Draw what our sampler draws."""
    model, config, items = job.config.model, job.config.pretrain, job.artifact("items")
    pictures = PictureStore.open(items)
    tokenizer = TextTokenizer.load(job.artifact("tokenizer").path / "tokenizer.json")
    data = open_training_data(
        items,
        job.artifact("clicks"),
        job.artifact("synthetic"),
        tokenizer,
        job.folder / "work",
        max_query_tokens=model.max_query_tokens,
        max_item_tokens=model.max_item_tokens,
    )
    sampler = PairSampler.of(data, config, synthetic_share=config.synthetic_share)
    for _ in itertools.count():
        batch = sampler.draw()
        query_ids = np.concatenate([data.true_ids[batch.true_query], data.synthetic_ids[batch.synthetic_query]])
        pixels = _scaled(pictures.take(batch.item)[0]) if with_pictures else None
        query, item = tokenizer.trim(query_ids), tokenizer.trim(data.item_ids[batch.item])
        yield _Batch(*query, *item, pixels, torch.from_numpy(batch.positive))


def _scaled(pixels_NVHWC: Tensor) -> Tensor:
    """Return the first views as float [N, 3, H, W]."""
    return (pixels_NVHWC[:, 0].permute(0, 3, 1, 2).float() / 127.5 - 1.0).contiguous()


@torch.inference_mode()
def _export_pictures(job: Job, encode: Callable[[Tensor], Tensor], step_done: StepDone) -> None:
    pictures, batch_size = PictureStore.open(job.artifact("items")), job.config.export.batch_size
    num_items = len(pictures.has_image)
    while True:
        for start in range(0, num_items, batch_size):
            rows = np.arange(start, min(start + batch_size, num_items))
            nn.functional.normalize(encode(_scaled(pictures.take(rows)[0])), dim=-1).numpy()
        step_done()
