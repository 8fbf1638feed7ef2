"""Encoding many queries or a whole catalogue with a trained model, in batches.

Shapes: Q queries, N items, D embed_dim. Batches are cut from inputs sorted by nothing: rows keep their order, and a row's
embedding depends on no other row beyond float rounding (padding is masked).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smar_core.artifact import Artifact
from smar_core.config import ItemTower
from smar_core.model.modeling import QueryTower, SmarModel
from smar_core.model.pictures import Pictures, PictureStore, no_pictures
from smar_core.model.tokens import TextTokenizer
from smar_core.progress import SILENT, Progress
from smar_core.text import item_text


@dataclass(frozen=True)
class CatalogueEmbeddings:
    """Embeddings of every item, in the items artifact's row order; float32, L2-normalised.

    Attributes:
        item_ids: N ids.
        has_image: [N] bool.
        by_tower: [N, D] of each item tower that the model has, as in ``ItemEmbeddings``.
    """

    item_ids: list[str]
    has_image: np.ndarray
    by_tower: Mapping[ItemTower, np.ndarray]


def item_texts(items: Artifact) -> list[str]:
    """Return the text of every item, in row order."""
    table = items.read_table("items", ["title", "brand", "category"])
    columns = (table[name].to_pylist() for name in ("title", "brand", "category"))
    return [item_text(*fields) for fields in zip(*columns, strict=True)]


@torch.inference_mode()
def encode_queries(
    tower: QueryTower, tokenizer: TextTokenizer, queries: Sequence[str], *, batch_size: int, device: torch.device
) -> np.ndarray:
    """Return Q(q) [Q, D] of normalised queries."""
    tower = tower.to(device).eval()
    out = np.empty((len(queries), tower.config.embed_dim), dtype=np.float32)
    for start in range(0, len(queries), batch_size):
        ids_BL, mask_BL = tokenizer.encode(queries[start : start + batch_size], tower.config.max_query_tokens)
        out[start : start + len(ids_BL)] = tower(ids_BL.to(device), mask_BL.to(device)).cpu().numpy()
    return out


@torch.inference_mode()
def encode_catalogue(
    model: SmarModel,
    tokenizer: TextTokenizer,
    items: Artifact,
    *,
    batch_size: int,
    device: torch.device,
    pictures: Pictures | None = None,
    progress: Progress = SILENT,
) -> CatalogueEmbeddings:
    """Return the embeddings of every item of the catalogue by every item tower of the model.

    Args:
        model, tokenizer: Trained.
        items: The catalogue.
        batch_size: Items encoded at a time.
        device: Where they are encoded.
        pictures: Shown in place of the catalogue's own; None for those.
        progress: Told about the items encoded.
    """
    model = model.to(device).eval()
    pictures = PictureStore.open(items) if pictures is None else pictures
    texts, num_items = item_texts(items), len(pictures.has_image)
    outs = {tower: np.empty((num_items, model.config.embed_dim), dtype=np.float32) for tower in model.item_towers}
    for start in range(0, num_items, batch_size):
        rows = np.arange(start, min(start + batch_size, num_items))
        ids_NL, mask_NL = tokenizer.encode(texts[start : start + batch_size], model.config.max_item_tokens)
        pixels, has_view = no_pictures(len(rows)) if model.image_tower is None else pictures.take(rows)
        found = model.encode_items(ids_NL.to(device), mask_NL.to(device), pixels.to(device), has_view.to(device))
        for tower, embeddings_ND in found.items():
            outs[tower][rows] = embeddings_ND.cpu().numpy()
        progress.update("encode items", int(rows[-1]) + 1, num_items)
    item_ids = items.read_table("items", ["item_id"])["item_id"].to_pylist()
    return CatalogueEmbeddings(item_ids, pictures.has_image, outs)
