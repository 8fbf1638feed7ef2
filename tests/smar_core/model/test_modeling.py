"""The towers: shapes, norms, padding, missing pictures, saving."""

from pathlib import Path

import pytest
import torch

from smar_core.model.configuration import SmarConfig
from smar_core.model.layers import masked_mean
from smar_core.model.modeling import ItemEmbeddings, QueryTower, SmarModel

CONFIG = SmarConfig(
    vocab_size=50, hidden_size=24, embed_dim=16, feed_forward_size=32, num_query_layers=2, image_width_px=16, image_height_px=24
)


@pytest.fixture
def model() -> SmarModel:
    torch.manual_seed(0)
    return SmarModel(CONFIG).eval()


def _items(model: SmarModel, has_image: list[bool], padding: int = 0) -> ItemEmbeddings:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 50, (3, 5), generator=generator)
    pixels = torch.randint(0, 256, (3, 24, 16, 3), generator=generator, dtype=torch.uint8)
    mask = torch.ones_like(ids, dtype=torch.bool)
    ids, mask = (torch.nn.functional.pad(x, (0, padding)) for x in (ids, mask))
    with torch.inference_mode():
        return model.encode_items(ids, mask, pixels, torch.tensor(has_image))


def test_embeddings_have_length_one(model: SmarModel) -> None:
    found = _items(model, [True, True, True])
    query = model.encode_query(torch.tensor([[2, 7, 0]]), torch.tensor([[True, True, False]]))
    for embedding in (query, found.text_ND, found.image_ND, found.multimodal_ND):
        assert embedding.shape[1] == 16
        assert torch.allclose(embedding.norm(dim=1), torch.ones(len(embedding)), atol=1e-6)


def test_padding_changes_nothing(model: SmarModel) -> None:
    plain, padded = _items(model, [True] * 3), _items(model, [True] * 3, padding=4)
    assert torch.allclose(plain.text_ND, padded.text_ND, atol=1e-6)
    assert torch.allclose(plain.multimodal_ND, padded.multimodal_ND, atol=1e-6)


@pytest.mark.parametrize("has_image", [[True, False, True], [False, False, False]])
def test_item_without_picture_falls_back_to_text(model: SmarModel, has_image: list[bool]) -> None:
    found = _items(model, has_image)
    for row, has in enumerate(has_image):
        assert torch.equal(found.multimodal_ND[row], found.text_ND[row]) != has
        assert bool(found.image_ND[row].any()) == has


def test_picture_changes_the_multimodal_embedding_only(model: SmarModel) -> None:
    ids = torch.tensor([[2, 9]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    black, white = (torch.full((1, 24, 16, 3), value, dtype=torch.uint8) for value in (0, 255))
    first, second = (model.encode_items(ids, mask, pixels, torch.tensor([True])) for pixels in (black, white))
    assert torch.equal(first.text_ND, second.text_ND)
    assert not torch.allclose(first.multimodal_ND, second.multimodal_ND, atol=1e-4)


def test_saved_and_loaded_is_the_same(model: SmarModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    model.query_tower.save_pretrained(tmp_path / "query")
    again = SmarModel.from_pretrained(tmp_path / "model").eval()
    tower = QueryTower.from_pretrained(tmp_path / "query").eval()
    query = torch.tensor([[2, 7, 9]]), torch.ones(1, 3, dtype=torch.bool)
    assert torch.equal(_items(model, [True] * 3).multimodal_ND, _items(again, [True] * 3).multimodal_ND)
    assert torch.equal(model.encode_query(*query), tower(*query))


def test_every_weight_learns(model: SmarModel) -> None:
    """Each parameter gets a gradient from the three losses together: nothing in the towers is idle."""
    model.train()
    ids = torch.tensor([[2, 9, 11], [2, 12, 0]])
    mask = ids > 0
    found = model.encode_items(ids, mask, torch.randint(0, 256, (2, 24, 16, 3), dtype=torch.uint8), torch.tensor([True, True]))
    direction = torch.randn(16)
    total = sum((embedding @ direction).sum() for embedding in (model.encode_query(ids, mask), found.text_ND, found.image_ND))
    (total + (found.multimodal_ND @ direction).sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_masked_mean_by_hand() -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert masked_mean(x, torch.tensor([[True, True, False]])).item() == 2.0
    assert masked_mean(x, torch.tensor([[False, False, False]])).item() == 0.0
