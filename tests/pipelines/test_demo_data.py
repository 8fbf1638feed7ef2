"""``smar demo``: the shop is drawn once, and run on as any other."""

from functools import partial
from pathlib import Path

import pytest

from pipelines.cli import invoke
from pipelines.training_run import RunRequest
from smar_core.data.demo import MIN_ITEMS, write_demo
from smar_core.data.sources import Sources, check_inputs


def test_the_command_runs_the_drawn_shop_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunRequest] = []
    monkeypatch.setattr("pipelines.training_run.run_training", lambda request, _console: asked.append(request))
    monkeypatch.setattr("pipelines.demo_data.write_demo", partial(write_demo, num_items=MIN_ITEMS))
    monkeypatch.chdir(tmp_path)
    assert invoke(["demo"]) == 0
    monkeypatch.setattr("pipelines.demo_data.write_demo", lambda _folder: pytest.fail("the shop was drawn again"))
    more = ["--out", "mine", "--set", "pretrain.num_steps=3", "--set", "gate.num_steps=4", "--runner", "docker", "--no-cache"]
    assert invoke(["demo", *more]) == 0

    (data,) = (tmp_path / ".smar").glob("demo-data-*")
    files = {name: str(data / f"{name}.parquet") for name in ("items", "clicks", "judgments")}
    sources = Sources(files["items"], files["clicks"])
    settings = ("pretrain.num_steps=3", "gate.num_steps=4")
    assert asked == [
        RunRequest(sources, files["judgments"], "demo", (), Path("runs/demo")),
        RunRequest(sources, files["judgments"], "demo", settings, Path("mine"), "docker", use_cache=False),
    ]
    assert set(check_inputs(sources, files["judgments"])) == set(files)
