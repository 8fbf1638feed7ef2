"""The two objectives: weights, items without a picture, the gate."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from smar_core.config import LossConfig
from smar_core.losses.objectives import BatchRelations, FinetuningObjective, PretrainingObjective
from smar_core.losses.weights import build_weights
from smar_core.model.modeling import ItemEmbeddings

Parts = tuple[Tensor, ItemEmbeddings, BatchRelations]


@pytest.fixture
def batch() -> Parts:
    torch.manual_seed(0)
    query, text, image, multimodal = (F.normalize(torch.randn(4, 8), dim=-1) for _ in range(4))
    relations = BatchRelations(
        torch.arange(4),
        torch.zeros(4, 4, dtype=torch.bool),
        torch.tensor([True, True, False, True]),
        torch.arange(4),
        torch.arange(4),
    )
    return query, {"text": text, "image": image, "multimodal": multimodal}, relations


def test_total_is_the_weighted_sum(batch: Parts) -> None:
    total, parts = PretrainingObjective(LossConfig(alpha=0.5, beta=2.0, gamma=3.0))(*batch)
    expected = 0.5 * parts["loss_text"] + 2.0 * parts["loss_image"] + 3.0 * parts["loss_multimodal"]
    assert torch.allclose(total, expected)


def test_weight_zero_leaves_the_part_out(batch: Parts) -> None:
    _, parts = PretrainingObjective(LossConfig(beta=0.0))(*batch)
    assert set(parts) == {"loss_text", "loss_multimodal"}


def test_item_without_picture_plays_no_part_in_the_image_loss(batch: Parts) -> None:
    query, items, relations = batch
    objective = PretrainingObjective(LossConfig(alpha=0.0, gamma=0.0))
    changed = items["image"].clone()
    changed[2] = -changed[2]
    assert torch.equal(objective(*batch)[0], objective(query, {**items, "image": changed}, relations)[0])


def test_image_loss_is_the_mean_over_pairs_with_a_picture(batch: Parts) -> None:
    query, items, _ = batch
    kept = torch.tensor([0, 1, 3])
    alone = BatchRelations(torch.arange(3), torch.zeros(3, 3, dtype=torch.bool), torch.ones(3, dtype=torch.bool), kept, kept)
    objective = PretrainingObjective(LossConfig(alpha=0.0, gamma=0.0))
    assert torch.allclose(objective(*batch)[0], objective(query[kept], {"image": items["image"][kept]}, alone)[0])


def test_image_loss_is_zero_without_any_picture(batch: Parts) -> None:
    query, items, relations = batch
    none = replace(relations, has_image_N=torch.zeros(4, dtype=torch.bool))
    assert PretrainingObjective(LossConfig())(query, items, none)[1]["loss_image"].item() == 0.0


def test_gate_weights_each_pair(batch: Parts) -> None:
    """P = 1 counts L_m and the least weight of L_t, P = 0 counts L_t alone."""
    both = ("text", "multimodal")
    closed, parts = FinetuningObjective(LossConfig(), both, torch.zeros(4), 0.1)(*batch)
    opened, _ = FinetuningObjective(LossConfig(), both, torch.ones(4), 0.1)(*batch)
    assert torch.allclose(closed, parts["loss_text"])
    assert torch.allclose(opened, parts["loss_multimodal"] + 0.1 * parts["loss_text"])


def test_gate_is_that_of_the_query(batch: Parts) -> None:
    """Pairs name rows of the true queries; another order of the pairs is the same loss."""
    query, items, relations = batch
    order = torch.tensor([2, 0, 3, 1])
    moved = replace(relations, positive_B=order, true_query_T=order, excluded_BN=relations.excluded_BN[order])
    objective = FinetuningObjective(LossConfig(), ("text", "multimodal"), torch.tensor([0.0, 0.2, 0.7, 1.0]), 0.1)
    assert torch.allclose(objective(*batch)[0], objective(query[order], items, moved)[0])


@pytest.mark.parametrize("tower", ["text", "image", "multimodal"])
def test_one_representation_is_trained_by_its_loss_alone(batch: Parts, tower: str) -> None:
    total, parts = FinetuningObjective(LossConfig(), (tower,), torch.zeros(4), 0.1)(*batch)
    _, expected = PretrainingObjective(LossConfig())(*batch)
    assert set(parts) == {f"loss_{tower}"}
    assert torch.equal(total, expected[f"loss_{tower}"])


def test_gate_on_items_is_that_of_the_pairs_item(batch: Parts) -> None:
    """P is looked up by the catalogue row of the pair's item: rows 6, 5, 3, 1 here, whatever its query is."""
    query, items, relations = batch
    moved = replace(
        relations,
        positive_B=torch.tensor([2, 0, 3, 1]),
        true_query_T=torch.tensor([3, 2, 1, 0]),
        item_N=torch.tensor([5, 1, 6, 3]),
    )
    gate_N = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    both = ("text", "multimodal")
    by_item, _ = FinetuningObjective(LossConfig(), both, gate_N, 0.1, gate_side="item")(query, items, moved)
    gate_Q = torch.tensor([0.1, 0.3, 0.5, 0.6])  # of queries 0 to 3, whose pairs are the last to the first
    by_query, _ = FinetuningObjective(LossConfig(), both, gate_Q, 0.1)(query, items, moved)
    assert torch.equal(by_item, by_query)


