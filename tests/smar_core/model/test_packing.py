"""Leaving out padding changes neither values nor gradients."""

import pytest
import torch
from torch import Tensor

from smar_core.model.layers import CrossAttentionLayer, SelfAttentionLayers
from smar_core.model.packing import Block, Packing


def in_a_loop(layers: SelfAttentionLayers, x_BLE: Tensor, mask_BL: Tensor) -> Tensor:
    """Return the states that count, computed one sequence at a time: no batch, no padding, no mask."""
    return torch.cat([layers(x_LE[mask_L].unsqueeze(0), None)[0] for x_LE, mask_L in zip(x_BLE, mask_BL, strict=True)])


@pytest.mark.parametrize(
    "mask",
    [
        [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]],  # padding on the right, two rows of one length
        [[1, 0, 1, 1], [0, 1, 0, 1]],  # padding in the middle: text and patches in one sequence
        [[1, 1], [1, 1]],  # no padding
    ],
)
@pytest.mark.parametrize("way", ["packed", "traced"])
def test_layers_on_a_padded_batch_are_the_layers_on_each_sequence(
    mask: list[list[int]], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways agree with the loop in every value, and in every gradient of a weight and of an input that counts."""
    torch.manual_seed(0)
    mask_BL = torch.tensor(mask, dtype=torch.bool)
    layers = SelfAttentionLayers(num_layers=2, hidden_size=8, num_heads=2, inner_size=12).double()
    x_BLE = torch.randn(*mask_BL.shape, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x_BLE, *layers.parameters()]

    expected = in_a_loop(layers, x_BLE, mask_BL)
    expected_gradients = torch.autograd.grad(expected.square().sum(), inputs)
    monkeypatch.setattr("smar_core.model.packing.torch.compiler.is_compiling", lambda: way == "traced")
    found = layers(x_BLE, mask_BL)[mask_BL]
    gradients = torch.autograd.grad(found.square().sum(), inputs)

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("image_mask", [None, [[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]]])
@pytest.mark.parametrize("way", ["packed", "traced"])
def test_text_attends_to_the_patches_of_its_own_item(
    image_mask: list[list[int]] | None, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of one length, whose order is not the items', as item by item: values and gradients."""
    torch.manual_seed(0)
    text_mask_BL = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]], dtype=torch.bool)
    image_mask_BM = None if image_mask is None else torch.tensor(image_mask, dtype=torch.bool)
    layer = CrossAttentionLayer(hidden_size=8, num_heads=2, inner_size=12).double()
    text_BLE, image_BME = (torch.randn(4, length, 8, dtype=torch.float64, requires_grad=True) for length in (4, 3))
    inputs = [text_BLE, image_BME, *layer.parameters()]

    alone = []
    for row in range(4):
        text_TE = text_BLE[row][text_mask_BL[row]]
        image_SE = image_BME[row] if image_mask_BM is None else image_BME[row][image_mask_BM[row]]
        alone.append(layer(text_TE, image_SE, [Block(1, len(text_TE), len(image_SE), None)]))
    expected = torch.cat(alone)
    expected_gradients = torch.autograd.grad(expected.square().sum(), inputs)
    monkeypatch.setattr("smar_core.model.packing.torch.compiler.is_compiling", lambda: way == "traced")
    packing = Packing.of(text_BLE, text_mask_BL)
    states_TE = layer(packing.pack(text_BLE), *packing.pack_context(image_BME, image_mask_BM))
    found = packing.unpack(states_TE, text_BLE)[text_mask_BL]
    gradients = torch.autograd.grad(found.square().sum(), inputs)

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_unpack_undoes_pack_and_clears_padding() -> None:
    x_BLE, mask_BL = torch.arange(12.0).view(2, 3, 2), torch.tensor([[True, False, True], [False, True, False]])
    packing = Packing.of(x_BLE, mask_BL)
    assert packing.pack(x_BLE).shape == (3, 2)
    assert torch.equal(packing.unpack(packing.pack(x_BLE), x_BLE), x_BLE * mask_BL.unsqueeze(-1))


def test_layers_can_be_traced() -> None:
    """A trace made with one batch holds for another with other lengths."""
    layers = SelfAttentionLayers(num_layers=2, hidden_size=8, num_heads=2, inner_size=12).eval()
    masks = [torch.tensor([[True, True, False], [True, False, False]]), torch.tensor([[True, True, True], [True, True, False]])]
    x_BLE = torch.randn(2, 3, 8)
    traced = torch.export.export(layers, (x_BLE, masks[0])).module()
    for mask_BL in masks:
        torch.testing.assert_close(traced(x_BLE, mask_BL)[mask_BL], layers(x_BLE, mask_BL)[mask_BL])
