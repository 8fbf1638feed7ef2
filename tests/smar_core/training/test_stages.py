"""The three training stages on ten products: learning, the best look, resumption, test days, the gate's errors, frozen towers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.config import (
    FinetuneConfig,
    GateConfig,
    LossConfig,
    ModelConfig,
    OptimiserConfig,
    PretrainConfig,
    RuntimeConfig,
)
from smar_core.errors import DivergedError, UserError
from smar_core.losses.objectives import FinetuningObjective
from smar_core.model.encoding import encode_catalogue, encode_queries
from smar_core.model.gate import Gate
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.schemas import PAIRS
from smar_core.stage import StageContext
from smar_core.training.finetune import finetune
from smar_core.training.gate import train_gate
from smar_core.training.loop import build_optimiser
from smar_core.training.model_artifact import open_model
from smar_core.training.pairs import read_true_pairs, rows_by_item_id
from smar_core.training.pretrain import pretrain
from smar_core.training.validation import Validator, recall

RUNTIME = RuntimeConfig(num_threads=1, device="cpu")
MODEL = ModelConfig(
    patch_size_px=8, hidden_size=24, embed_dim=16, feed_forward_size=32, num_query_layers=1, num_image_layers=1, dropout=0.0
)
CPU = torch.device("cpu")


class Killed(BaseException):
    """Stands for a kill signal."""


class _KillAt:
    """Progress that ends the training after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        if phase == "train" and done == self._step:
            raise Killed


@pytest.fixture
def pretrain_to(finished_run, tokenizer: Artifact, synthetic: Artifact) -> Iterator:
    def run(
        output: Path,
        work: Path,
        *,
        kill_at: int = -1,
        loss: LossConfig | None = None,
        clicks: Artifact = finished_run.clicks,
        **changes: object,
    ) -> dict[str, float]:
        values = {"batch_size": 6, "queries_per_item": 2, "num_steps": 12, "validate_every_steps": 5, "checkpoint_every_steps": 4}
        config = PretrainConfig(**(values | changes))
        context = StageContext("config", work, {"items": finished_run.items.digest}, _KillAt(kill_at))
        inputs = finished_run.items, clicks, tokenizer, synthetic
        return pretrain(*inputs, output, MODEL, loss or LossConfig(), config, RUNTIME, context)

    return run


def test_a_few_pairs_are_learned_by_heart(finished_run, pretrain_to, tmp_path: Path) -> None:
    """R@1 = 1 on the training pairs, by text and by picture and text together, in seconds on the CPU."""
    changes = {"num_steps": 150, "learning_rate": 3e-3, "validate_every_steps": 150, "synthetic_share": 0.0}
    figures = pretrain_to(tmp_path / "model", tmp_path / "work", **changes)
    model, text_tokenizer = open_model(open_artifact(tmp_path / "model", "model"))
    pairs = {"steel pot": "d4", "dress": "a10"}
    query = encode_queries(model.query_tower, text_tokenizer, list(pairs), batch_size=4, device=CPU)
    found = encode_catalogue(model, text_tokenizer, finished_run.items, batch_size=4, device=CPU)
    clicked = [[found.item_ids.index(item)] for item in pairs.values()]
    for items in (found.by_tower["text"], found.by_tower["multimodal"]):
        assert recall(query, items, clicked, cutoff=1).tolist() == [1.0, 1.0]
    assert figures["num_true_pairs"] == 150 * 6


