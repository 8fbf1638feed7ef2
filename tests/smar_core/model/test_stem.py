"""Patch embeddings by convolutions: in the order of the linear ones, of one picture alone, and part of the model."""

from pathlib import Path

import pytest
import torch

from smar_core.config import load_config
from smar_core.errors import UserError
from smar_core.model.configuration import SmarConfig
from smar_core.model.modeling import SmarModel
from smar_core.model.stem import ConvolutionalStem

SIZES = {"vocab_size": 50, "hidden_size": 24, "embed_dim": 16, "feed_forward_size": 32, "patch_stem": "convolution"}


@pytest.mark.parametrize("patch_size_px", [2, 4, 8, 16])
def test_patches_come_in_rows_from_the_top_left(patch_size_px: int) -> None:
    """Without norms, painting a patch over changes its own embedding and those right of it and below, which see it."""
    torch.manual_seed(0)
    stem = ConvolutionalStem(patch_size_px, 24)
    for place, layer in enumerate(stem.layers):
        if isinstance(layer, torch.nn.GroupNorm):
            stem.layers[place] = torch.nn.Identity()
    height, width = 4, 3
    picture = torch.rand(1, 3, height * patch_size_px, width * patch_size_px)
    before = stem(picture)
    assert before.shape == (1, height * width, 24)
    for row, column in ((0, 2), (2, 1), (3, 0)):
        painted = picture.clone()
        rows, columns = (slice(n * patch_size_px, (n + 1) * patch_size_px) for n in (row, column))
        painted[:, :, rows, columns] = 5.0
        changed = {divmod(int(place), width) for place in (stem(painted) != before).any(dim=2)[0].nonzero()}
        assert changed == {(r, c) for r in (row, row + 1) for c in (column, column + 1) if r < height and c < width}


def test_a_picture_is_encoded_alike_whatever_is_beside_it() -> None:
    torch.manual_seed(0)
    tower = SmarModel(SmarConfig(**SIZES)).eval().image_tower
    assert tower is not None
    pixels = torch.randint(0, 256, (3, 1, 64, 48, 3), dtype=torch.uint8)
    has_view = torch.ones(3, 1, dtype=torch.bool)
    together = tower(pixels, has_view)[2]
    alone = torch.cat([tower(pixels[n : n + 1], has_view[:1])[2] for n in range(3)])
    torch.testing.assert_close(together, alone)


def test_the_stem_is_saved_with_the_model_and_models_from_before_have_none(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SmarModel(SmarConfig(**SIZES))
    model.save_pretrained(tmp_path)
    loaded = SmarModel.from_pretrained(tmp_path)
    assert loaded.image_tower is not None and isinstance(loaded.image_tower.patch, ConvolutionalStem)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert SmarConfig().patch_stem == "linear"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.patch_init=pca"], "patch_init pca starts a linear map and patch_stem is convolution"),
        (["model.patch_size_px=24", "prepare.image_height_px=72"], "patch_size_px is 24; set it to 2, 4, 8, 16 or 32"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(None, ["model.patch_stem=convolution", *overrides])
    assert message in str(caught.value)
