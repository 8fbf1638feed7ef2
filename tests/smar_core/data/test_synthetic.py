import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.config import SyntheticConfig
from smar_core.data.matched import FIELDS
from smar_core.data.synthetic import generate_synthetic_queries
from smar_core.schemas import ITEMS
from smar_core.stage import StageContext
from smar_core.text import item_text


@pytest.fixture
def generate(prepared, tmp_path: Path) -> Callable[..., Artifact]:
    def run(num_workers: int = 1, **changes: float) -> Artifact:
        config = SyntheticConfig.model_validate(prepared.config.synthetic.model_dump() | changes)
        runner = prepared.config.beam.model_copy(update={"num_workers": num_workers})
        context = StageContext("config digest", tmp_path / "work")
        output = tmp_path / "synthetic"
        generate_synthetic_queries(prepared.items, prepared.clicks, prepared.tokenizer, output, config, runner, context)
        return open_artifact(output, "synthetic")

    return run


def test_every_query_is_a_run_of_words_of_its_item(prepared) -> None:
    items = prepared.items.read_table("items").to_pylist()
    words = {row["item_id"]: item_text(row["title"], row["brand"], row["category"]).split() for row in items}
    titles = {row["item_id"]: row["title"].lower().split() for row in items}
    held_out = {row["query"] for row in prepared.clicks.read_table("queries").to_pylist() if row["split"] != "train"}
    for row in prepared.synthetic.read_table("synthetic").to_pylist():
        start, size = row["start_word"], row["num_words"]
        assert row["query"].split() == words[row["item_id"]][start : start + size]
        assert size > 1 or row["query"] in titles[row["item_id"]]
        assert size <= prepared.config.synthetic.max_words
        assert row["query"] not in held_out
        num_fits = sum(set(row["query"].split()) <= set(other) for other in words.values())
        assert num_fits <= 0.2 * len(words)


def test_numbers_add_up(prepared) -> None:
    drift = prepared.synthetic.read_json("drift.json")
    rows = prepared.synthetic.read_table("synthetic").to_pylist()
    num_train = sum(split == "train" for split in prepared.clicks.read_table("queries")["split"].to_pylist())
    assert drift["num_requested"] == 10 * num_train
    assert drift["num_synthetic"] == len(rows)
    assert drift["missing_share"] == pytest.approx(1 - len(rows) / drift["num_requested"])
    assert drift["num_distinct_pairs"] == len({(row["query"], row["item_id"]) for row in rows}) < len(rows)
    assert drift["repeated_share"] == pytest.approx(1 - drift["num_distinct_pairs"] / len(rows))
    assert drift["num_dropped_held_out"] > 0, "the tiny shop's held-out queries can be drawn, else the test above says nothing"
    assert len({(row["item_id"], row["draw"]) for row in rows}) == len(rows)


@pytest.mark.parametrize("sampling", ["uniform", "matched"])
def test_what_items_cannot_give_is_drawn_from_the_others(prepared, tmp_path: Path, sampling: str) -> None:
    """Every second item has the same text as many others and can give nothing: the rest gives twice as much, evenly."""
    rows = [
        row | ({"title": "Plain Thing", "brand": "", "category": ""} if number % 2 else {})
        for number, row in enumerate(prepared.items.read_table("items").to_pylist())
    ]
    with create_artifact(tmp_path / "items", "items", config_digest="", parents={}) as folder:
        pq.write_table(pa.Table.from_pylist(rows, ITEMS), folder / "items.parquet")
        for path in prepared.items.path.glob("images-*"):
            (folder / path.name).write_bytes(path.read_bytes())
        write_json(folder / "statistics.json", {})
    config = prepared.config.synthetic.model_copy(update={"sampling": sampling, "max_redraws": 50})
    items, output = open_artifact(tmp_path / "items", "items"), tmp_path / "synthetic"
    context = StageContext("", tmp_path / "work")
    generate_synthetic_queries(items, prepared.clicks, prepared.tokenizer, output, config, prepared.config.beam, context)
    drift = json.loads((output / "drift.json").read_text())
    assert drift["num_given_up"] > 0.4 * drift["num_requested"]
    assert 0 <= drift["missing_share"] < 0.1  # the second round may draw held-out queries, too
    counts = Counter(open_artifact(output, "synthetic").read_table("synthetic")["item_id"].to_pylist())
    assert counts.keys() == {row["item_id"] for row in rows if row["title"] != "Plain Thing"}
    assert max(counts.values()) <= 1 + (drift["num_requested"] + drift["num_dropped_held_out"]) // len(counts)