@pytest.mark.parametrize("kill_at", [None, 11])
def test_the_weights_of_the_best_look_are_kept(
    pretrain_to, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int | None
) -> None:
    """Looks come at steps 0, 5, 10 and 12, the second is the best; also where a checkpoint, at 8, carries it over a kill."""
    seen: list[dict[str, torch.Tensor]] = []

    def figures(_self: Validator, model: SmarModel, *_: object) -> dict[str, float]:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return {"validation_R@50_multimodal": 0.9 if len(seen) == 2 else 0.5}

    monkeypatch.setattr(Validator, "figures", figures)
    if kill_at is not None:
        with pytest.raises(Killed):
            pretrain_to(tmp_path / "model", tmp_path / "work", kill_at=kill_at)
    pretrain_to(tmp_path / "model", tmp_path / "work")
    artifact = open_artifact(tmp_path / "model", "model")
    training = artifact.read_json("training.json")
    assert (training["best_step"], training["best"]) == (5, {"validation_R@50_multimodal": 0.9})
    model, _ = open_model(artifact)
    assert all(torch.equal(p, seen[1][name]) for name, p in model.named_parameters())
    assert not all(torch.equal(p, seen[-1][name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("kill_at", [3, 4, 11])
def test_killed_and_started_again_equals_uninterrupted(pretrain_to, tmp_path: Path, kill_at: int) -> None:
    """Before the first checkpoint, right after one, and one step before the end."""
    whole = pretrain_to(tmp_path / "whole", tmp_path / "work-whole")
    with pytest.raises(Killed):
        pretrain_to(tmp_path / "resumed", tmp_path / "work", kill_at=kill_at)
    assert not (tmp_path / "resumed").exists()
    again = pretrain_to(tmp_path / "resumed", tmp_path / "work")
    first, second = (open_artifact(tmp_path / name, "model") for name in ("whole", "resumed"))
    assert first.digest == second.digest
    assert whole == again


@pytest.mark.parametrize("kill_at", [5, 7, 10])
def test_resumed_equals_uninterrupted_with_all_that_has_a_state(pretrain_to, tmp_path: Path, kill_at: int) -> None:
    """Chunks, mined candidates (killed within a mining's steps, and after one that no checkpoint saw), a learned temperature."""
    changes = {"chunk_size": 3, "hard_negatives": 2, "mine_every_steps": 3, "hard_negative_depth": 6, "hard_negative_margin": 0.0}
    loss = LossConfig(temperature_mode="learned")
    pretrain_to(tmp_path / "whole", tmp_path / "work-whole", loss=loss, **changes)
    with pytest.raises(Killed):
        pretrain_to(tmp_path / "resumed", tmp_path / "work", kill_at=kill_at, loss=loss, **changes)
    pretrain_to(tmp_path / "resumed", tmp_path / "work", loss=loss, **changes)
    first, second = (open_artifact(tmp_path / name, "model") for name in ("whole", "resumed"))
    assert first.digest == second.digest
    curve = second.read_table("curve").to_pydict()
    assert "temperature" in curve["name"]
    pretrain_to(tmp_path / "plain", tmp_path / "work-plain", loss=loss, chunk_size=3)
    assert open_artifact(tmp_path / "plain", "model").digest != first.digest


def test_a_point_of_the_curve_has_the_largest_gradient_norm_since_the_last(
    pretrain_to, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run was killed between two points."""
    pretrain_to(tmp_path / "every step", tmp_path / "work-every")
    monkeypatch.setattr("smar_core.training.loop._POINTS_A_CURVE", 2)
    pretrain_to(tmp_path / "whole", tmp_path / "work-whole")
    with pytest.raises(Killed):
        pretrain_to(tmp_path / "resumed", tmp_path / "work", kill_at=5)
    pretrain_to(tmp_path / "resumed", tmp_path / "work")
    every, whole, resumed = (_norms(open_artifact(tmp_path / name, "model")) for name in ("every step", "whole", "resumed"))
    assert list(every) == list(range(1, 13))
    assert whole == resumed == {6: max(every[n] for n in range(1, 7)), 12: max(every[n] for n in range(7, 13))}


def _norms(model: Artifact) -> dict[int, float]:
    curve = model.read_table("curve").to_pydict()
    rows = zip(curve["step"], curve["name"], curve["value"], strict=True)
    return {step: value for step, name, value in rows if name == "grad_norm"}


def test_the_rate_rises_evenly_and_falls_by_a_cosine(pretrain_to, tmp_path: Path) -> None:
    pretrain_to(tmp_path / "model", tmp_path / "work", learning_rate=2e-3, warmup_share=0.5)
    curve = open_artifact(tmp_path / "model", "model").read_table("curve").to_pylist()
    rates = [row["value"] / 2e-3 for row in curve if row["name"] == "learning_rate"]
    rising, falling = [1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1], [1, 0.933, 0.75, 0.5, 0.25, 0.067]
    assert rates == pytest.approx([*rising, *falling], abs=1e-3)


def test_matrices_alone_decay_and_what_is_frozen_is_left_out() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 4).requires_grad_(False))
    groups = build_optimiser(network, OptimiserConfig(weight_decay=0.5)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert [[tuple(p.shape) for p in group["params"]] for group in groups] == [[(3, 2)], [(3,), (3,), (3,)]]


def test_a_gradient_is_clipped_to_the_norm_that_is_set(pretrain_to, tmp_path: Path) -> None:
    """To one so small that Adam's epsilon swallows it: the weights stay."""
    clipped = {"num_steps": 2, "max_grad_norm": 1e-12, "weight_decay": 0.0}
    weights = []
    for name, changes in (("before", {"num_steps": 0}), ("clipped", clipped), ("moved", clipped | {"max_grad_norm": 1.0})):
        pretrain_to(tmp_path / name, tmp_path / f"work {name}", **changes)
        model, _ = open_model(open_artifact(tmp_path / name, "model"))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    before, after, moved = weights
    assert (after - before).abs().max() < 1e-5 < (moved - before).abs().max()


def test_seed_decides_the_weights(pretrain_to, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        pretrain_to(tmp_path / name, tmp_path / f"work-{name}", seed=seed, num_steps=2)
    one, same, other = (open_artifact(tmp_path / name, "model").digest for name in ("one", "same", "other"))
    assert one == same != other


def test_distinct_synthetic_pairs_are_counted(pretrain_to, tmp_path: Path) -> None:
    figures = pretrain_to(tmp_path / "model", tmp_path / "work", synthetic_share=0.5, num_steps=10)
    assert figures["num_synthetic_pairs"] == 30
    assert figures["num_distinct_synthetic_pairs_seen"] == 6


def test_loss_that_is_not_finite_stops_the_run(pretrain_to, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"at step .* lower learning_rate"):
        pretrain_to(tmp_path / "model", tmp_path / "work", learning_rate=1e30, max_grad_norm=1e30)
    assert not (tmp_path / "model").exists()


def _context(tmp_path: Path) -> StageContext:
    return StageContext("config", tmp_path / "work")


@pytest.fixture
def differing_test_days(finished_run, tmp_path: Path) -> tuple[Artifact, Artifact]:
    """Two click logs that differ in what was clicked on the test days; the validation days have all training clicks as well."""
    queries, pairs, qrels = (finished_run.clicks.read_table(name) for name in ("queries", "pairs", "qrels"))
    place = PAIRS.get_field_index("split")
    trained = pairs.filter(pc.equal(pairs["split"], "train"))
    held_out = trained.set_column(place, PAIRS.field("split"), pa.array(["validation"] * len(trained)))
    logs = []
    for name, item in (("one", pairs["item_id"]), ("other", pa.scalar("f6"))):
        items = pc.if_else(pc.equal(pairs["split"], "test"), item, pairs["item_id"])
        clicked = pairs.set_column(PAIRS.get_field_index("item_id"), PAIRS.field("item_id"), items)
        with create_artifact(tmp_path / name, "clicks", config_digest="", parents={}) as folder:
            pq.write_table(queries, folder / "queries.parquet")
            pq.write_table(pa.concat_tables([clicked, held_out]), folder / "pairs.parquet")
            pq.write_table(qrels, folder / "qrels.parquet")
            write_json(folder / "statistics.json", {})
        logs.append(open_artifact(tmp_path / name, "clicks"))
    assert logs[0].digest != logs[1].digest
    return logs[0], logs[1]


def test_test_days_reach_no_weight(
    finished_run, pretrain_to, differing_test_days: tuple[Artifact, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the choice of the best look, which among ten items R@2 can make and R@50 cannot."""
    monkeypatch.setattr("smar_core.training.validation.recall", partial(recall, cutoff=2))
    digests: dict[str, set[str]] = {"pretrained": set(), "finetuned": set()}
    for clicks in differing_test_days:
        folder = tmp_path / clicks.digest
        pretrain_to(folder / "pretrained", folder / "work", clicks=clicks)
        pretrained = open_artifact(folder / "pretrained", "model")
        config = FinetuneConfig(batch_size=4, queries_per_item=1, num_steps=3, validate_every_steps=1)
        inputs = finished_run.items, clicks, pretrained, finished_run.gate
        finetune(*inputs, folder / "finetuned", LossConfig(), config, RUNTIME, StageContext("config", folder / "work finetune"))
        for stage, found in digests.items():
            found.add(open_artifact(folder / stage, "model").digest)
    assert {stage: len(found) for stage, found in digests.items()} == {"pretrained": 1, "finetuned": 1}


@pytest.mark.parametrize("supervision", ["category", "utility"])
@pytest.mark.parametrize("side", ["query", "item"])
def test_test_days_reach_neither_the_header_nor_its_threshold(
    finished_run,
    differing_test_days: tuple[Artifact, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    supervision: str,
) -> None:
    """The threshold of utilities is replaced by one that every recall it is chosen by moves, not the significant ones alone."""
    monkeypatch.setattr("smar_core.training.gate.UTILITY_RANK", 2)  # of ten items, R@50 finds all whatever the threshold
    monkeypatch.setattr("smar_core.training.gate.recall_threshold", lambda recall_TQ: float(recall_TQ.mean()))
    config = GateConfig(visual_categories=("Apparel",), num_steps=60, batch_size=8, side=side, supervision=supervision)
    gates = []
    for clicks in differing_test_days:
        path = tmp_path / clicks.digest
        train_gate(finished_run.items, clicks, finished_run.pretrained, path, config, RUNTIME, _context(tmp_path))
        gates.append(Gate.load(path))
    first, second = ((gate.threshold, gate.scale, gate.shift) for gate in gates)
    assert first == second != (0.5, 1.0, 0.0)
    first, second = (gate.header.state_dict() for gate in gates)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_gate_answers_for_visual_queries(finished_run, tmp_path: Path) -> None:
    config = GateConfig(visual_categories=("Apparel",), num_steps=200, batch_size=8)
    train_gate(
        finished_run.items, finished_run.clicks, finished_run.pretrained, tmp_path / "gate", config, RUNTIME, _context(tmp_path)
    )
    gate = Gate.load(tmp_path / "gate")
    visual, other = gate.probabilities(["red shirt", "steel pot"], batch_size=2, device=CPU)
    assert visual > gate.threshold > other
    report = open_artifact(tmp_path / "gate", "gate").read_json("gate_report.json")
    assert report["validation"]["num_queries"] == 2
    assert report["test"]["num_queries"] == 4


@pytest.mark.parametrize(
    ("mode", "modality", "probability"),
    [("always_text", "text", 0.0), ("always_multimodal", "multimodal", 1.0), ("always_image", "image", 0.0)],
)
def test_gate_that_is_always_one_way_needs_no_category(
    finished_run, tmp_path: Path, mode: str, modality: str, probability: float
) -> None:
    config = GateConfig(mode=mode, visual_categories=("Nothing",))
    train_gate(
        finished_run.items, finished_run.clicks, finished_run.pretrained, tmp_path / "gate", config, RUNTIME, _context(tmp_path)
    )
    gate = Gate.load(tmp_path / "gate")
    probabilities = gate.probabilities(["red shirt", "steel pot"], batch_size=2, device=CPU)
    assert probabilities.tolist() == [probability] * 2
    assert [gate.modalities[place] for place in gate.route(probabilities)] == [modality] * 2


@pytest.mark.parametrize("categories", [("Nothing",), ("Apparel", "Home")])
def test_gate_with_one_class_names_the_categories_found(finished_run, tmp_path: Path, categories: tuple[str, ...]) -> None:
    config = GateConfig(visual_categories=categories)
    inputs = finished_run.items, finished_run.clicks, finished_run.pretrained
    with pytest.raises(UserError, match="Apparel, Home"):
        train_gate(*inputs, tmp_path / "gate", config, RUNTIME, _context(tmp_path))
    assert not (tmp_path / "gate").exists()


@pytest.mark.parametrize("tower", ["query", "text", "image", "multimodal"])
def test_frozen_tower_does_not_move(finished_run, tmp_path: Path, tower: str) -> None:
    """The others do."""
    before, after = _finetune_frozen(finished_run, tmp_path, tower)
    moved = {
        name.partition("_tower")[0] for name, p in before.named_parameters() if not torch.equal(p, after.get_parameter(name))
    }
    assert moved == {"query", "text", "image", "multimodal"} - {tower}


def test_frozen_text_represents_items_as_before(finished_run, tmp_path: Path) -> None:
    """The token embedding that it shares with the queries stays with it."""
    before, after = _finetune_frozen(finished_run, tmp_path, "text")
    tokenizer = TextTokenizer.load(finished_run.pretrained.path / "tokenizer.json")
    text_ND, again_ND = (
        encode_catalogue(model, tokenizer, finished_run.items, batch_size=4, device=CPU).by_tower["text"]
        for model in (before, after)
    )
    assert np.array_equal(text_ND, again_ND)


def _finetune_frozen(finished_run, folder: Path, tower: str) -> tuple[SmarModel, SmarModel]:
    """Return the model before and after three steps with one tower frozen."""
    config = FinetuneConfig(batch_size=4, queries_per_item=1, num_steps=3, freeze=(tower,), validate_every_steps=3)
    inputs = finished_run.items, finished_run.clicks, finished_run.pretrained, finished_run.gate
    finetune(*inputs, folder / "model", LossConfig(), config, RUNTIME, _context(folder))
    return open_model(finished_run.pretrained)[0], open_model(open_artifact(folder / "model", "model"))[0]


def test_dropout_of_finetuning_is_that_of_pretraining_unless_it_is_named(finished_run, tmp_path: Path) -> None:
    """The model that is pre-trained here has one of its own."""
    share = finished_run.pretrained.read_json("config.json")["dropout"]
    assert share not in (0.0, 0.5)
    weights = {}
    for dropout in (None, share, 0.0, 0.5):
        config = FinetuneConfig(batch_size=4, queries_per_item=1, num_steps=2, validate_every_steps=2, dropout=dropout)
        inputs = finished_run.items, finished_run.clicks, finished_run.pretrained, finished_run.gate
        context = StageContext("config", tmp_path / f"work {dropout}")
        finetune(*inputs, tmp_path / f"model {dropout}", LossConfig(), config, RUNTIME, context)
        model, _ = open_model(open_artifact(tmp_path / f"model {dropout}", "model"))
        weights[dropout] = model.query_tower.head.projection.weight
        assert model.config.dropout == share
    assert torch.equal(weights[None], weights[share])
    assert not torch.equal(weights[None], weights[0.0])
    assert not torch.equal(weights[0.0], weights[0.5])


@pytest.mark.parametrize("weighting", ["soft", "hard"])
def test_pairs_are_weighed_by_the_gates_probability_or_by_its_decision(
    finished_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighting: str
) -> None:
    told = []

    class Seen(FinetuningObjective):
        def __init__(self, loss: LossConfig, towers: Any, gate_G: torch.Tensor, text_weight: float, **others: Any) -> None:
            told.append((gate_G, text_weight))
            super().__init__(loss, towers, gate_G, text_weight, **others)

    monkeypatch.setattr("smar_core.training.finetune.FinetuningObjective", Seen)
    config = FinetuneConfig(batch_size=4, queries_per_item=1, num_steps=1, gate_weighting=weighting, text_weight=0.7)
    inputs = finished_run.items, finished_run.clicks, finished_run.pretrained, finished_run.gate
    finetune(*inputs, tmp_path / "model", LossConfig(), config, RUNTIME, _context(tmp_path))
    gate = Gate.load(finished_run.gate.path)
    queries = read_true_pairs(finished_run.clicks, rows_by_item_id(finished_run.items)).queries
    probability = torch.from_numpy(gate.probabilities(queries, batch_size=8, device=CPU)).float()
    assert 0 < probability.min() < gate.threshold < probability.max() < 1
    expected = probability if weighting == "soft" else (probability >= gate.threshold).float()
    ((gate_G, text_weight),) = told
    torch.testing.assert_close(gate_G, expected)
    assert text_weight == 0.7
