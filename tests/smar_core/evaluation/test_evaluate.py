import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import EvaluateConfig, ExportConfig, RuntimeConfig
from smar_core.digest import digest_json
from smar_core.errors import ArtifactError, UserError
from smar_core.evaluation.evaluate import evaluate
from smar_core.evaluation.measures import Qrels
from smar_core.evaluation.runs import read_qrels, read_run
from smar_core.evaluation.shelf import encode_jpeg
from smar_core.evaluation.testset import load_click_test
from smar_core.evaluation.views import measure_ann
from smar_core.experiments.diagnosis import Intervals, gather_diagnosis
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import NO_ITEM, Ranking
from smar_core.retrieval.export import export_embeddings
from smar_core.stage import StageContext
from smar_core.text import query_id

SYSTEMS = {"model", "text_only", "text_only_pretrained", "multimodal", "image", "click_memory"}

JUDGMENTS = (
    ("Red  Shirt", "z9", 3),
    ("red shirt", "a10", 2),
    ("red shirt", "gone", 3),  # left the catalogue
    ("red shirt", "d4", 0),
    ("dress", "gone", 1),  # nothing left of this query
    ("never asked", "z9", 3),
)


def run_evaluate(finished_run, output: Path, judgments: Path | None, **config: Any) -> dict[str, float]:
    return evaluate(
        finished_run.items,
        finished_run.clicks,
        finished_run.synthetic,
        finished_run.pretrained,
        finished_run.gate,
        finished_run.finetuned,
        finished_run.bundle,
        judgments,
        output,
        EvaluateConfig.model_validate({"num_bootstrap_samples": 50, "num_examples": 3} | config),
        RuntimeConfig(num_threads=1),
        StageContext(config_digest="", work=output.parent),
    )


