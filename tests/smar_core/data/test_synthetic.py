from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import SyntheticConfig
from smar_core.data.synthetic import generate_synthetic_queries
from smar_core.stage import StageContext
from smar_core.text import item_text


@pytest.fixture
def generate(prepared, tmp_path: Path) -> Callable[..., Artifact]:
    def run(num_workers: int = 1, **changes: float) -> Artifact:
        config = SyntheticConfig.model_validate(prepared.config.synthetic.model_dump() | changes)
        runtime = prepared.config.runtime.model_copy(update={"num_workers": num_workers})
        context = StageContext("config digest", tmp_path / "work")
        output = tmp_path / "synthetic"
        generate_synthetic_queries(prepared.items, prepared.clicks, prepared.tokenizer, output, config, runtime, context)
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


def test_numbers_add_up_and_are_spread_evenly(prepared) -> None:
    drift = prepared.synthetic.read_json("drift.json")
    num_train = sum(split == "train" for split in prepared.clicks.read_table("queries")["split"].to_pylist())
    assert drift["num_requested"] == 10 * num_train
    assert drift["num_synthetic"] + drift["num_dropped_held_out"] + drift["num_given_up"] == drift["num_requested"]
    assert drift["num_synthetic"] == prepared.synthetic.counts["synthetic"]
    assert drift["num_dropped_held_out"] > 0, "the tiny shop's held-out queries can be drawn, else the test above says nothing"
    counts = Counter(prepared.synthetic.read_table("synthetic")["item_id"].to_pylist())
    assert len(counts) == 35 and max(counts.values()) <= -(-drift["num_requested"] // 35)


def test_drift_is_reported(prepared) -> None:
    drift = prepared.synthetic.read_json("drift.json")
    assert 0 < drift["token_jensen_shannon"] < 1
    assert drift["length_words"]["true"] == {"mean": 2.0, "histogram": {"2": 1.0}}
    assert sum(drift["length_words"]["synthetic"]["histogram"].values()) == pytest.approx(1)
    assert drift["out_of_vocabulary_share"] == {"true": 0.0, "synthetic": 0.0}


def test_two_workers_write_the_same_bytes_as_one(generate, prepared) -> None:
    assert generate(num_workers=2).digest == prepared.synthetic.digest


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
