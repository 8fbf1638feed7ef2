"""Learned weights of the losses: values by hand, items without a picture, and the collapse that the entropy term prevents."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from smar_core.config import LossConfig
from smar_core.losses.weights import (
    MAX_LOG_WEIGHT,
    CategoryWeights,
    LearnedWeights,
    PairWeights,
    UncertaintyWeights,
    build_weights,
)

START = {"text": 1.0, "image": 2.0, "multimodal": 3.0}
CATEGORY = torch.tensor([0, 1, 1, 0])
ITEM = torch.tensor([0, 1, 2])
LOSSES = torch.tensor([[1.0, 4.0, 2.0], [3.0, 0.0, 1.0], [2.0, 2.0, 2.0]])
COUNTS = torch.tensor([[True, True, True], [True, False, True], [True, True, True]])
QUERY = torch.nn.functional.normalize(torch.arange(12.0).reshape(3, 4), dim=-1)
KINDS = ("per_category", "uncertainty", "per_pair")


def _build(kind: str, **changes: float) -> LearnedWeights:
    loss = LossConfig.model_validate({"weights": kind, "alpha": 1.0, "beta": 2.0, "gamma": 3.0} | changes)
    weights = build_weights(loss, embed_dim=4, category_N=CATEGORY)
    assert weights is not None
    return weights


@pytest.mark.parametrize("kind", ["per_category", "per_pair"])
def test_start_by_hand(kind: str) -> None:
    """With a picture the shares start at 1/6, 2/6, 3/6; without one at 1/4, 3/4. The sum is 6 either way.

    Losses: (1 + 8 + 6) / 6 = 2.5; (3 + 3) / 4 = 1.5; 2.
    """
    total, weight = _build(kind, weight_entropy=0.0)(LOSSES, COUNTS, QUERY, ITEM)
    assert total.item() == pytest.approx(6 * (2.5 + 1.5 + 2.0) / 3, abs=1e-5)
    assert weight.tolist() == pytest.approx([(1 + 1.5 + 1) / 3, 2.0, (3 + 4.5 + 3) / 3], abs=1e-5)


@pytest.mark.parametrize("kind", ["per_category", "per_pair"])
def test_entropy_by_hand(kind: str) -> None:
    full = math.log(6) / 6 + math.log(3) / 3 + math.log(2) / 2
    without = math.log(4) / 4 + 0.75 * math.log(4 / 3)
    plain, _ = _build(kind, weight_entropy=0.0)(LOSSES, COUNTS, QUERY, ITEM)
    total, _ = _build(kind, weight_entropy=0.5)(LOSSES, COUNTS, QUERY, ITEM)
    assert (plain - total).item() == pytest.approx(6 * 0.5 * (2 * full + without) / 3, abs=1e-5)


def test_uncertainty_by_hand() -> None:
    """exp(-s) starts at 1, 2, 3; the means are 2, 3 (two pairs with a picture) and 5/3; s adds -log 1 - log 2 - log 3."""
    total, weight = _build("uncertainty")(LOSSES, COUNTS, QUERY, ITEM)
    assert total.item() == pytest.approx(2 + 6 + 5 - math.log(6), abs=1e-5)
    assert weight.tolist() == pytest.approx([1.0, 2.0, 3.0])


def test_uncertainty_leaves_out_a_part_that_counts_for_no_pair() -> None:
    weights = UncertaintyWeights(START)
    none = COUNTS & torch.tensor([True, False, True])
    total, _ = weights(LOSSES * none, none, QUERY, ITEM)
    assert total.item() == pytest.approx(2 + 5 - math.log(3), abs=1e-5)
    total.backward()
    assert weights.log_variance_by_pace_K.grad is not None and weights.log_variance_by_pace_K.grad[1] == 0


def test_the_weight_of_a_loss_of_nothing_stays_bounded() -> None:
    """Under a hinge without violations it grew by a share of itself every step."""
    weights = UncertaintyWeights(START)
    optimiser = torch.optim.Adam(weights.parameters(), lr=0.1)
    for _ in range(50):
        optimiser.zero_grad()
        total, weight_K = weights(LOSSES * torch.tensor([1.0, 0.0, 1.0]), COUNTS, QUERY, ITEM)
        total.backward()
        optimiser.step()
    assert weight_K[1].item() == pytest.approx(math.exp(MAX_LOG_WEIGHT), rel=1e-5)
    assert weight_K[0].item() < 10


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_without_pictures_and_agree_with_differences(kind: str) -> None:
    """The logit of a part that does not count is -inf; neither it nor 0 * log 0 may leave a NaN."""
    weights = _build(kind).double()
    torch.manual_seed(0)
    for parameter in weights.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    losses = LOSSES.double().requires_grad_()
    names, values = zip(*weights.named_parameters(), strict=True)

    def total(losses_BK: Tensor, *parameters: Tensor) -> Tensor:
        inputs = losses_BK * COUNTS, COUNTS, QUERY.double(), ITEM
        out: Tensor = torch.func.functional_call(weights, dict(zip(names, parameters, strict=True)), inputs)[0]
        return out

    assert torch.autograd.gradcheck(total, (losses, *values))


def test_no_gradient_into_the_query() -> None:
    query = QUERY.clone().requires_grad_()
    total, _ = _build("per_pair")(LOSSES.clone().requires_grad_(), COUNTS, query, ITEM)
    total.backward()
    assert query.grad is None


def test_category_is_that_of_the_item() -> None:
    """Items 1 and 2 are of category 1: moving its weights to text alone leaves item 0's pair as it was."""
    weights = CategoryWeights(START, 0.0, CATEGORY)
    with torch.no_grad():
        weights.offset_by_pace_CK[1] = torch.tensor([100.0, 0.0, 0.0])
    total, _ = weights(LOSSES, COUNTS, QUERY, ITEM)
    assert total.item() == pytest.approx(6 * (2.5 + 3.0 + 2.0) / 3, abs=1e-5)