@pytest.fixture(scope="module")
def judgments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judgments") / "judgments.csv"
    path.write_text("query,item_id,grade\n" + "".join(f"{q},{i},{g}\n" for q, i, g in JUDGMENTS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def evaluated(finished_run, judgments: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, dict[str, float]]:
    output = tmp_path_factory.mktemp("evaluated") / "evaluation"
    figures = run_evaluate(finished_run, output, judgments)
    return open_artifact(output, "evaluation"), figures


@pytest.fixture(scope="module")
def scores(evaluated: tuple[Artifact, dict[str, float]]) -> dict[str, Any]:
    return evaluated[0].read_json("scores.json")


def test_scores_have_the_contract_form(scores: dict[str, Any]) -> None:
    assert set(scores) == SYSTEMS | {
        "traffic",
        "judged",
        "attainable",
        "ann",
        "differences",
        "queries",
        "gate",
        "exclusive",
        "reliance",
        "signatures",
    }
    for system in SYSTEMS:
        assert {name: part["num_queries"] for name, part in scores[system].items()} == {
            "overall": 4,
            "fashion": 2,
            "not_fashion": 2,
            "seen_query": 3,
            "unseen_query": 1,
            "unseen_pair": 3,  # red shirt with a10, blanket, dress with h8; steel pot has nothing new
            "unseen_item": 2,  # blanket, dress with h8
            "seen_query_unseen_item": 1,
            "unseen_query_unseen_item": 1,
            "seen_item": 2,  # red shirt, steel pot
            "seen_query_seen_item": 2,
            "head": 1,  # red shirt has 4 of 7 training clicks, steel pot 2, dress 1
            "torso": 1,
            "tail": 2,
            "words_1": 2,
            "words_2": 2,
            "with_image": 3,
            "without_image": 1,  # blanket
            "picture_distinct": 3,
            "synthetic": 10,  # one an item
        }
        for part in scores[system].values():
            measures = set(part) - {"num_queries"}
            expected = {f"{name}@{k}{end}" for k in (10, 50, 100) for name in ("R", "P", "F1", "nDCG") for end in ("",)}
            assert measures == expected | {f"P@{k}_max" for k in (10, 50, 100)} | {"RR@10"}
            assert all(set(part[measure]) == {"value", "low", "high"} for measure in measures)
    pictures = {"none": 1, "blank": 0, "stock": 0, "near_duplicate": 0, "distinct": 5}
    settings = {"confidence": 0.95, "num_bootstrap_samples": 50, "seed": 0}
    counts = {"split": "test", "num_test": 4, "num_excluded": 0, "relevant_pictures": pictures}
    assert scores["queries"] == counts | settings


def test_everything_is_found_in_a_catalogue_of_ten(scores: dict[str, Any]) -> None:
    """R@10 is 1 for whoever ranks every item; pictures alone miss f6, which has none; memory knows the seen pairs alone."""
    for system in ("model", "text_only", "text_only_pretrained", "multimodal"):
        assert scores[system]["overall"]["R@10"]["value"] == 1.0
        assert scores[system]["unseen_pair"]["R@10"]["value"] == 1.0
    assert scores["image"]["overall"]["R@10"]["value"] == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert scores["click_memory"]["overall"]["R@10"]["value"] == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    assert scores["click_memory"]["unseen_pair"]["R@10"]["value"] == 0.0
    assert scores["model"]["overall"]["P@10"]["value"] == pytest.approx((2 + 1 + 2 + 1) / 40)
    assert scores["model"]["overall"]["P@10_max"] == scores["model"]["overall"]["P@10"]


def test_seen_items_leave_the_run_of_unseen_pairs(finished_run, scores: dict[str, Any]) -> None:
    """Without a1 and z9, clicked in training for "red shirt", item a10 moves up in that query's run."""
    bundle = Bundle.open(finished_run.bundle.path)
    test = load_click_test(finished_run.clicks, bundle.item_ids, "test")
    place = test.query_ids.index(query_id("red shirt"))
    assert dict(zip(test.trained_rows[place].tolist(), test.trained_clicks[place].tolist(), strict=True)) == {0: 1, 9: 3}
    assert test.trained_anywhere.tolist() == [0, 1, 4, 9]

    wanted = {"red shirt": {"a10"}, "dress": {"h8"}, "blanket": {"f6", "g7"}}
    seen = {"red shirt": {"a1", "z9"}, "dress": {"a10"}, "blanket": set()}
    moved = []
    for system, mode in (("text_only", "text"), ("multimodal", "multimodal")):
        hits = dict(zip(wanted, bundle.search(list(wanted), 10, mode, exact=True), strict=True))
        everything = {query: [hit.item_id for hit in of] for query, of in hits.items()}
        left = {query: [item_id for item_id in of if item_id not in seen[query]] for query, of in everything.items()}
        assert scores[system]["unseen_pair"]["RR@10"]["value"] == pytest.approx(mean_reciprocal_rank(left, wanted))
        moved.append(mean_reciprocal_rank(left, wanted) > mean_reciprocal_rank(everything, wanted))
    assert any(moved)  # or a run with the seen items would do as well


def mean_reciprocal_rank(ranked: dict[str, list[str]], wanted: dict[str, set[str]]) -> float:
    return sum(1 / (1 + min(map(ranked[query].index, of))) for query, of in wanted.items()) / len(wanted)


def test_runs_and_qrels_agree_with_ir_measures(evaluated: tuple[Artifact, dict[str, float]], scores: dict[str, Any]) -> None:
    folder = evaluated[0].path
    qrels = [ir_measures.Qrel(line.query_id, line.item_id, line.grade) for line in read_qrels(folder / "qrels.trec")]
    for system in ("model", "text_only", "multimodal"):
        lines = read_run(folder / f"run-{system}.trec")
        assert len(lines) == 40 and {line.tag for line in lines} == {system}
        run = [ir_measures.ScoredDoc(line.query_id, line.item_id, -float(line.rank)) for line in lines]
        measures = [ir_measures.nDCG @ 10, ir_measures.RR @ 10, ir_measures.P @ 10, ir_measures.R @ 50]
        for measure, value in ir_measures.calc_aggregate(measures, qrels, run).items():
            assert scores[system]["overall"][str(measure)]["value"] == pytest.approx(value)


def test_what_is_attainable_is_worked_out_by_hand(scores: dict[str, Any]) -> None:
    """The one judged query of the test days: each item that was clicked for it has a grade, and there are fewer than 50."""
    entry = scores["attainable"]["slices"]["overall"]
    assert (entry["num_queries"], entry["attainable"]["value"]) == (1, 1.0)
    assert entry["share"]["value"] == entry["model"]["value"]


def test_judged_counts_and_grades(scores: dict[str, Any]) -> None:
    judged = scores["judged"]
    counts = {name: value for name, value in judged.items() if name.startswith("num_")}
    assert counts == {
        "num_judgments": 6,
        "num_judgments_used": 2,
        "num_judgments_on_unknown_items": 2,
        "num_unknown_items": 1,
        "num_judged_queries": 3,
        "num_judged_queries_not_in_test": 1,
        "num_judged_queries_without_relevant": 1,
        "num_test_queries_without_judgment": 2,
    }
    used = [[query_id("red shirt"), "a10", 2.0], [query_id("red shirt"), "z9", 3.0]]
    assert judged["digest"] == digest_json(used)
    assert judged["model"]["overall"]["num_queries"] == 1
    assert set(judged["model"]) == {"overall", "fashion", "seen_query", "head", "words_2", "with_image", "picture_distinct"}
    # Memory ranks z9 (3 clicks) above a1: gain 3 at rank 1; the ideal adds a10 with grade 2 at rank 2.
    assert judged["click_memory"]["overall"]["nDCG@10"]["value"] == pytest.approx(3 / (3 + 2 / np.log2(3)))


def test_what_a_trial_keeps_names_its_judgments_and_what_its_intervals_are(scores: dict[str, Any]) -> None:
    kept = gather_diagnosis(scores)
    assert kept.judgments == scores["judged"]["digest"]
    assert kept.intervals == Intervals(confidence=0.95, num_bootstrap_samples=50, seed=0)


def test_differences_are_those_of_the_means(scores: dict[str, Any]) -> None:
    part = scores["differences"]["model - text_only"]["overall"]["nDCG@10"]
    values = [scores[system]["overall"]["nDCG@10"]["value"] for system in ("model", "text_only")]
    assert part["value"] == pytest.approx(values[0] - values[1])
    assert part["low"] <= part["value"] <= part["high"]


def test_traffic_weighs_queries_by_their_clicks(scores: dict[str, Any]) -> None:
    """Clicks: red shirt 3, steel pot 1, blanket 2, dress 4; memory finds one of two, one, none of two and none."""
    weighted = scores["traffic"]["click_memory"]["overall"]["R@10"]
    assert weighted["value"] == pytest.approx((3 * 0.5 + 1 * 1 + 2 * 0 + 4 * 0) / 10)
    assert weighted["low"] <= weighted["value"] <= weighted["high"]
    assert set(scores["traffic"]["model"]) == {"overall", "fashion", "not_fashion", "seen_query", "unseen_query"}
    assert "p_holm" in scores["traffic"]["differences"]["model - click_memory"]["overall"]["R@10"]


def test_a_category_with_enough_queries_has_a_slice(finished_run, tmp_path: Path) -> None:
    run_evaluate(finished_run, tmp_path / "evaluation", None, num_examples=0, min_slice_queries=2)
    scores = open_artifact(tmp_path / "evaluation", "evaluation").read_json("scores.json")
    found = {name: part["num_queries"] for name, part in scores["model"].items() if name.startswith("category:")}
    assert found == {"category:Apparel": 2, "category:Home": 2}


def test_without_held_out_synthetic_queries(finished_run, evaluated, tmp_path: Path) -> None:
    """Nothing else changes: the queries that are left out were encoded and ranked beside the others."""
    run_evaluate(finished_run, tmp_path / "evaluation", None, num_examples=0, num_synthetic_queries=0)
    scores = open_artifact(tmp_path / "evaluation", "evaluation").read_json("scores.json")
    with_them = dict(evaluated[0].read_json("scores.json")["model"])
    assert with_them.pop("synthetic")["num_queries"] == 10
    assert scores["model"] == with_them


def test_flat_index_loses_nothing(scores: dict[str, Any]) -> None:
    for modality in ("text", "multimodal"):
        assert scores["ann"][modality]["recall@50"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert scores["ann"]["model"]["overall"] == scores["model"]["overall"]


def test_per_query_values_average_to_the_scores(evaluated: tuple[Artifact, dict[str, float]], scores: dict[str, Any]) -> None:
    table = evaluated[0].read_table("per_query")
    chosen = table.filter(
        pc.and_(
            pc.equal(table["system"], "model"), pc.and_(pc.equal(table["source"], "clicks"), pc.equal(table["measure"], "RR@10"))
        )
    )
    assert pc.mean(chosen["value"]).as_py() == pytest.approx(scores["model"]["overall"]["RR@10"]["value"])
    assert set(table["source"].to_pylist()) == {
        "clicks",
        "clicks_unseen_pairs",
        "clicks_unseen_items",
        "clicks_seen_items",
        "synthetic",
        "judgments",
    }
    slices = evaluated[0].read_table("slices")
    fashion = slices.filter(pc.equal(slices["slice"], "fashion"))["query_id"].to_pylist()
    assert sorted(fashion) == sorted([query_id("red shirt"), query_id("dress")])


def test_figures_name_the_summary(evaluated: tuple[Artifact, dict[str, float]], scores: dict[str, Any]) -> None:
    figures = evaluated[1]
    assert figures["R@50"] == scores["model"]["overall"]["R@50"]["value"]
    assert figures["text_only_nDCG@10_fashion"] == scores["text_only"]["fashion"]["nDCG@10"]["value"]
    assert figures["judged_nDCG@10"] == scores["judged"]["model"]["overall"]["nDCG@10"]["value"]


def test_page_shows_products(evaluated: tuple[Artifact, dict[str, float]]) -> None:
    page = (evaluated[0].path / "page.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in page and "red shirt" in page


def test_equal_runs_give_equal_content_whatever_the_batch(finished_run, evaluated, judgments: Path, tmp_path: Path) -> None:
    for batch_size in (1, 256):
        run_evaluate(finished_run, tmp_path / "again", judgments, batch_size=batch_size)
        again = open_artifact(tmp_path / "again", "evaluation")
        assert again.read_json("scores.json") == evaluated[0].read_json("scores.json")
    assert again.digest == evaluated[0].digest


def test_without_judgments(finished_run, tmp_path: Path) -> None:
    run_evaluate(finished_run, tmp_path / "evaluation", None, num_examples=0)
    assert "judged" not in open_artifact(tmp_path / "evaluation", "evaluation").read_json("scores.json")


def export_with(finished_run, folder: Path, model: Artifact, gate: Artifact) -> Any:
    """Return the run with a bundle of another model or gate."""
    export_embeddings(
        finished_run.items,
        model,
        gate,
        folder / "bundle",
        ExportConfig(index="flat"),
        RuntimeConfig(num_threads=1),
        StageContext(config_digest="", work=folder),
    )
    return replace(finished_run, bundle=open_artifact(folder / "bundle", "bundle"))


@pytest.mark.parametrize(("mode", "system"), [("always_text", "text_only"), ("always_multimodal", "multimodal")])
def test_constant_gate_is_one_index(finished_run, write_gate, tmp_path: Path, mode: str, system: str) -> None:
    gate = write_gate(tmp_path / "gate", finished_run.pretrained, mode)
    changed = replace(export_with(finished_run, tmp_path, finished_run.finetuned, gate), gate=gate)
    run_evaluate(changed, tmp_path / "evaluation", None)
    scores = open_artifact(tmp_path / "evaluation", "evaluation").read_json("scores.json")
    assert scores["model"] == scores[system]
    assert "gate" not in scores and "exclusive" not in scores
    assert ("reliance" in scores) == (mode == "always_multimodal")
    told = [signature["name"] for signature in scores["signatures"] if "one index, that of text" in signature["evidence"]]
    assert len(told) == (3 if mode == "always_text" else 0)
    assert "the model has one index only" in (tmp_path / "evaluation" / "page.html").read_text(encoding="utf-8")


def test_diagnosis_agrees_with_the_scores(scores: dict[str, Any]) -> None:
    policies = {"routed": "model", "always_text": "text_only", "always_multimodal": "multimodal"}
    for policy, system in policies.items():
        for name, part in scores["gate"]["policies"][policy].items():
            for measure in ("R@50", "nDCG@10"):
                assert part[measure]["value"] == pytest.approx(scores[system][name][measure]["value"])
    assert len({scores[system]["overall"]["nDCG@10"]["value"] for system in policies.values()}) == 3
    pairs = scores["exclusive"]["overall"]
    assert pairs["num_pairs"] == pairs["num_both"] == 6  # of test; a top 50 of ten products holds them all
    assert set(scores["reliance"]) == {"shuffled", "blank"}
    assert len(scores["signatures"]) == 6


def test_reliance_can_be_skipped(finished_run, tmp_path: Path) -> None:
    run_evaluate(finished_run, tmp_path / "evaluation", None, reliance="skipped", num_examples=0)
    scores = open_artifact(tmp_path / "evaluation", "evaluation").read_json("scores.json")
    assert "reliance" not in scores and "gate" in scores


def test_bundle_of_another_model_is_refused(finished_run, tmp_path: Path) -> None:
    other = export_with(finished_run, tmp_path, finished_run.pretrained, finished_run.gate)
    with pytest.raises(ArtifactError, match="another model artifact"):
        run_evaluate(other, tmp_path / "evaluation", None)
    assert not (tmp_path / "evaluation").exists()


def test_no_known_item_clicked_is_a_user_error(finished_run) -> None:
    with pytest.raises(UserError, match="no click on an item of the catalogue"):
        load_click_test(finished_run.clicks, ["somewhere else"], "test")


def test_validation_days_are_evaluated_alike(finished_run, tmp_path: Path) -> None:
    """On them "red shirt", of training, was clicked with z9 and "steel pan", never seen, with e5."""
    run_evaluate(finished_run, tmp_path / "evaluation", None, split="validation", num_examples=0)
    evaluation = open_artifact(tmp_path / "evaluation", "evaluation")
    scores = evaluation.read_json("scores.json")
    assert (scores["queries"]["split"], scores["queries"]["num_test"]) == ("validation", 2)
    assert [line.item_id for line in read_qrels(evaluation.path / "qrels.trec")] in (["z9", "e5"], ["e5", "z9"])
    assert scores["model"]["seen_query"]["num_queries"] == scores["model"]["unseen_query"]["num_queries"] == 1
    assert scores["click_memory"]["seen_query"]["RR@10"]["value"] == 1.0


def test_picture_survives_as_jpeg() -> None:
    pixels = np.full((16, 8, 3), (200, 30, 30), dtype=np.uint8)
    image = np.asarray(Image.open(io.BytesIO(encode_jpeg(pixels))))
    assert image.shape == (16, 8, 3)
    assert np.abs(image.astype(int) - pixels).max() < 8


def test_judgments_of_other_queries_leave_the_counts_alone(finished_run, tmp_path: Path) -> None:
    (tmp_path / "judgments.csv").write_text("query,item_id,grade\nnever asked,z9,3\n", encoding="utf-8")
    run_evaluate(finished_run, tmp_path / "evaluation", tmp_path / "judgments.csv", num_examples=0)
    evaluation = open_artifact(tmp_path / "evaluation", "evaluation")
    judged = evaluation.read_json("scores.json")["judged"]
    assert judged["num_judged_queries_not_in_test"] == judged["num_judged_queries"] == 1
    assert all(isinstance(count, int) for name, count in judged.items() if name != "digest")
    assert "judgments" not in evaluation.read_table("per_query")["source"].to_pylist()
    assert "There is nothing to measure" in (evaluation.path / "page.html").read_text(encoding="utf-8")


def ranking_of(*rows: list[int]) -> Ranking:
    """Return a ranking of 100 places that begins with some rows, for each query."""
    padded = np.array([row + [NO_ITEM] * (100 - len(row)) for row in rows], dtype=np.int32)
    return Ranking(padded, np.zeros(padded.shape, dtype=np.float32))


def test_an_index_is_compared_with_the_exact_search_of_its_own_embeddings() -> None:
    """That of S_t finds one of two items, that of S_m both, and neither finds what the other's exact search does."""
    exact = {"text_only": ranking_of([0, 1]), "multimodal": ranking_of([2, 3]), "model": ranking_of([0, 1])}
    ann = {"text": ranking_of([0, 4]), "multimodal": ranking_of([3, 2]), "model": ranking_of([0, 4])}
    qrels = Qrels.build(1, np.array([0, 0]), np.array([0, 1]), np.ones(2))
    scores = measure_ann(ann, exact, qrels, {"overall": np.ones(1, dtype=bool)}, EvaluateConfig())
    assert scores["text"]["recall@50"]["value"] == 0.5
    assert scores["multimodal"]["recall@50"]["value"] == 1.0
    assert scores["model"]["overall"]["R@50"]["value"] == 0.5


def test_the_one_index_of_an_item_gate_is_measured_too() -> None:
    """What an item gate's single index loses was never reported: its name was no system's embeddings."""
    ranking = ranking_of([0, 1], [1, 0])
    qrels = Qrels.build(2, np.array([0, 1]), np.array([0, 1]), np.ones(2))
    slices = {"overall": np.ones(2, dtype=bool)}
    scores = measure_ann({"model": ranking, "gated": ranking}, {"model": ranking}, qrels, slices, EvaluateConfig())
    assert scores["gated"]["recall@50"]["value"] == 1.0
