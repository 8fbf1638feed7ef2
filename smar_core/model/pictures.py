"""The catalogue's pictures, mapped into memory from the items artifact: taken by item row, never decoded."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from smar_core.artifact import Artifact, table_files


class Pictures(Protocol):
    """What items can be encoded with: the catalogue's pictures, or others in their place (``evaluation.reliance``)."""

    @property
    def has_image(self) -> np.ndarray:
        """[N] bool."""

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return pixels [n, V, H, W, 3] and has_view [n, V] of item rows, as ``PictureStore.take``."""


@dataclass(frozen=True)
class PictureStore:
    """Pictures by item row.

    Attributes:
        has_image: [N] bool.
        width_px, height_px: Size of every picture.
        num_views: V, most pictures of an item.
    """

    has_image: np.ndarray
    width_px: int
    height_px: int
    num_views: int
    _shards: tuple[np.ndarray, ...]
    _shard_of_item: np.ndarray
    _row_in_shard: np.ndarray

    @classmethod
    def open(cls, items: Artifact) -> "PictureStore":
        """Map the pictures of an items artifact."""
        has_image = items.read_table("items", ["has_image"])["has_image"].to_numpy(zero_copy_only=False)
        shards, width_px, height_px = [], 0, 0
        for path in table_files(items.path, "images"):
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            width_px, height_px = (int(table.schema.metadata[key]) for key in (b"width_px", b"height_px"))
            for chunk in table["pixels"].chunks:
                flat = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
                size = width_px * height_px * 3
                pixels = flat[chunk.offset * size : (chunk.offset + len(chunk)) * size]
                shards.append(pixels.reshape(len(chunk), height_px, width_px, 3))
        lengths = [len(shard) for shard in shards]
        shard_of_picture = np.repeat(np.arange(len(shards)), lengths)
        row_of_picture = np.concatenate([np.arange(n) for n in lengths]) if lengths else np.empty(0, dtype=np.int64)
        shard_of_item = np.full(len(has_image), -1)
        row_in_shard = np.zeros(len(has_image), dtype=np.int64)
        shard_of_item[has_image] = shard_of_picture
        row_in_shard[has_image] = row_of_picture
        return cls(has_image, width_px, height_px, 1, tuple(shards), shard_of_item, row_in_shard)

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return uint8 pictures [n, V, H, W, 3] (zeros where there is none) and has_view [n, V] bool of item rows."""
        pixels = np.zeros((len(rows), self.height_px, self.width_px, 3), dtype=np.uint8)
        shard_of_row = self._shard_of_item[rows]
        for shard in np.unique(shard_of_row[shard_of_row >= 0]):
            places = np.flatnonzero(shard_of_row == shard)
            pixels[places] = self._shards[shard][self._row_in_shard[rows[places]]]
        return torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(self.has_image[rows]).unsqueeze(1)
