"""Leaving out padding changes neither values nor gradients."""

import pytest
import torch
from torch import Tensor

from smar_core.model.layers import SelfAttentionLayer
from smar_core.model.packing import Packing


def in_a_loop(layer: SelfAttentionLayer, x_BLE: Tensor, mask_BL: Tensor) -> Tensor:
    """Return the states that count, computed one sequence at a time: no batch, no padding, no mask."""
    return torch.cat([layer(x_LE[mask_L].unsqueeze(0), None)[0] for x_LE, mask_L in zip(x_BLE, mask_BL, strict=True)])


@pytest.mark.parametrize(
    "mask",
    [
        [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]],  # padding on the right, two rows of one length
        [[1, 0, 1, 1], [0, 1, 0, 1]],  # padding in the middle: text and patches in one sequence
        [[1, 1], [1, 1]],  # no padding
    ],
)
@pytest.mark.parametrize("way", ["packed", "traced"])
def test_a_layer_on_a_padded_batch_is_the_layer_on_each_sequence(
    mask: list[list[int]], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways agree with the loop in every value, and in every gradient of a weight and of an input that counts."""
    torch.manual_seed(0)
    mask_BL = torch.tensor(mask, dtype=torch.bool)
    layer = SelfAttentionLayer(hidden_size=8, num_heads=2, inner_size=12, dropout=0.0).double()
    x_BLE = torch.randn(*mask_BL.shape, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x_BLE, *layer.parameters()]

    expected = in_a_loop(layer, x_BLE, mask_BL)
    expected_gradients = torch.autograd.grad(expected.square().sum(), inputs)
    monkeypatch.setattr("smar_core.model.packing.torch.compiler.is_compiling", lambda: way == "traced")
    found = layer(x_BLE, mask_BL)[mask_BL]
    gradients = torch.autograd.grad(found.square().sum(), inputs)

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_unpack_undoes_pack_and_clears_padding() -> None:
    x_BLE, mask_BL = torch.arange(12.0).view(2, 3, 2), torch.tensor([[True, False, True], [False, True, False]])
    packing = Packing.of(x_BLE, mask_BL)
    assert packing.pack(x_BLE).shape == (3, 2)
    assert torch.equal(packing.unpack(packing.pack(x_BLE), x_BLE), x_BLE * mask_BL.unsqueeze(-1))


def test_a_layer_can_be_traced() -> None:
    """A trace made with one batch holds for another with other lengths."""
    layer = SelfAttentionLayer(hidden_size=8, num_heads=2, inner_size=12, dropout=0.0).eval()
    masks = [torch.tensor([[True, True, False], [True, False, False]]), torch.tensor([[True, True, True], [True, True, False]])]
    x_BLE = torch.randn(2, 3, 8)
    traced = torch.export.export(layer, (x_BLE, masks[0])).module()
    for mask_BL in masks:
        torch.testing.assert_close(traced(x_BLE, mask_BL)[mask_BL], layer(x_BLE, mask_BL)[mask_BL])
