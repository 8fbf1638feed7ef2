"""The benchmark runs every stage and its rates are what they say."""

from pathlib import Path

import pytest

from benchmarks.stages import MEASUREMENTS, Job, Stopwatch, measure
from smar_core.config import load_config


def test_rate_is_steps_over_the_time_between_first_and_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps in four seconds after the first report, whatever came before it and in other phases."""
    clock = iter([10.0, 11.0, 13.0, 14.0, 99.0])
    monkeypatch.setattr("benchmarks.stages.time.perf_counter", lambda: next(clock))
    stopwatch = Stopwatch()
    for done in (1, 2, 3, 4):
        stopwatch.update("train", done, 4, loss=0.5)
    stopwatch.update("encode items", 1, 1)
    assert stopwatch.rate("train") == 0.75


def test_every_stage_is_measured(tiny_shop: Path, tmp_path: Path) -> None:
    settings = [
        "model.hidden_size=24",
        "model.embed_dim=24",
        "model.feed_forward_size=24",
        "synthetic.ratio=2",
        "gate.num_steps=2",
    ]
    steps = ["pretrain.num_steps=3", "pretrain.batch_size=8", "export.index=flat"]
    config = load_config("demo", [*settings, *steps])
    job = Job(str(tiny_shop / "items.parquet"), str(tiny_shop / "clicks.parquet"), tmp_path, config)
    figures = {name: measure(name, job) for name in MEASUREMENTS}
    assert all(value > 0 for of_stage in figures.values() for value in of_stage.values())
    assert figures["pretrain"]["pairs_per_second"] > 8 * 2 / figures["pretrain"]["seconds"]
    assert figures["export_embeddings"]["items_per_second"] * figures["export_embeddings"]["seconds"] == pytest.approx(
        figures["prepare_data"]["num_items"]
    )
