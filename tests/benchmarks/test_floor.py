"""Counted operations agree with torch's own counter; bytes are those that operations touch."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.floor import CountWork, Work, measure_floor
from smar_core.model.layers import SelfAttentionLayers


def test_matrix_products_of_a_training_step_agree_with_torchs_counter() -> None:
    layers = SelfAttentionLayers(num_layers=1, hidden_size=8, num_heads=2, inner_size=12)
    x_BLE, mask_BL = torch.randn(2, 3, 8), torch.tensor([[True, True, True], [True, False, False]])
    with FlopCounterMode(display=False) as expected:
        layers(x_BLE, mask_BL).sum().backward()
    with CountWork() as counted:
        layers(x_BLE, mask_BL).sum().backward()
    assert counted.work.matrix_flops == expected.get_total_flops() > 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_forward_pass_is_counted_alike_with_and_without_inference_mode(mode: type) -> None:
    """4 places through five maps; attention of 3 on 3 places and of 1 on 1, two products, 2 heads of 4."""
    layers = SelfAttentionLayers(num_layers=1, hidden_size=8, num_heads=2, inner_size=12)
    x_BLE, mask_BL = torch.randn(2, 3, 8), torch.tensor([[True, True, True], [True, False, False]])
    with mode(), CountWork() as counted:
        layers(x_BLE, mask_BL)
    assert counted.work.matrix_flops == 2 * 4 * (64 + 128 + 64 + 96 + 96)
    assert counted.work.attention_flops == 2 * 2 * 2 * (3 * 3 * 4 + 1 * 1 * 4)


def test_bytes_are_read_and_written_ones_and_views_cost_nothing() -> None:
    a, b = torch.ones(10), torch.ones(10)
    with CountWork() as counted:
        (a + b).view(2, 5).t()
    assert counted.work.other_bytes == 3 * 10 * 4


def test_floor_is_the_sum_of_its_parts_at_measured_rates() -> None:
    layout = ((64, 64), (64, 1))
    work = Work(attention_flops=1000, other_bytes=10**6)
    work.products[(layout, layout)] = 3
    floor = measure_floor(work)
    assert floor.matrix_flops_per_second * floor.matrix_seconds == pytest.approx(3 * 2 * 64**3)
    assert floor.attention_seconds == pytest.approx(1000 / floor.matrix_flops_per_second)
    assert floor.other_seconds == pytest.approx(10**6 / floor.bytes_per_second)
    assert floor.seconds == pytest.approx(floor.matrix_seconds + floor.attention_seconds + floor.other_seconds)
