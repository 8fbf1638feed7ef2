"""The gate's supervisions and sides through the stages: trained, fine-tuned with, exported, searched and evaluated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import EvaluateConfig, ExportConfig, FinetuneConfig, GateConfig, LossConfig, RuntimeConfig
from smar_core.errors import UserError
from smar_core.evaluation.evaluate import evaluate
from smar_core.model.encoding import encode_catalogue, encode_queries
from smar_core.model.gate import Gate
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import exact_search
from smar_core.retrieval.export import export_embeddings
from smar_core.stage import StageContext
from smar_core.training.finetune import finetune
from smar_core.training.gate import train_gate
from smar_core.training.gate_labels import utility_labels
from smar_core.training.model_artifact import open_model

RUNTIME = RuntimeConfig(num_threads=1, device="cpu")
CPU = torch.device("cpu")
QUERIES = ["red shirt", "steel pot", "blanket"]


def train(finished_run, root: Path, **config: object) -> Artifact:
    values = {"visual_categories": ("Apparel",), "num_steps": 60, "batch_size": 8} | config
    inputs = finished_run.items, finished_run.clicks, finished_run.pretrained
    train_gate(*inputs, root / "gate", GateConfig.model_validate(values), RUNTIME, StageContext("config", root / "work"))
    return open_artifact(root / "gate", "gate")


def export(finished_run, gate: Artifact, output: Path) -> Bundle:
    context = StageContext("", output.parent)
    export_embeddings(finished_run.items, finished_run.finetuned, gate, output, ExportConfig(index="flat"), RUNTIME, context)
    return Bundle.open(output)


def naive_utility(finished_run) -> dict[tuple[str, str], float]:
    """The label of every training pair from full rankings, one pair at a time."""
    model, tokenizer = open_model(finished_run.pretrained)
    items = encode_catalogue(model, tokenizer, finished_run.items, batch_size=16, device=CPU)
    table = finished_run.clicks.read_table("pairs").to_pylist()
    found = {}
    for row in table:
        if row["split"] == "train":
            query_QD = encode_queries(model.query_tower, tokenizer, [row["query"]], batch_size=1, device=CPU)
            place = items.item_ids.index(row["item_id"])
            ranks = []
            for tower in ("text", "multimodal"):
                scores = items.by_tower[tower] @ query_QD[0]
                ranks.append(np.array([0.5 + (scores > scores[place]).sum() + (scores == scores[place]).sum() / 2]))
            found[row["query"], row["item_id"]] = float(utility_labels(*ranks)[0])
    return found


def test_utility_of_a_query_is_that_of_its_clicked_items(finished_run, tmp_path: Path) -> None:
    gate = train(finished_run, tmp_path, supervision="utility")
    table = gate.read_table("gate_queries").to_pylist()
    assert gate.read_json("gate_report.json")["supervision"] == "utility"
    utility = naive_utility(finished_run)
    clicks = [row for row in finished_run.clicks.read_table("pairs").to_pylist() if row["split"] == "train"]
    labels = {row["query_id"]: row["label"] for row in table if row["split"] == "train"}
    assert set(labels) == {row["query_id"] for row in clicks}
    for query_id, label in labels.items():
        of_query = [row for row in clicks if row["query_id"] == query_id]
        weights = [row["num_clicks"] for row in of_query]
        assert label == pytest.approx(np.average([utility[row["query"], row["item_id"]] for row in of_query], weights=weights))
    assert len(set(labels.values())) > 1


def test_utility_needs_no_visual_category(finished_run, tmp_path: Path) -> None:
    gate = Gate.load(train(finished_run, tmp_path, supervision="utility", visual_categories=("Nothing",)).path)
    assert gate.modalities == ("text", "multimodal")
    probabilities = gate.probabilities(QUERIES, batch_size=2, device=CPU)
    assert ((probabilities > 0) & (probabilities < 1)).all()


@pytest.mark.parametrize("supervision", ["category", "utility"])
def test_item_side_is_served_from_one_index(finished_run, tmp_path: Path, supervision: str) -> None:
    """Search, exact and approximate, agrees with a ranking over S_m of the chosen items and S_t of the others."""
    artifact = train(finished_run, tmp_path, side="item", supervision=supervision)
    gate = Gate.load(artifact.path)
    bundle = export(finished_run, artifact, tmp_path / "bundle")
    is_multimodal = gate.item_probabilities(bundle.item_ids) >= gate.threshold
    assert set(is_multimodal.tolist()) == {True, False}
    assert sorted(path.name for path in (tmp_path / "bundle").glob("*.faiss")) == ["index-gated.faiss"]
    mixed_ND = np.where(is_multimodal[:, None], bundle.embeddings("multimodal"), bundle.embeddings("text"))
    expected = exact_search(bundle.encode(QUERIES), mixed_ND, 4)
    for exact in (True, False):
        answers = bundle.search(QUERIES, 4, exact=exact)
        assert [[hit.item_id for hit in hits] for hits in answers] == [
            [bundle.item_ids[row] for row in rows] for rows in expected.rows_QK
        ]
    with pytest.raises(UserError, match="no text index"):
        bundle.search(QUERIES, 4, mode="text")


def test_item_side_writes_p_of_every_item(finished_run, tmp_path: Path) -> None:
    artifact = train(finished_run, tmp_path, side="item")
    gate = Gate.load(artifact.path)
    assert gate.items is not None and artifact.read_table("gate_queries").num_rows == 0
    of_item = {row["item_id"]: row for row in gate.items.to_pylist()}
    trained = {row["item_id"] for row in finished_run.clicks.read_table("pairs").to_pylist() if row["split"] == "train"}
    assert {item_id for item_id, row in of_item.items() if row["label"] is not None} == trained
    assert len(of_item) == finished_run.items.read_table("items").num_rows
    assert gate.item_probabilities(["z9", "a1"]).tolist() == [of_item["z9"]["probability"], of_item["a1"]["probability"]]
    with pytest.raises(UserError, match="item 'new' is none of them; train anew with this catalogue"):
        gate.item_probabilities(["a1", "new"])
    share = np.mean([row["probability"] >= gate.threshold for row in of_item.values()])
    assert gate.probabilities(QUERIES, batch_size=2, device=CPU).tolist() == pytest.approx([share] * 3)


def test_item_side_is_finetuned_and_evaluated(finished_run, tmp_path: Path) -> None:
    gate = train(finished_run, tmp_path, side="item")
    config = FinetuneConfig(batch_size=4, queries_per_item=1, num_steps=2, validate_every_steps=2)
    context = StageContext("", tmp_path / "work")
    inputs = finished_run.items, finished_run.clicks, finished_run.pretrained, gate
    figures = finetune(*inputs, tmp_path / "model", LossConfig(), config, RUNTIME, context)
    assert 0 <= figures["validation_R@50_routed"] <= 1
    finetuned = open_artifact(tmp_path / "model", "model")
    bundle_path = tmp_path / "bundle"
    export_embeddings(finished_run.items, finetuned, gate, bundle_path, ExportConfig(index="flat"), RUNTIME, context)
    bundle = open_artifact(bundle_path, "bundle")
    evaluate(
        finished_run.items,
        finished_run.clicks,
        finished_run.synthetic,
        finished_run.pretrained,
        gate,
        finetuned,
        bundle,
        None,
        tmp_path / "evaluation",
        EvaluateConfig(num_bootstrap_samples=20, num_examples=2),
        RUNTIME,
        context,
    )
    scores = open_artifact(tmp_path / "evaluation", "evaluation").read_json("scores.json")
    assert {"model", "text_only", "multimodal", "image"} <= set(scores)
    assert "gate" not in scores and set(scores["reliance"]["blank"]["scores"]) == {"model"}


@pytest.mark.parametrize("setting", [{"side": "item"}, {"supervision": "utility"}])
def test_how_p_is_learned_needs_a_learned_gate(setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="mode is always_multimodal"):
        GateConfig.model_validate({"mode": "always_multimodal"} | setting)


def test_items_that_the_gate_does_not_know_end_the_export_before_it_encodes(
    finished_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh encoded its whole catalogue first, and was told to train a gate, which a refresh does not do."""
    gate = train(finished_run, tmp_path, side="item")
    known = pq.read_table(gate.path / "gate_items.parquet")
    monkeypatch.setattr(Gate, "load", lambda _path, load=Gate.load: replace(load(gate.path), items=known.slice(1)))
    monkeypatch.setattr("smar_core.retrieval.export.encode_catalogue", lambda *_, **__: pytest.fail("the catalogue was encoded"))
    with pytest.raises(UserError, match=r"P of the items that it was trained with alone, .*gate\.side=query"):
        export(finished_run, gate, tmp_path / "bundle")


def test_a_constant_gate_is_the_same_whatever_ran_before(finished_run, tmp_path: Path) -> None:
    digests = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        digests.add(train(finished_run, tmp_path / str(seed), mode="always_text").digest)
    assert len(digests) == 1
