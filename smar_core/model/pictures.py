"""The catalogue's pictures, mapped into memory from the items artifact: taken by item row, never decoded.

The rows of the images table that bear one item's id are its views, in their order (``smar_core.schemas.image_schema``).
Shapes: N items of the catalogue, K pictures of all of them, n rows asked for, V views, H x W pixels.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from smar_core.artifact import Artifact, table_files


class Pictures(Protocol):
    """Pictures by item row, whatever they show."""

    @property
    def has_image(self) -> np.ndarray:
        """Whether an item has any picture, [N] bool."""

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return uint8 pictures [n, V, H, W, 3] and has_view [n, V] bool of item rows."""


@dataclass(frozen=True)
class PictureStore:
    """Pictures by item row, as the artifact has them.

    Attributes:
        has_image: [N] bool.
        width_px, height_px: Size of every picture.
        num_views: V, most pictures of an item, at least 1.
    """

    has_image: np.ndarray
    width_px: int
    height_px: int
    num_views: int
    _shards: tuple[np.ndarray, ...]  # pixels [k, H, W, 3] each
    _first_of_shard: np.ndarray  # number, of all K, of each shard's first picture
    _first_of_item: np.ndarray  # [N + 1] number of each item's first picture

    @classmethod
    def open(cls, items: Artifact) -> "PictureStore":
        """Map the pictures of an items artifact."""
        has_image = items.read_table("items", ["has_image"])["has_image"].to_numpy(zero_copy_only=False)
        shards, views, width_px, height_px = [], [], 0, 0
        for path in table_files(items.path, "images"):
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            width_px, height_px = (int(table.schema.metadata[key]) for key in (b"width_px", b"height_px"))
            views.append(_count_views(table["item_id"]))
            for chunk in table["pixels"].chunks:
                flat = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
                size = width_px * height_px * 3
                pixels = flat[chunk.offset * size : (chunk.offset + len(chunk)) * size]
                shards.append(pixels.reshape(len(chunk), height_px, width_px, 3))
        num_views_N = np.zeros(len(has_image), dtype=np.int64)
        num_views_N[has_image] = np.concatenate(views)
        first_of_shard = np.cumsum([0, *(len(shard) for shard in shards)])[:-1]
        first_of_item = np.concatenate([[0], np.cumsum(num_views_N)])
        num_views = max(1, int(num_views_N.max(initial=0)))
        return cls(has_image, width_px, height_px, num_views, tuple(shards), first_of_shard, first_of_item)

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return uint8 pictures [n, V, H, W, 3] (zeros where there is none) and has_view [n, V] bool of item rows."""
        picture_NV = self._first_of_item[rows][:, None] + np.arange(self.num_views)
        has_view_NV = picture_NV < self._first_of_item[rows + 1][:, None]
        shard_NV = np.searchsorted(self._first_of_shard, picture_NV, side="right") - 1
        pixels = np.zeros((*has_view_NV.shape, self.height_px, self.width_px, 3), dtype=np.uint8)
        for shard in np.unique(shard_NV[has_view_NV]):
            is_there_NV = has_view_NV & (shard_NV == shard)
            pixels[is_there_NV] = self._shards[shard][picture_NV[is_there_NV] - self._first_of_shard[shard]]
        return torch.from_numpy(pixels), torch.from_numpy(has_view_NV)


def no_pictures(num_items: int) -> tuple[Tensor, Tensor]:
    """Return what ``Pictures.take`` does for items without any, of pictures without a pixel: for a model that sees none."""
    return torch.zeros(num_items, 1, 0, 0, 3, dtype=torch.uint8), torch.zeros(num_items, 1, dtype=torch.bool)


def _count_views(item_ids: pa.ChunkedArray) -> np.ndarray:
    """Return the lengths of the runs of equal ids: an item is in one shard, and its views are side by side."""
    ids = item_ids.combine_chunks()
    if not len(ids):
        return np.empty(0, dtype=np.int64)
    is_first = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], 1 + np.flatnonzero(is_first)])
    return np.diff(starts, append=len(ids))