def _minimised(weights: LearnedWeights, losses: Tensor) -> Iterator[Tensor]:
    """Yield the mean weights while only they are trained, on losses that do not move."""
    optimiser = torch.optim.Adam(weights.parameters(), lr=0.02)
    counts = torch.ones_like(losses, dtype=torch.bool)
    for _ in range(800):
        total, weight_K = weights(losses, counts, QUERY, ITEM)
        yield weight_K
        optimiser.zero_grad()
        total.backward()
        optimiser.step()


@pytest.mark.parametrize("kind", ["per_category", "per_pair"])
def test_without_the_entropy_term_the_weights_collapse(kind: str) -> None:
    """All weight ends on the easiest loss; with the term it ends in proportion to exp(-L / entropy)."""
    losses = torch.tensor([[0.5, 2.0, 1.0]]).expand(3, 3)
    *_, collapsed = _minimised(_build(kind, weight_entropy=0.0), losses)
    assert collapsed[0] > 0.98 * 6 and collapsed[1] < 0.01 * 6
    *_, kept = _minimised(_build(kind, weight_entropy=1.0), losses)
    assert torch.allclose(kept / 6, torch.softmax(-losses[0], dim=0), atol=0.01)


def test_uncertainty_ends_at_one_over_the_loss() -> None:
    *_, weight = _minimised(_build("uncertainty"), torch.tensor([[0.5, 2.0, 1.0]]).expand(3, 3))
    assert weight.tolist() == pytest.approx([2.0, 0.5, 1.0], rel=0.02)


def test_fixed_weights_are_not_learned() -> None:
    assert build_weights(LossConfig(), embed_dim=4, category_N=CATEGORY) is None


def test_pair_weights_follow_the_query() -> None:
    """Two kinds of query with another easiest loss each get other weights."""
    weights = PairWeights({"text": 1.0, "multimodal": 1.0}, 0.2, 4)
    query = torch.eye(4)[:2]
    losses = torch.tensor([[0.1, 1.0], [1.0, 0.1]])
    optimiser = torch.optim.Adam(weights.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        weights(losses, torch.ones(2, 2, dtype=torch.bool), query, torch.zeros(2, dtype=torch.int64))[0].backward()
        optimiser.step()
    shares = weights.logits(query, torch.zeros(2, dtype=torch.int64)).softmax(dim=1)
    assert shares[0, 0] > 0.95 and shares[1, 1] > 0.95
