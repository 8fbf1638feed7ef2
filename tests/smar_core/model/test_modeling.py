"""The towers: shapes, norms, padding, missing pictures, several views, fusions, saving."""

from pathlib import Path
from typing import Any

import pytest
import torch

from smar_core.model.configuration import SmarConfig
from smar_core.model.layers import masked_mean, set_dropout
from smar_core.model.modeling import ItemEmbeddings, QueryTower, SmarModel
from smar_core.model.towers import to_patches

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "embed_dim": 16,
    "feed_forward_size": 32,
    "num_query_layers": 2,
    "image_width_px": 16,
    "image_height_px": 24,
}
FUSIONS = ["cross_attention", "pooled", "early_concatenation"]


def _model(**values: Any) -> SmarModel:
    torch.manual_seed(0)
    return SmarModel(SmarConfig(**SIZES, **values)).eval()


@pytest.fixture
def model() -> SmarModel:
    return _model()


def _items(model: SmarModel, has_view: list[list[bool]], padding: int = 0) -> ItemEmbeddings:
    """Encode three items whose first view is always the same picture."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 50, (3, 5), generator=generator)
    pixels = torch.randint(0, 256, (len(has_view[0]), 3, 24, 16, 3), generator=generator, dtype=torch.uint8).transpose(0, 1)
    mask = torch.ones_like(ids, dtype=torch.bool)
    ids, mask = (torch.nn.functional.pad(x, (0, padding)) for x in (ids, mask))
    with torch.inference_mode():
        return model.encode_items(ids, mask, pixels, torch.tensor(has_view))


ALL = [[True], [True], [True]]


def test_embeddings_have_length_one(model: SmarModel) -> None:
    found = _items(model, ALL)
    query = model.encode_query(torch.tensor([[2, 7, 0]]), torch.tensor([[True, True, False]]))
    for embedding in (query, found["text"], found["image"], found["multimodal"]):
        assert embedding.shape[1] == 16
        assert torch.allclose(embedding.norm(dim=1), torch.ones(len(embedding)), atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_padding_changes_nothing(fusion: str) -> None:
    model = _model(fusion=fusion)
    plain, padded = _items(model, ALL), _items(model, ALL, padding=4)
    assert torch.allclose(plain["text"], padded["text"], atol=1e-6)
    assert torch.allclose(plain["multimodal"], padded["multimodal"], atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("has_image", [[True, False, True], [False, False, False]])
def test_item_without_picture_falls_back_to_text(fusion: str, has_image: list[bool]) -> None:
    found = _items(_model(fusion=fusion), [[has] for has in has_image])
    for row, has in enumerate(has_image):
        assert torch.equal(found["multimodal"][row], found["text"][row]) != has
        assert bool(found["image"][row].any()) == has


def test_picture_changes_the_multimodal_embedding_only(model: SmarModel) -> None:
    ids = torch.tensor([[2, 9]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    black, white = (torch.full((1, 1, 24, 16, 3), value, dtype=torch.uint8) for value in (0, 255))
    first, second = (model.encode_items(ids, mask, pixels, torch.tensor([[True]])) for pixels in (black, white))
    assert torch.equal(first["text"], second["text"])
    assert not torch.allclose(first["multimodal"], second["multimodal"], atol=1e-4)


def test_saved_and_loaded_is_the_same(model: SmarModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    model.query_tower.save_pretrained(tmp_path / "query")
    again = SmarModel.from_pretrained(tmp_path / "model").eval()
    tower = QueryTower.from_pretrained(tmp_path / "query").eval()
    query = torch.tensor([[2, 7, 9]]), torch.ones(1, 3, dtype=torch.bool)
    assert torch.equal(_items(model, ALL)["multimodal"], _items(again, ALL)["multimodal"])
    assert torch.equal(model.encode_query(*query), tower(*query))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_view_is_the_same_in_a_catalogue_of_several(fusion: str) -> None:
    """An item of one picture has the embeddings that it would have if every item had one."""
    single, several = _model(fusion=fusion), _model(fusion=fusion, num_views=3)
    several.load_state_dict(single.state_dict(), strict=False)
    alone, beside = _items(single, ALL), _items(several, [[True, False, False], [True, True, False], [True, True, True]])
    for tower in single.item_towers:
        assert torch.allclose(alone[tower][0], beside[tower][0], atol=1e-6)
    for tower in ("image", "multimodal"):
        assert not torch.allclose(alone[tower][1:], beside[tower][1:], atol=1e-3)


def test_views_are_told_apart() -> None:
    """The second view has an embedding of its own, so swapping two different pictures is seen."""
    model = _model(num_views=2)
    ids, has_view = torch.tensor([[2, 9]]), torch.tensor([[True, True]])
    pixels = torch.randint(0, 256, (1, 2, 24, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    first, second = (model.encode_items(ids, ids > 0, views, has_view) for views in (pixels, pixels.flip(1)))
    assert not torch.allclose(first["multimodal"], second["multimodal"], atol=1e-5)


@pytest.mark.parametrize(("towers", "missing"), [(["text"], ["image", "multimodal"]), (["image"], ["text", "multimodal"])])
def test_only_the_named_towers_are_built(towers: list[str], missing: list[str]) -> None:
    model = _model(item_towers=towers)
    assert list(_items(model, ALL)) == towers
    assert not [name for name in model.state_dict() if name.startswith(tuple(f"{tower}_tower" for tower in missing))]


def test_image_tower_alone_has_an_embedding_for_items_without_picture() -> None:
    """DPSR-i ranks every item: those without a picture share a learned embedding of length 1."""
    model = _model(item_towers=["image"])
    found = _items(model, [[True], [False], [False]])["image"]
    assert torch.equal(found[1], found[2])
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-6)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("patch_stem", ["linear", "convolution"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_weight_learns(fusion: str, patch_stem: str) -> None:
    """Each parameter gets a gradient from the three losses together: nothing in the towers is idle."""
    model = _model(fusion=fusion, patch_stem=patch_stem, num_views=2).train()
    ids = torch.tensor([[2, 9, 11], [2, 12, 0]])
    mask = ids > 0
    pixels = torch.randint(0, 256, (2, 2, 24, 16, 3), dtype=torch.uint8)
    found = model.encode_items(ids, mask, pixels, torch.tensor([[True, True], [True, False]]))
    direction = torch.randn(16)
    total = sum((embedding @ direction).sum() for embedding in (model.encode_query(ids, mask), found["text"], found["image"]))
    (total + (found["multimodal"] @ direction).sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("fusion", FUSIONS)
def test_dropout_reaches_every_tower_and_only_while_training(fusion: str) -> None:
    model = _model(fusion=fusion, dropout=0.3)
    ids, mask = torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.bool)
    assert _moves(model, ids, mask) == dict.fromkeys(("query", "text", "image", "multimodal"), False)
    assert _moves(model.train(), ids, mask) == dict.fromkeys(("query", "text", "image", "multimodal"), True)
    set_dropout(model, 0.0)
    assert _moves(model, ids, mask) == dict.fromkeys(("query", "text", "image", "multimodal"), False)


def _moves(model: SmarModel, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, bool]:
    """Return whether each tower answers the same question in two ways."""
    first, second = ({"query": model.encode_query(ids, mask), **_items(model, ALL)} for _ in range(2))
    return {tower: not torch.equal(first[tower], second[tower]) for tower in first}


def test_pixels_are_scaled_by_colour_whether_in_rows_or_patches() -> None:
    """Each is (value / 255 - mean) / std of its colour; worked out in float64, here and there to the last bits of float32."""
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    tower = _model(pixel_mean=mean, pixel_std=std, patch_size_px=8).image_tower
    assert tower is not None
    pixels_KHWC = torch.randint(0, 256, (2, 24, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = (pixels_KHWC.double() / 255 - torch.tensor(mean).double()) / torch.tensor(std).double()
    in_rows = tower.scale(pixels_KHWC.flatten(2)).view(pixels_KHWC.shape)
    torch.testing.assert_close(in_rows.double(), expected, rtol=0, atol=1e-6)
    in_patches = tower.scale(to_patches(pixels_KHWC, 8))
    torch.testing.assert_close(in_patches.double(), to_patches(expected, 8), rtol=0, atol=1e-6)


def test_masked_mean_by_hand() -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert masked_mean(x, torch.tensor([[True, True, False]])).item() == 2.0
    assert masked_mean(x, torch.tensor([[False, False, False]])).item() == 0.0
