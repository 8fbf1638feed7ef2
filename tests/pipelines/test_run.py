"""The whole pipeline from its compiled YAML, on a tiny shop, through the command line; what is cached and what is not."""

import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.record import STAGE_OUTPUTS
from smar_core.artifact import open_artifact
from smar_core.retrieval.bundle import Bundle
from tests.pipelines.shop_runs import Shop, executed, wait_for_side_file


def test_out_holds_real_files(finished: Shop) -> None:
    out = finished.folder / "first"
    names = ("metrics.json", "report.html", "per_query.parquet", "pipeline.yaml", "config.yaml", "run.json", "lineage.json")
    for name in (*names, "bundle/manifest.json", "run-model.trec"):
        path = out / name
        assert path.is_file() and not path.is_symlink() and path.stat().st_size > 0, name
    assert not (out / ".partial").exists()
    metrics = finished.read("first", "metrics.json")
    assert {"model", "text_only", "text_only_pretrained", "multimodal", "image", "judged", "ann"} <= set(metrics)
    recall = metrics["model"]["overall"]["R@50"]
    assert recall["low"] <= recall["value"] <= recall["high"]


def test_every_stage_ran_and_says_how_long(finished: Shop) -> None:
    run = finished.read("first", "run.json")
    assert executed(run) == sorted(STAGE_OUTPUTS)
    assert all(stage["seconds"] > 0 for stage in run["stages"].values())


def test_bundle_of_out_serves_without_the_state_folder(finished: Shop, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "first" / "bundle", tmp_path / "elsewhere")
    hits = Bundle.open(tmp_path / "elsewhere").search(["red shirt"], 3)
    assert [hit.rank for hit in hits[0]] == [1, 2, 3]


def test_artifacts_are_complete_and_named_by_their_digest(finished: Shop) -> None:
    for artifact in finished.read("first", "run.json")["artifacts"].values():
        path = Path(artifact["path"])
        assert open_artifact(path, artifact["kind"]).digest == artifact["digest"] == path.name


def test_second_identical_run_executes_nothing_even_for_another_out(finished: Shop) -> None:
    run = finished.run("second")
    assert executed(run) == []
    for name in ("metrics.json", "lineage.json", "report.html"):
        assert (finished.folder / "second" / name).read_bytes() == (finished.folder / "first" / name).read_bytes()


def test_changed_evaluation_setting_executes_one_stage(finished: Shop) -> None:
    assert executed(finished.run("evaluated", "--set", "evaluate.num_bootstrap_samples=60")) == ["evaluate"]


def test_altered_artifact_is_rebuilt_and_nothing_below_it(finished: Shop) -> None:
    """An artifact with a flipped byte was returned by Kubeflow's cache, which looks at paths alone."""
    artifact = finished.read("first", "run.json")["artifacts"]["synthetic"]
    victim = next(Path(artifact["path"]).glob("synthetic*.parquet"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    run = finished.run("rebuilt")
    assert executed(run) == ["generate_synthetic_queries"]
    assert run["artifacts"]["synthetic"] == artifact


def test_one_changed_byte_of_the_log_prepares_again_and_an_interrupt_leaves_nothing(finished: Shop, tmp_path: Path) -> None:
    """Same path, same size, another content: Kubeflow's cache would have hit."""
    for name in ("items", "clicks", "judgments"):
        shutil.copy(finished.data / f"{name}.parquet", tmp_path)
    shop = Shop(finished.folder, tmp_path)
    table = pq.read_table(tmp_path / "clicks.parquet")
    rows = table.to_pylist()
    rows[0]["session_id"] = "S0"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "clicks.parquet")
    known = shop.runs()
    process = shop.start(shop.run_arguments("changed"))
    started = wait_for_side_file(shop, "prepare_data.started.json", known)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert started
    assert process.returncode == 130
    assert len(error.splitlines()) == 1
    assert not (shop.folder / "changed").exists()


def test_the_same_shop_under_other_names_prepares_again_and_nothing_below_it(finished: Shop, tmp_path: Path) -> None:
    """Artifacts are known by their content, so other paths and columns, and pictures in files of their own, train nothing."""
    data, pictures = tmp_path / "data", tmp_path / "pictures"
    for folder in (data, pictures):
        folder.mkdir()
    items = pq.read_table(finished.data / "items.parquet").rename_columns({"title": "name"}).to_pylist()
    for item in items:
        if item["image"] is not None:
            (pictures / f"{item['item_id']}.jpg").write_bytes(item["image"])
            item["image"] = f"{item['item_id']}.jpg"
    pq.write_table(pa.Table.from_pylist(items), data / "items.parquet")
    shutil.copy(finished.data / "clicks.parquet", data)
    judgments = pq.read_table(finished.data / "judgments.parquet").rename_columns({"grade": "label"})
    pq.write_table(judgments, data / "judgments.parquet")
    names = ("--map", "title=name", "--map", "judgments.grade=label", "--images", str(pictures))
    assert executed(Shop(finished.folder, data).run("renamed", *names)) == ["evaluate", "prepare_data"]
    first, renamed = (finished.read(out, "metrics.json") for out in ("first", "renamed"))
    assert first["judged"]["num_judgments_used"] > 0
    assert renamed == first


def test_stage_alone_runs_on_an_earlier_runs_artifacts(finished: Shop) -> None:
    done = finished.smar("stage", "train_gate", "--from", "first", "--set", "gate.num_steps=31")
    assert done.returncode == 0, done.stderr + finished.latest_log()
    path = Path(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("gate  ")))
    earlier = finished.read("first", "run.json")["artifacts"]
    gate = open_artifact(path, "gate")
    assert gate.digest != earlier["gate"]["digest"]
    assert gate.parents["pretrained"] == earlier["pretrained"]["digest"]


def test_no_cache_executes_stages_that_are_cached(finished: Shop) -> None:
    known = finished.runs()
    process = finished.start(finished.run_arguments("again", "--no-cache"))
    started = wait_for_side_file(finished, "generate_synthetic_queries.started.json", known)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert started
    assert process.returncode == 130
    assert not (finished.folder / "again").exists()
