"""Titles and pictures of products by catalogue row, for the report."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from smar_core.artifact import Artifact
from smar_core.model.pictures import PictureStore
from smar_core.retrieval.bundle import id_order

JPEG_QUALITY = 85


class Shelf:
    """The catalogue in the order of the item ids, which is that of the bundle's rows."""

    def __init__(self, items: Artifact) -> None:
        self._table = items.read_table("items", ["item_id", "title", "brand", "category"])
        self._order = id_order(self._table["item_id"].to_pylist())
        self._pictures = PictureStore.open(items)

    def take(self, rows: NDArray[np.integer]) -> list[dict[str, Any]]:
        """Return item_id, title, brand, category and picture (the first view as JPEG, or None) of catalogue rows."""
        stored = self._order[rows]
        pixels_RVHWC, has_view_RV = self._pictures.take(stored)
        return [
            record | {"picture": encode_jpeg(pixels_RVHWC[place, 0].numpy()) if has_view_RV[place, 0] else None}
            for place, record in enumerate(self._table.take(pa.array(stored)).to_pylist())
        ]


def encode_jpeg(pixels_HWC: np.ndarray) -> bytes:
    """Return an RGB picture, uint8 [H, W, 3], as JPEG."""
    out = io.BytesIO()
    Image.fromarray(pixels_HWC).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()
