"""The patch projection that starts from principal components of the catalogue's patches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smar_core.config import ModelConfig, load_config
from smar_core.errors import UserError
from smar_core.model.building import build_model
from smar_core.model.configuration import SmarConfig
from smar_core.model.modeling import SmarModel
from smar_core.model.patch_init import EXPLAINED_SHARE, start_from_components
from smar_core.model.towers import ImageTower, to_patches


@dataclass(frozen=True)
class SmoothPictures:
    """Pictures of 16 x 8 px made of few waves: smooth, as photographs are. Every fifth item has none."""

    pixels_NVHWC: Tensor
    has_view_NV: Tensor

    @classmethod
    def draw(cls, num_items: int) -> "SmoothPictures":
        rng = np.random.default_rng(0)
        y, x = np.mgrid[0:16, 0:8] / 8
        waves = np.stack([np.cos(np.pi * (a * x + b * y)) for a in range(3) for b in range(3)])
        amounts = rng.normal(size=(num_items, 9, 3)) * np.array([60, 30, 15, 30, 15, 8, 15, 8, 4])[None, :, None]
        pixels = np.clip(128 + np.einsum("nwc,whv->nhvc", amounts, waves), 0, 255).astype(np.uint8)
        has_view = np.arange(num_items) % 5 != 0
        return cls(torch.from_numpy(pixels)[:, None], torch.from_numpy(has_view)[:, None])

    @property
    def has_image(self) -> np.ndarray:
        return self.has_view_NV.any(dim=1).numpy()

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return self.pixels_NVHWC[rows], self.has_view_NV[rows]


PICTURES = SmoothPictures.draw(60)


def _tower(hidden_size: int) -> ImageTower:
    torch.manual_seed(0)
    config = SmarConfig(
        item_towers=("image",), hidden_size=hidden_size, patch_size_px=4, image_width_px=8, image_height_px=16, vocab_size=9
    )
    tower = SmarModel(config).image_tower
    assert tower is not None
    return tower


def _activations(tower: ImageTower) -> Tensor:
    """Return what the patches of all pictures become [K, E]."""
    assert tower.patch is not None
    patches = to_patches(tower.scale(PICTURES.pixels_NVHWC[PICTURES.has_view_NV]), 4).flatten(0, 1)
    with torch.no_grad():
        out: Tensor = tower.patch(patches)
    return out


def test_units_vary_as_much_as_before_but_each_for_itself() -> None:
    before, tower = _activations(_tower(48)), _tower(48)
    num_components = start_from_components(tower, PICTURES, seed=0)
    assert 3 < num_components < 48
    set_KE = _activations(tower)[:, :num_components]
    assert torch.allclose(set_KE.mean(dim=0), torch.zeros(num_components), atol=1e-4)
    covariance = set_KE.T @ set_KE / (len(set_KE) - 1)
    assert torch.allclose(covariance, before.var(dim=0).mean() * torch.eye(num_components), atol=1e-3 * covariance.max())


def test_further_units_stay_random() -> None:
    untouched, tower = _tower(48), _tower(48)
    num_components = start_from_components(tower, PICTURES, seed=0)
    assert torch.equal(tower.patch.weight[num_components:], untouched.patch.weight[num_components:])
    assert (tower.patch.bias[num_components:] == 0).all()


def test_components_explain_the_patches() -> None:
    """What the set units say is enough to draw the patches again, by least squares, but for the share that was left out."""
    tower = _tower(48)
    num_components = start_from_components(tower, PICTURES, seed=0)
    patches = to_patches(tower.scale(PICTURES.pixels_NVHWC[PICTURES.has_view_NV]), 4).flatten(0, 1)
    centred = patches - patches.mean(dim=0)
    units = _activations(tower)[:, :num_components]
    left = centred - units @ torch.linalg.lstsq(units, centred).solution
    assert 1 - float(left.var(dim=0).sum() / centred.var(dim=0).sum()) > EXPLAINED_SHARE


def test_narrow_tower_takes_the_first_components() -> None:
    wide, narrow = _tower(48), _tower(12)
    assert start_from_components(narrow, PICTURES, seed=0) == min(12, start_from_components(wide, PICTURES, seed=0))


def test_sample_is_decided_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smar_core.model.patch_init.MAX_ITEMS", 20)
    monkeypatch.setattr("smar_core.model.patch_init.MAX_PATCHES", 100)
    towers = [_tower(24) for _ in range(3)]
    for tower, seed in zip(towers, (1, 1, 2), strict=True):
        start_from_components(tower, PICTURES, seed)
    assert torch.equal(towers[0].patch.weight, towers[1].patch.weight)
    assert not torch.equal(towers[0].patch.weight, towers[2].patch.weight)


def test_nothing_to_learn_from_leaves_the_random_start() -> None:
    blank = SmoothPictures(torch.full((4, 1, 16, 8, 3), 9, dtype=torch.uint8), torch.ones(4, 1, dtype=torch.bool))
    none = SmoothPictures(torch.zeros(4, 1, 0, 0, 3, dtype=torch.uint8), torch.zeros(4, 1, dtype=torch.bool))
    for pictures in (blank, none):
        tower = _tower(24)
        assert start_from_components(tower, pictures, seed=0) == 0
        assert torch.equal(tower.patch.weight, _tower(24).patch.weight)


def test_build_model_changes_the_patch_projection_alone(finished_run) -> None:
    sizes = {"hidden_size": 24, "embed_dim": 24, "feed_forward_size": 32, "num_query_layers": 1, "patch_size_px": 4}
    tokenizer: Path = finished_run.pretrained.path / "tokenizer.json"
    place = {"image_width_px": 8, "image_height_px": 16, "num_views": 1, "seed": 3}
    random, _ = build_model(ModelConfig(**sizes), tokenizer, **place)
    started, _ = build_model(ModelConfig(**sizes, patch_init="pca"), tokenizer, **place, pictures=PICTURES)
    changed = {name for name, p in random.named_parameters() if not torch.equal(p, started.get_parameter(name))}
    assert changed == {"image_tower.patch.weight", "image_tower.patch.bias"}


@pytest.mark.parametrize("overrides", [["model.image_encoder=clip"], ["model.item_towers=[text]", "gate.mode=always_text"]])
def test_needs_an_image_tower_from_scratch(overrides: list[str]) -> None:
    with pytest.raises(UserError, match="patch_init pca starts an image tower from scratch"):
        load_config(None, ["model.patch_init=pca", "loss.beta=0", "loss.gamma=0", *overrides])
