"""Shares of a profile: every operation is in one group, and what is none of torch's is Python's."""

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import profiling
from benchmarks.profiling import Watch, shares_of


def test_shares_add_up_and_name_where_time_went() -> None:
    """Of four times as long as torch was at work, a quarter is its own, most of that for a large product."""
    weight = torch.randn(400, 400)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(20):
            weight @ weight
    events = list(profiler.events())
    shares = shares_of(events, 4 * sum(event.self_cpu_time_total for event in events) / 1e6)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["python"] == pytest.approx(0.75)
    assert 0.125 < shares["matrix_products"] < 0.25
    assert shares["attention"] == shares["embedding_backward"] == shares["optimiser"] == 0.0


def test_an_operation_belongs_to_the_call_that_it_is_part_of() -> None:
    """Filling zeros is elementwise work, but not where the gradient of an embedding or the loader does it."""
    table, rows = torch.nn.Embedding(50, 4), torch.tensor([1, 2])

    class Loader:
        def take(self) -> torch.Tensor:
            return torch.zeros(10) + float(np.ones(3).sum())

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        profiling._recorded("loader: take", Loader.take)(Loader())
        table(rows).sum().backward()
    groups = {(profiling._group(event), event.name) for event in profiler.events()}
    assert ("loader", "aten::add") in groups
    assert ("embedding_backward", "aten::embedding_dense_backward") in groups


def test_watch_times_profiles_and_counts_different_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "NUM_PROFILED", 2)
    watch, weight = Watch("train"), torch.randn(4, 4)
    for step in range(profiling.NUM_STEPS):
        watch.update("encode items", step, 1)
        watch.update("train", step, profiling.NUM_STEPS)
        weight @ weight
    assert len(watch.seconds) == profiling.NUM_TIMED
    assert sum(event.name == "aten::mm" for event in watch.profiler.events()) == 2
    assert watch.counter.work.matrix_flops == 2 * 4**3
