"""How much a product's picture says about it: nothing (blank), little (stock, near-duplicate), or something (distinct).

Rules on the stored pictures, of each item's first view; the first that holds is taken:

* ``none``: the item has no picture.
* ``blank``: no colour channel has a standard deviation above ``MAX_BLANK_DEVIATION`` levels of 255.
* ``stock``: the same picture stands on ``MIN_STOCK_TITLES`` or more items of different titles. Same means equal block sums: the
  sums of red, green and blue over a grid of 8 x 8 blocks, which equal pixels always share and others hardly ever do.
* ``near_duplicate``: some other item's picture has block means that differ by at most ``MAX_DUPLICATE_DISTANCE`` levels, as the
  root of the mean square over blocks and channels.
* ``distinct``: the others.

Colour blocks were taken instead of a hash of brightness gradients: on 18,155 shop pictures, most of them a product on white, a
64-bit difference hash within 2 bits of another one held for 40 percent, sunglasses of any make and shirts of any colour among
them; block means within 2 levels hold for 2.7 percent, nearly all of them the same photograph. From about 4 levels on, pairs are
products of one kind and colour.

Cost: one pass over all pictures and a matrix product of wanted against all items: 2 s for 4,600 of 18,155 items of 48 x 64 px
on one core, growing with wanted times all. Left out: crops, mirrored pictures, and whether the pictured thing is the product.

Shapes: N items, M of them with a picture, R wanted items, F numbers of a picture's grid.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from smar_core.model.pictures import Pictures
from smar_core.retrieval.exact import MAX_SCORES_IN_MEMORY

PictureClass = Literal["none", "blank", "stock", "near_duplicate", "distinct"]
CLASSES: tuple[PictureClass, ...] = ("none", "blank", "stock", "near_duplicate", "distinct")

GRID = 8
NUM_CHANNELS = 3
MAX_BLANK_DEVIATION = 3.0
MIN_STOCK_TITLES = 3
MAX_DUPLICATE_DISTANCE = 2.0

BATCH = 1024
ROUNDING_SHARE = 1e-5
"""Share of the largest square by which a float32 product may be off; what lies that close to the limit is a candidate."""

BLOCK_DEVIATION_MARGIN = 1.0
"""Levels by which the deviation of block means may exceed that of the pixels, because blocks are not all of one size."""

Sums = NDArray[np.uint32]


def classify_pictures(pictures: Pictures, titles: Sequence[str], wanted: NDArray[np.integer]) -> NDArray[np.int8]:
    """Return the class of wanted items' pictures, as places in ``CLASSES`` [R].

    Args:
        pictures: Of the whole catalogue.
        titles: Of the whole catalogue, in the same order.
        wanted: Distinct rows of it.
    """
    with_image = np.flatnonzero(pictures.has_image)
    sums_MF, areas_F = _block_sums(pictures, with_image)
    mean_MF = sums_MF / areas_F
    shown = np.searchsorted(with_image, wanted[pictures.has_image[wanted]])
    found = np.full(len(shown), CLASSES.index("distinct"), dtype=np.int8)
    found[_has_neighbour(mean_MF, shown)] = CLASSES.index("near_duplicate")
    found[_is_stock(sums_MF, [titles[item] for item in with_image.tolist()])[shown]] = CLASSES.index("stock")
    found[_is_blank(pictures, with_image[shown], mean_MF[shown])] = CLASSES.index("blank")
    classes = np.full(len(wanted), CLASSES.index("none"), dtype=np.int8)
    classes[pictures.has_image[wanted]] = found
    return classes


def count_classes(classes: NDArray[np.int8]) -> dict[str, int]:
    """Return how many pictures are of each class.

    >>> count_classes(np.array([1, 4, 4], dtype=np.int8))
    {'none': 0, 'blank': 1, 'stock': 0, 'near_duplicate': 0, 'distinct': 2}
    """
    return {name: int((classes == place).sum()) for place, name in enumerate(CLASSES)}


def block_sums(pixels_NHWC: NDArray[np.uint8]) -> Sums:
    """Return the sums of each channel over the blocks of a grid [N, F].

    >>> block_sums(np.full((1, 8, 16, 3), 5, dtype=np.uint8))[0, :4].tolist()
    [10, 10, 10, 10]
    """
    num, height, width, _ = pixels_NHWC.shape
    flat = pixels_NHWC.reshape(num, height, width * NUM_CHANNELS)
    row_sums = np.add.reduceat(flat, _block_starts(height), axis=1, dtype=np.uint32)
    sums = np.add.reduceat(row_sums.reshape(num, GRID, width, NUM_CHANNELS), _block_starts(width), axis=2, dtype=np.uint32)
    return np.asarray(sums.reshape(num, -1))


def _block_starts(size: int) -> NDArray[np.int64]:
    """Return where the blocks of a side begin; they differ by a pixel at most, and on a side below GRID some are the same."""
    return np.arange(GRID) * size // GRID


def _block_areas(height: int, width: int) -> NDArray[np.float64]:
    """Return the pixels of each block [F], for every channel."""
    sides = [np.maximum(np.diff(_block_starts(size), append=size), 1) for size in (height, width)]
    return np.repeat(np.outer(*sides).ravel(), NUM_CHANNELS).astype(np.float64)


def _block_sums(pictures: Pictures, rows: NDArray[np.integer]) -> tuple[Sums, NDArray[np.float64]]:
    """Return the block sums of items' first views [M, F], and the pixels of each block [F]."""
    blocks, areas_F = [np.empty((0, GRID * GRID * NUM_CHANNELS), dtype=np.uint32)], np.ones(GRID * GRID * NUM_CHANNELS)
    for pixels_NHWC in _first_views(pictures, rows):
        blocks.append(block_sums(pixels_NHWC))
        areas_F = _block_areas(*pixels_NHWC.shape[1:3])
    return np.concatenate(blocks), areas_F


