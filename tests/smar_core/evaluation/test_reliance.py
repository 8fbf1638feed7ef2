"""Disturbed pictures, and what is made of the rankings that they give."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smar_core.config import EvaluateConfig
from smar_core.evaluation.measures import measure_names
from smar_core.evaluation.reliance import BlankPictures, ShuffledPictures, measure_reliance, share_of_gain

CONFIG = EvaluateConfig(num_bootstrap_samples=200)


@dataclass(frozen=True)
class NumberedPictures:
    """One view an item, every pixel of it the item's row."""

    has_image: np.ndarray

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        has_view_NV = torch.from_numpy(self.has_image[rows]).unsqueeze(1)
        pixels_NVHWC = torch.tensor(rows, dtype=torch.uint8).reshape(-1, 1, 1, 1, 1).expand(-1, 1, 2, 2, 3)
        return pixels_NVHWC * has_view_NV.reshape(-1, 1, 1, 1, 1), has_view_NV


@given(has_image=st.lists(st.booleans(), min_size=2, max_size=20), seed=st.integers(0, 99))
def test_shuffling_leaves_nobody_his_own_picture_and_nobody_without_stays_with_one(has_image: list[bool], seed: int) -> None:
    shuffled = ShuffledPictures.draw(NumberedPictures(np.array(has_image)), seed)
    rows = np.flatnonzero(has_image)
    assert sorted(shuffled.source_N[rows]) == rows.tolist()
    assert len(rows) == 1 or (shuffled.source_N[rows] != rows).all()
    pixels_NVHWC, has_view_NV = shuffled.take(np.arange(len(has_image)))
    assert has_view_NV[:, 0].tolist() == has_image
    assert pixels_NVHWC[rows, 0, 0, 0, 0].tolist() == shuffled.source_N[rows].tolist()


def test_blank_pictures_have_the_mean_colour_of_those_that_are_there() -> None:
    blank = BlankPictures.of_mean_colour(NumberedPictures(np.array([False, True, False, True])))
    pixels_NVHWC, has_view_NV = blank.take(np.array([3, 0]))
    assert pixels_NVHWC.shape == (2, 1, 2, 2, 3) and set(pixels_NVHWC.flatten().tolist()) == {2}  # of 1 and 3
    assert has_view_NV.tolist() == [[True], [False]]


def test_share_of_gain_is_the_loss_over_the_gain() -> None:
    text, true = np.zeros(40), np.full(40, 0.5)
    assert share_of_gain(true, np.full(40, 0.1), text, CONFIG) == {"value": 0.8, "low": 0.8, "high": 0.8}
    assert share_of_gain(text, text, text, CONFIG) is None


def test_losses_and_shares_by_kind_system_and_slice() -> None:
    def of(recall: float) -> dict[str, np.ndarray]:
        return dict.fromkeys(measure_names(CONFIG.cutoffs), np.full(4, recall))

    values = {"model": of(0.75), "multimodal": of(0.75), "text_only": of(0.25)}
    slices = {"overall": np.ones(4, dtype=bool), "fashion": np.zeros(4, dtype=bool)}
    found = measure_reliance(values, {"shuffled": {"model": of(0.5), "multimodal": of(0.0)}}, slices, CONFIG)["shuffled"]
    assert found["scores"]["model"]["overall"]["R@50"]["value"] == 0.5
    assert found["loss"]["multimodal"]["overall"]["R@50"]["value"] == 0.75
    assert found["share_of_gain_lost"]["model"] == {"overall": {"value": 0.5, "low": 0.5, "high": 0.5}}
    assert found["share_of_gain_lost"]["multimodal"]["overall"]["value"] == 1.5
    del values["text_only"]
    alone = measure_reliance(values, {"blank": {"model": of(0.5)}}, slices, CONFIG)["blank"]
    assert set(alone) == {"scores", "loss"} and alone["loss"]["model"]["overall"]["R@50"]["value"] == pytest.approx(0.25)
