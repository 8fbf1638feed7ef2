"""Contrastive losses against values worked out by hand and against a loop over pairs."""

import math

import pytest
import torch

from smar_core.losses.contrastive import contrastive_loss

QUERY = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
ITEM = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
POSITIVE = torch.tensor([0, 1])


def _loss(excluded: torch.Tensor, kind: str = "info_nce") -> torch.Tensor:
    return contrastive_loss(QUERY, ITEM, POSITIVE, excluded, kind=kind, temperature=0.5, margin=0.1)


def test_info_nce_by_hand() -> None:
    """Cosines of the first query are 1, 0, 0.8; divided by 0.5: 2, 0, 1.6."""
    found = _loss(torch.zeros(2, 3, dtype=torch.bool))
    assert found[0].item() == pytest.approx(-2 + math.log(math.exp(2) + 1 + math.exp(1.6)), abs=1e-6)


def test_excluded_item_is_no_negative() -> None:
    excluded = torch.tensor([[False, False, True], [False, False, False]])
    assert _loss(excluded)[0].item() == pytest.approx(-2 + math.log(math.exp(2) + 1), abs=1e-6)


def test_positive_stays_when_it_is_marked_excluded() -> None:
    """The clicked item is always among the query's own training clicks, so the mask always covers the positive."""
    marked = torch.tensor([[True, False, False], [False, True, False]])
    assert torch.equal(_loss(marked), _loss(torch.zeros(2, 3, dtype=torch.bool)))


def test_hinge_by_hand() -> None:
    """Second query: cosines 0.6, 0.8, 0.96; violations max(0, 0.1 - 0.8 + s) are 0 and 0.26; their mean is 0.13."""
    found = _loss(torch.zeros(2, 3, dtype=torch.bool), "hinge")
    assert found[1].item() == pytest.approx(0.13, abs=1e-6)


def test_hinge_without_negatives_is_zero() -> None:
    assert _loss(torch.ones(2, 3, dtype=torch.bool), "hinge").tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["info_nce", "hinge"])
def test_order_of_items_changes_nothing(kind: str) -> None:
    order = torch.tensor([2, 0, 1])
    excluded = torch.tensor([[False, True, False], [True, False, False]])
    place = torch.argsort(order)
    moved = contrastive_loss(QUERY, ITEM[order], place[POSITIVE], excluded[:, order], kind=kind, temperature=0.5, margin=0.1)
    assert torch.allclose(moved, _loss(excluded, kind), atol=1e-6)


def test_log_q_is_subtracted_from_every_logit_the_positive_too() -> None:
    """Logits 2, 0, 1.6; an item that is in every second batch gains log 2, one in every eighth log 8."""
    log_q = torch.tensor([0.5, 1.0, 0.125]).log()
    none = torch.zeros(2, 3, dtype=torch.bool)
    found = contrastive_loss(QUERY, ITEM, POSITIVE, none, kind="info_nce", temperature=0.5, margin=0.1, log_q_N=log_q)
    expected = -math.log(2 * math.exp(2) / (2 * math.exp(2) + 1 + 8 * math.exp(1.6)))
    assert found[0].item() == pytest.approx(expected, abs=1e-6)


def test_log_q_of_equal_items_changes_nothing() -> None:
    none = torch.zeros(2, 3, dtype=torch.bool)
    found = contrastive_loss(
        QUERY, ITEM, POSITIVE, none, kind="info_nce", temperature=0.5, margin=0.1, log_q_N=torch.full((3,), -4.0)
    )
    assert torch.allclose(found, _loss(none), atol=1e-6)


def test_masks_are_not_written_to() -> None:
    excluded = torch.ones(2, 3, dtype=torch.bool)
    for kind in ("info_nce", "hinge"):
        _loss(excluded, kind)
    assert excluded.all()
