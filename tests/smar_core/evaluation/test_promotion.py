"""Two bundles on the same queries, and what keeps the new one from the champion's place."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.config import EvaluateConfig, ExportConfig, PromotionConfig, RuntimeConfig
from smar_core.data.reference import count_reference
from smar_core.evaluation.bootstrap import Interval
from smar_core.evaluation.catalogues import View, compare_bundles, count_clicks, count_items
from smar_core.evaluation.promotion import decide_promotion, find_objections
from smar_core.evaluation.significance import Comparison
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.export import export_embeddings
from smar_core.stage import StageContext
from tests.smar_core.conftest import FinishedRun

MEASURING = EvaluateConfig(num_bootstrap_samples=20)
RUNTIME = RuntimeConfig(num_threads=1, device="cpu")
CUTOFF = 2

# (query, item, clicks): "h8" will have left, "new" is in the new catalogue alone.
CLICKS = (
    ("red shirt", "z9", 3),
    ("red shirt", "new", 1),
    ("blue dress", "a10", 2),
    ("blue dress", "h8", 5),
    ("blanket", "f6", 1),
    ("dress", "h8", 4),
    ("steel pot", "d4", 1),
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("reference") / "reference"
    rows = [{"query": query, "item_id": item} for query, item, clicks in CLICKS for _ in range(clicks)]
    with create_artifact(path, "reference", config_digest="", parents={}) as folder:
        pq.write_table(count_reference(pa.Table.from_pylist(rows)), folder / "reference.parquet")
        write_json(folder / "statistics.json", {})
    return open_artifact(path, "reference")


@pytest.fixture(scope="module")
def changed(finished_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The bundle of a catalogue in which "h8" left, "new" came, and two items swapped their titles."""
    root = tmp_path_factory.mktemp("changed")
    rows = [row for row in finished_run.items.read_table("items").to_pylist() if row["item_id"] != "h8"]
    titles = {row["item_id"]: row["title"] for row in rows}
    swapped = {"z9": titles["f6"], "f6": titles["z9"]}
    rows = [row | {"title": swapped.get(row["item_id"], row["title"])} for row in rows]
    rows.append(rows[0] | {"item_id": "new", "has_image": False, "image_problem": "absent"})
    pictures = finished_run.items.read_table("images")
    with create_artifact(root / "items", "items", config_digest="", parents={}) as folder:
        pq.write_table(pa.Table.from_pylist(rows, schema=finished_run.items.read_table("items").schema), folder / "items.parquet")
        kept = pictures.filter(pc.not_equal(pictures["item_id"], "h8"))
        with pa.ipc.new_file(folder / "images.arrow", kept.schema) as writer:
            writer.write_table(kept)
        write_json(folder / "statistics.json", {})
    items, context = open_artifact(root / "items", "items"), StageContext(config_digest="", work=root)
    export = ExportConfig(index="flat")
    export_embeddings(items, finished_run.finetuned, finished_run.gate, root / "bundle", export, RUNTIME, context)
    return open_artifact(root / "bundle", "bundle")


def clicks_of(reference: Artifact) -> pa.Table:
    return reference.read_table("reference", ["query", "item_id", "num_clicks"]).rename_columns({"num_clicks": "grade"})


def recall(bundle: Bundle, query: str, relevant: set[str], among: set[str]) -> float:
    """R@K the slow way: the whole ranking, without what is not looked at."""
    (hits,) = bundle.search([query], len(bundle.item_ids), exact=True)
    found = [hit.item_id for hit in hits if hit.item_id in among][:CUTOFF]
    return len(relevant.intersection(found)) / len(relevant)


def test_each_bundle_ranks_its_own_catalogue_and_only_items_in_both_are_relevant(
    finished_run: FinishedRun, changed: Artifact, reference: Artifact
) -> None:
    champion, refreshed = Bundle.open(finished_run.bundle.path), Bundle.open(changed.path)
    view = compare_bundles("clicks", clicks_of(reference), champion, refreshed, CUTOFF, MEASURING)
    assert view is not None
    relevant = {"blanket": {"f6"}, "blue dress": {"a10"}, "red shirt": {"z9"}, "steel pot": {"d4"}}
    assert list(view.queries) == list(relevant)
    assert view.num_left_out == 1, "of 'dress' the only clicked item left"
    both = set(champion.item_ids) & set(refreshed.item_ids)
    for values, bundle in ((view.champion_Q, champion), (view.refreshed_Q, refreshed)):
        assert values.tolist() == [recall(bundle, query, items, both) for query, items in relevant.items()]
    for system, bundle in (("champion", champion), ("refreshed", refreshed)):
        expected = [recall(bundle, query, items, set(bundle.item_ids)) for query, items in relevant.items()]
        assert view.served[system] == pytest.approx(np.mean(expected))
    with_new = relevant | {"red shirt": {"z9", "new"}}
    expected = [recall(refreshed, query, items, set(refreshed.item_ids)) for query, items in with_new.items()]
    assert view.served["refreshed_with_new_items"] == pytest.approx(np.mean(expected))
    assert view.comparison.difference.value == pytest.approx(view.refreshed_Q.mean() - view.champion_Q.mean())