def _first_views(pictures: Pictures, rows: NDArray[np.integer]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(rows), BATCH):
        pixels_NVHWC, _ = pictures.take(rows[start : start + BATCH])
        yield pixels_NVHWC[:, 0].numpy()


def _is_blank(pictures: Pictures, rows: NDArray[np.integer], mean_RF: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which items' pictures are blank; only those are looked at whose block means vary little, as they must then."""
    block_deviation_RC = mean_RF.reshape(len(rows), GRID * GRID, NUM_CHANNELS).std(axis=1)
    is_blank = (block_deviation_RC <= MAX_BLANK_DEVIATION + BLOCK_DEVIATION_MARGIN).all(axis=1)
    candidates = np.flatnonzero(is_blank)
    deviations = [
        pixels_NHWC.reshape(len(pixels_NHWC), -1, NUM_CHANNELS).std(axis=1)
        for pixels_NHWC in _first_views(pictures, rows[candidates])
    ]
    if deviations:
        is_blank[candidates] = (np.concatenate(deviations) <= MAX_BLANK_DEVIATION).all(axis=1)
    return is_blank


def _is_stock(sums_MF: Sums, titles: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which items' picture is on items of several titles [M]."""
    _, picture_M = np.unique(sums_MF, axis=0, return_inverse=True)
    titles_of: dict[int, set[str]] = {}
    for title, picture in zip(titles, picture_M.ravel().tolist(), strict=True):
        titles_of.setdefault(picture, set()).add(title)
    return np.array([len(titles_of[picture]) >= MIN_STOCK_TITLES for picture in picture_M.ravel().tolist()], dtype=bool)


def _has_neighbour(mean_MF: NDArray[np.float64], wanted: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Tell which wanted pictures have another one within ``MAX_DUPLICATE_DISTANCE`` [R].

    Twice a product of centred means is the sum of both squares less the squared distance. A float32 product finds the
    candidates; its rounding decides nothing, since they are compared again in float64.
    """
    limit = mean_MF.shape[1] * MAX_DUPLICATE_DISTANCE**2
    centred_MF = (mean_MF - mean_MF.mean(axis=0) if len(mean_MF) else mean_MF).astype(np.float32)
    half_square_M = (centred_MF**2).sum(axis=1) / 2
    margin = ROUNDING_SHARE * float(half_square_M.max(initial=0.0))
    found = np.zeros(len(wanted), dtype=bool)
    block = max(1, min(BATCH // 4, MAX_SCORES_IN_MEMORY // max(1, len(mean_MF))))
    for start in range(0, len(wanted), block):
        pictures = wanted[start : start + block]
        closeness_RM = centred_MF[pictures] @ centred_MF.T
        closeness_RM -= half_square_M
        closeness_RM[np.arange(len(pictures)), pictures] = -np.inf
        is_near_RM = closeness_RM >= (half_square_M[pictures] - limit / 2 - margin)[:, None]
        for place in np.flatnonzero(is_near_RM.any(axis=1)):
            near = np.flatnonzero(is_near_RM[place])
            found[start + place] = (((mean_MF[near] - mean_MF[pictures[place]]) ** 2).sum(axis=1) <= limit).any()
    return found