@pytest.mark.parametrize("sampling", ["uniform", "matched"])
def test_two_workers_write_the_same_bytes_as_one(generate, sampling: str) -> None:
    assert generate(num_workers=2, sampling=sampling).digest == generate(sampling=sampling).digest


def test_matched_queries_are_nearer_to_true_ones(generate) -> None:
    """Nearer in their lengths and in their fields; every rule for a query holds as for uniform ones."""
    near, far = (generate(sampling=sampling).read_json("drift.json") for sampling in ("matched", "uniform"))
    for report in (near, far):
        assert sum(report["field_share"]["synthetic"].values()) == pytest.approx(1)

    def distance(report: dict, name: str) -> float:
        true, synthetic = (report["length_words"][side]["histogram"] for side in ("true", "synthetic"))
        if name == "fields":
            true, synthetic = ({f: report["field_share"][side][f] for f in FIELDS} for side in ("true", "synthetic"))
            true = {field: share / sum(true.values()) for field, share in true.items()}
        return sum(abs(true.get(key, 0) - synthetic.get(key, 0)) for key in true.keys() | synthetic.keys())

    assert distance(near, "lengths") < 0.5 * distance(far, "lengths")
    assert distance(near, "fields") < distance(far, "fields")
    assert near["token_jensen_shannon"] < far["token_jensen_shannon"]


def test_drift_is_reported(prepared) -> None:
    drift = prepared.synthetic.read_json("drift.json")
    assert 0 < drift["token_jensen_shannon"] < 1
    assert drift["length_words"]["true"] == {"mean": 2.0, "histogram": {"2": 1.0}}
    assert sum(drift["length_words"]["synthetic"]["histogram"].values()) == pytest.approx(1)
    assert drift["out_of_vocabulary_share"] == {"true": 0.0, "synthetic": 0.0}


def test_a_seed_gives_the_same_and_another_seed_others(generate, prepared) -> None:
    assert generate().digest == prepared.synthetic.digest
    assert generate(seed=1).digest != prepared.synthetic.digest


def test_the_number_of_shards_changes_files_not_queries(generate, prepared) -> None:
    rows = generate(num_shards=3).read_table("synthetic").to_pylist()
    expected = prepared.synthetic.read_table("synthetic").to_pylist()
    assert sorted(rows, key=lambda row: (row["item_id"], row["draw"])) == sorted(
        expected, key=lambda r: (r["item_id"], r["draw"])
    )


def test_a_ratio_of_zero_gives_an_empty_artifact(generate) -> None:
    artifact = generate(ratio=0)
    assert artifact.counts == {"synthetic": 0}
    drift = artifact.read_json("drift.json")
    assert drift["num_requested"] == 0
    assert drift["token_jensen_shannon"] is None


def test_a_fraction_is_a_ratio(generate, prepared) -> None:
    num_train = prepared.clicks.read_json("statistics.json")["splits"]["train"]["num_queries"]
    assert generate(ratio=0.5).read_json("drift.json")["num_requested"] == round(num_train / 2)


def test_in_a_small_catalogue_a_query_may_fit_its_own_item(generate) -> None:
    assert generate(max_item_share=0.0001).counts["synthetic"] > 0