def test_items_that_left_and_came_are_counted(finished_run: FinishedRun, changed: Artifact, reference: Artifact) -> None:
    before, after = (Bundle.open(artifact.path).item_ids for artifact in (finished_run.bundle, changed))
    counts = count_items(before, after)
    assert {name: counts[name] for name in ("num_in_both", "num_left", "num_came")} == {
        "num_in_both": 9,
        "num_left": 1,
        "num_came": 1,
    }
    assert counts["left_share"] == pytest.approx(0.1)
    assert count_clicks(clicks_of(reference), before, after) == {"both": 7, "left": 9, "came": 1}


def test_an_unchanged_catalogue_is_promoted(finished_run: FinishedRun, reference: Artifact, tmp_path: Path) -> None:
    config = PromotionConfig(cutoff=CUTOFF, min_queries=5)
    verdict, figures = decide_promotion(
        finished_run.bundle,
        finished_run.bundle,
        reference,
        None,
        tmp_path / "decision",
        config,
        MEASURING,
        RUNTIME,
        StageContext(config_digest="", work=tmp_path),
        has_champion=True,
    )
    assert verdict == "promote"
    assert figures["R@2"] == figures["R@2_champion"]
    decision = open_artifact(tmp_path / "decision", "decision")
    assert decision.read_json("decision.json")["objections"] == []
    assert decision.counts == {"per_query": 2 * 5}, "both bundles on five queries"


@pytest.mark.parametrize(("has_champion", "verdict"), [(True, "keep"), (False, "promote")])
def test_an_objection_keeps_a_champion_and_only_is_said_where_there_is_none(
    has_champion: bool, verdict: str, finished_run: FinishedRun, changed: Artifact, reference: Artifact, tmp_path: Path
) -> None:
    judgments = tmp_path / "judgments.parquet"
    pq.write_table(pa.table({"query": ["Dress", "dress"], "item_id": ["a10", "b 2"], "grade": [3, 0]}), judgments)
    found, _ = decide_promotion(
        finished_run.bundle,
        changed,
        reference,
        str(judgments),
        tmp_path / "decision",
        PromotionConfig(cutoff=CUTOFF, min_queries=5),
        MEASURING,
        RUNTIME,
        StageContext(config_digest="", work=tmp_path),
        has_champion=has_champion,
    )
    decision = open_artifact(tmp_path / "decision", "decision")
    content = decision.read_json("decision.json")
    assert found == content["verdict"] == verdict
    assert "only 4 reference queries" in content["objections"][0]
    assert set(content["views"]) == {"clicks", "judgments"}
    assert content["views"]["judgments"]["num_queries"] == 1
    assert content["objections"][0] in (decision.path / "page.html").read_text()


def view_of(num_queries: int, drop: float, served_drop: float = 0.0, source: str = "clicks") -> View:
    return View(
        source=source,
        queries=["q"] * num_queries,
        num_left_out=0,
        champion_Q=np.full(num_queries, 0.5),
        refreshed_Q=np.full(num_queries, 0.5 - drop),
        comparison=Comparison(Interval(-drop, -drop, -drop), None, 1.0),
        served={"champion": 0.4, "refreshed": 0.4 - served_drop},
    )


@pytest.mark.parametrize(
    ("views", "p_values", "left_share", "named"),
    [
        ([view_of(30, 0.01)], [0.05], 0.3, []),
        ([view_of(30, 0.01)], [0.049], 0.0, ["significant"]),
        ([view_of(30, -0.2)], [0.001], 0.0, []),
        ([view_of(30, 0.06)], [0.9], 0.0, ["max_drop"]),
        ([view_of(30, 0.0, served_drop=0.06)], [1.0], 0.0, ["as served, more than promotion.max_drop"]),
        ([view_of(29, 0.0)], [1.0], 0.0, ["min_queries"]),
        ([], [], 0.0, ["only 0 reference queries"]),
        ([view_of(30, 0.0)], [1.0], 0.31, ["max_left_share"]),
        ([view_of(30, 0.0), view_of(5, 0.01, source="judgments")], [1.0, 0.01], 0.0, ["on judgments fell"]),
    ],
)
def test_what_keeps_a_catalogue_from_being_promoted(
    views: Sequence[View], p_values: Sequence[float], left_share: float, named: Sequence[str]
) -> None:
    catalogues = {"left_share": left_share, "num_left": 3, "num_champion": 10}
    objections = find_objections(views, p_values, catalogues, PromotionConfig(), 0.05)
    assert len(objections) == len(named)
    assert all(part in objection for part, objection in zip(named, objections, strict=True))
