from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from smar_core.evaluation.distinctiveness import CLASSES, MAX_DUPLICATE_DISTANCE, block_sums, classify_pictures

HEIGHT, WIDTH = 16, 24


@dataclass
class Shelf:
    """Pictures held in memory; None for an item without."""

    pictures: list[np.ndarray | None]

    @property
    def has_image(self) -> np.ndarray:
        return np.array([picture is not None for picture in self.pictures])

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        found = [self.pictures[row] for row in rows]
        pixels = np.stack([np.zeros((HEIGHT, WIDTH, 3), np.uint8) if p is None else p for p in found])
        return torch.from_numpy(pixels)[:, None], torch.tensor([[p is not None] for p in found])


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def classes_of(pictures: list[np.ndarray | None], titles: list[str] | None = None) -> list[str]:
    titles = titles or [f"title {place}" for place in range(len(pictures))]
    return [CLASSES[place] for place in classify_pictures(Shelf(pictures), titles, np.arange(len(pictures)))]


def test_noise_is_distinct_and_a_missing_picture_is_none() -> None:
    assert classes_of([noise(0), None, noise(1)]) == ["distinct", "none", "distinct"]


def test_equal_pictures_of_two_items_are_near_duplicates() -> None:
    assert classes_of([noise(0), noise(1), noise(0)]) == ["near_duplicate", "distinct", "near_duplicate"]


def test_stock_needs_three_titles() -> None:
    same = [noise(0)] * 3
    assert classes_of([*same, noise(1)], ["a", "b", "c", "d"]) == ["stock", "stock", "stock", "distinct"]
    assert classes_of([*same, noise(1)], ["a", "b", "a", "d"]) == ["near_duplicate"] * 3 + ["distinct"]


@pytest.mark.parametrize(("shift", "expected"), [(2, "near_duplicate"), (3, "distinct")])
def test_a_picture_is_near_up_to_two_levels(shift: int, expected: str) -> None:
    """A picture brighter by a constant differs by that constant in every block."""
    assert MAX_DUPLICATE_DISTANCE == 2
    assert classes_of([noise(0), noise(0) + np.uint8(shift)]) == [expected] * 2


def test_colour_alone_tells_pictures_apart() -> None:
    red, blue = noise(0), noise(0)[:, :, ::-1]
    assert classes_of([red, np.ascontiguousarray(blue)]) == ["distinct", "distinct"]


def test_a_plain_picture_is_blank_whatever_its_colour() -> None:
    faint = np.full((HEIGHT, WIDTH, 3), (250, 128, 3), dtype=np.uint8)
    faint[4:6] += 2
    line = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    line[3] = 0
    assert classes_of([faint, line]) == ["blank", "distinct"]


def test_blank_goes_before_stock_and_stock_before_near_duplicate() -> None:
    white = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    assert classes_of([white, white, white, noise(1)]) == ["blank"] * 3 + ["distinct"]


def test_only_wanted_items_are_answered_but_all_are_compared() -> None:
    shelf = Shelf([noise(0), noise(1), None, noise(1)])
    assert [CLASSES[c] for c in classify_pictures(shelf, list("abcd"), np.array([3, 2]))] == ["near_duplicate", "none"]
    assert len(classify_pictures(shelf, list("abcd"), np.array([], dtype=int))) == 0
    assert classify_pictures(Shelf([None, None]), list("ab"), np.array([1])).tolist() == [0]


def test_neighbours_are_those_of_the_naive_search() -> None:
    """Forty pictures at distances about the limit, against a double loop in float64."""
    rng = np.random.default_rng(4)
    base = [noise(seed) for seed in range(8)]
    pictures = [
        np.clip(base[n % 8] + rng.normal(0, rng.uniform(1, 6), (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8) for n in range(40)
    ]
    block_size = HEIGHT * WIDTH / 64
    means = block_sums(np.stack(pictures)) / block_size
    near = [
        min(np.sqrt(((means[a] - means[b]) ** 2).mean()) for b in range(40) if b != a) <= MAX_DUPLICATE_DISTANCE
        for a in range(40)
    ]
    assert 5 < sum(near) < 40
    assert [found == "near_duplicate" for found in classes_of(pictures)] == near


def test_sides_that_the_grid_does_not_divide() -> None:
    """A plain picture of 5 x 13 pixels has equal block means, so it is blank; a ramp is not."""
    plain = np.full((5, 13, 3), 77, dtype=np.uint8)
    ramp = np.broadcast_to(np.arange(13, dtype=np.uint8)[None, :, None] * 9, (5, 13, 3))
    taken = (torch.from_numpy(np.stack([plain, ramp])[:, None].copy()), torch.ones(2, 1, dtype=torch.bool))

    class Small:
        has_image = np.array([True, True])

        def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
            return taken[0][rows], taken[1][rows]

    assert [CLASSES[c] for c in classify_pictures(Small(), ["a", "b"], np.arange(2))] == ["blank", "distinct"]