OPTIONS = [
    {"weights": "per_category"},
    {"weights": "uncertainty"},
    {"weights": "per_pair"},
    {"kind": "hinge", "weights": "per_pair", "matryoshka_dims": [4]},
    {"weights": "per_category", "temperature_mode": "learned", "popularity": "logq", "matryoshka_dims": [2, 4]},
]


def _pretraining(**options: object) -> PretrainingObjective:
    loss = LossConfig.model_validate(options)
    weights = build_weights(loss, embed_dim=8, category_N=torch.tensor([0, 1, 1, 0]))
    log_q = torch.tensor([0.5, 0.25, 0.1, 0.2]).log() if loss.popularity == "logq" else None
    return PretrainingObjective(loss, weights, log_q)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_embedding_of_no_picture_gets_no_gradient(batch: Parts, options: dict[str, object]) -> None:
    """Neither as the positive nor as a negative, and every gradient is finite."""
    query, items, relations = batch
    leaves = {tower: item_ND.clone().requires_grad_() for tower, item_ND in items.items()}
    leaves["image"].data[2] = 0
    objective = _pretraining(**options)
    total, figures = objective(query.clone().requires_grad_(), leaves, relations)
    total.backward()
    assert (leaves["image"].grad[2] == 0).all()
    assert all(leaf.grad.isfinite().all() and leaf.grad.any() for leaf in leaves.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())
    assert {name for name in figures if name.startswith("weight_")} == {f"weight_{tower}" for tower in items}


@pytest.mark.parametrize("kind", ["per_category", "uncertainty", "per_pair"])
def test_learned_weights_weigh_the_parts_that_fixed_ones_do(batch: Parts, kind: str) -> None:
    """Every item with a picture and no entropy: at its start the total is that of alpha, beta, gamma (and of s)."""
    query, items, relations = batch
    relations = replace(relations, has_image_N=torch.ones(4, dtype=torch.bool))
    values = {"alpha": 0.5, "beta": 1.0, "gamma": 2.0}
    entropy = {} if kind == "uncertainty" else {"weight_entropy": 0.0}
    total, figures = _pretraining(**values, **entropy, weights=kind)(query, items, relations)
    expected, parts = _pretraining(**values)(query, items, relations)
    s = -sum(math.log(weight) for weight in (0.5, 1.0, 2.0)) if kind == "uncertainty" else 0.0
    assert total.item() == pytest.approx(expected.item() + s, abs=1e-5)
    assert {name: value.item() for name, value in figures.items() if name.startswith("loss_")} == pytest.approx(
        {name: value.item() for name, value in parts.items()}
    )
    assert [figures[f"weight_{tower}"].item() for tower in items] == pytest.approx([0.5, 1.0, 2.0])


def test_part_of_weight_zero_gets_no_learned_weight(batch: Parts) -> None:
    _, figures = _pretraining(weights="per_pair", beta=0.0)(*batch)
    assert {name for name in figures if name.startswith("weight_")} == {"weight_text", "weight_multimodal"}


def test_matryoshka_loss_is_the_mean_over_lengths(batch: Parts) -> None:
    query, items, relations = batch
    short = {tower: F.normalize(item_ND[:, :4], dim=-1) for tower, item_ND in items.items()}
    found = _pretraining(matryoshka_dims=[4])(query, items, relations)[0]
    whole = _pretraining()(query, items, relations)[0]
    first = _pretraining()(F.normalize(query[:, :4], dim=-1), short, relations)[0]
    assert torch.allclose(found, (whole + first) / 2)


def test_popularity_is_that_of_the_batch_items(batch: Parts) -> None:
    """The catalogue's probabilities are looked up by the rows of the batch's items."""
    query, items, relations = batch
    objective = _pretraining(popularity="logq", beta=0.0, gamma=0.0)
    moved = replace(relations, item_N=torch.tensor([3, 2, 1, 0]))
    log_q = torch.tensor([0.2, 0.1, 0.25, 0.5]).log()
    expected = F.cross_entropy(query @ items["text"].T * 30 - log_q, torch.arange(4))
    assert torch.allclose(objective(query, items, moved)[0], expected, atol=1e-5)


def test_learned_temperature_moves_towards_a_lower_loss(batch: Parts) -> None:
    """Every query is its own item's best match, so a sharper softmax is better."""
    query, items, relations = batch
    objective = _pretraining(temperature_mode="learned", temperature=0.5)
    found = dict.fromkeys(items, query)
    total, figures = objective(query, found, relations)
    total.backward()
    assert figures["temperature"].item() == pytest.approx(0.5)
    assert objective.temperature.log_by_pace.grad > 0


def test_fine_tuning_logs_the_temperature(batch: Parts) -> None:
    loss = LossConfig(temperature_mode="learned")
    _, figures = FinetuningObjective(loss, ("text", "multimodal"), torch.zeros(4), 0.1)(*batch)
    assert set(figures) == {"loss_text", "loss_multimodal", "temperature"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": "per_pair", "alpha": 0, "beta": 0}, "weights per_pair has one loss to weigh"),
        ({"kind": "hinge", "temperature_mode": "learned"}, "temperature_mode learned has no meaning for kind hinge"),
        ({"kind": "hinge", "popularity": "logq"}, "popularity logq has no meaning for kind hinge"),
        ({"temperature_mode": "learned", "temperature": 2.0}, r"choose a start from 0\.01 to 1\.0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossConfig.model_validate(values)
