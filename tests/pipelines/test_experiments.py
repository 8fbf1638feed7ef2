"""``smar ablate`` and ``smar sweep`` from their compiled YAML, on a tiny shop: evidence, resume, failures, MLflow."""

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from mlflow import MlflowClient
from rich.console import Console

from components.compare_trials import compare_trials
from components.record import STAGE_OUTPUTS
from pipelines.cli import invoke
from pipelines.experiment_run import ExperimentRequest, experiment_arguments, run_experiment
from pipelines.jobs import data_arguments
from smar_core.data.sources import Sources, check_inputs
from smar_core.errors import UserError
from smar_core.experiments.evidence import write_evidence
from smar_core.experiments.plans import plan_ablation
from smar_core.experiments.trials import data_digest
from tests.pipelines.cluster_tasks import as_on_a_cluster, sqlite_uri
from tests.pipelines.shop_runs import SETTINGS, Shop
from tests.smar_core.experiments.evidences import QUERIES, make_evidence

DIVERGES = "pretrain.learning_rate=1e30"


def arguments(shop: Shop, command: str, out: str, *more: str) -> list[str]:
    files = [part for name in ("items", "clicks") for part in (f"--{name}", str(shop.data / f"{name}.parquet"))]
    return [command, *files, "--preset", "demo", "--out", out, *(p for s in SETTINGS for p in ("--set", s)), *more]


def evidence(shop: Shop, out: str, name: str) -> dict[str, Any]:
    return shop.read(f"{out}/results", f"{name}.json")


def started_stages(run: Path) -> dict[str, set[str]]:
    """Return the stages that a run executed, by trial; "" is what trials share."""
    found: dict[str, set[str]] = {}
    for file in (run / "side").rglob("*.started.json"):
        trial = "" if file.parent.name == "side" else file.parent.name
        found.setdefault(trial, set()).add(file.name.removesuffix(".started.json"))
    return found


@dataclass(frozen=True, kw_only=True)
class AblatedShop(Shop):
    """A shop with the state folders of its two ablations.

    Attributes:
        interrupted, resumed: Of the one that was interrupted, and of the same one started again.
    """

    interrupted: Path
    resumed: Path


@pytest.fixture(scope="module")
def ablated(finished: Shop) -> AblatedShop:
    """The shop of a finished ``smar run``, after an ablation that was interrupted in its second trial and started again."""
    known = finished.runs()
    process = finished.start(arguments(finished, "ablate", "ablation", "--variants", "smar,dpsr"))
    deadline = time.monotonic() + 300
    while not any((run / "side/trials/dpsr-0/pretrain.progress.json").is_file() for run in finished.runs() if run not in known):
        assert time.monotonic() < deadline and process.poll() is None, finished.latest_log()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    interrupted = finished.runs()[-1]
    assert sorted(p.name for p in (finished.folder / "ablation/results").glob("*-0.json")) == ["smar-0.json"]
    done = finished.smar(*arguments(finished, "ablate", "ablation", "--variants", "smar,dpsr"))
    assert done.returncode == 0, done.stderr + finished.latest_log()
    assert "2 trials, 1 of them recorded" in done.stdout
    folders = {"interrupted": interrupted, "resumed": finished.runs()[-1]}
    return AblatedShop(finished.folder, finished.data, finished.environment, **folders)


def test_started_again_it_runs_the_missing_trial_alone(ablated: AblatedShop) -> None:
    """The first trial equals the ``smar run`` before, whose stages it shares; the second goes on where it was."""
    first, second = started_stages(ablated.interrupted), started_stages(ablated.resumed)
    assert first["smar-0"] <= {"evaluate", "record_trial"}  # evaluate: the run had judgments
    assert "smar-0" not in second
    assert {"pretrain", "train_gate", "finetune", "export_embeddings", "evaluate"} <= second["dpsr-0"]
    assert "prepare_data" not in second[""]


def test_evidence_says_what_made_the_figures(ablated: Shop) -> None:
    smar, dpsr = (evidence(ablated, "ablation", name) for name in ("smar-0", "dpsr-0"))
    assert smar["trial"] == {"variant": "smar", "overrides": [], "seed": 0}
    assert (
        smar["split"] == "test" and smar["data_digest"] == dpsr["data_digest"] and smar["config_digest"] != dpsr["config_digest"]
    )
    assert set(smar["code"]) == set(STAGE_OUTPUTS)
    assert set(smar["seconds"]) == set(STAGE_OUTPUTS) - {"prepare_data"}
    assert smar["training"]["pretrain"]["num_distinct_synthetic_pairs_seen"] > 0
    expected = ablated.read("first", "metrics.json")["model"]["overall"]["R@50"]["value"]
    assert smar["metrics"]["overall"]["R@50"]["value"] == pytest.approx(expected, abs=1e-6)
    assert sum(smar["values"]) / len(smar["values"]) == pytest.approx(expected, abs=1e-6)
    assert smar["queries"] == dpsr["queries"]
    assert set(smar["diagnosis"]["systems"]) == {"text_only", "multimodal", "image"}
    assert set(smar["diagnosis"]["loss"]) == {"shuffled", "blank"} and smar["diagnosis"]["policies"]["oracle"]
    assert set(dpsr["diagnosis"]["ann"]) == {"text"}


def test_out_holds_page_table_and_figures(ablated: Shop) -> None:
    out = ablated.folder / "ablation"
    assert "What each part of the model brings" in (out / "report.html").read_text()
    assert "| dpsr | 0 |" in (out / "table.md").read_text()
    experiment = ablated.read("ablation", "experiment.json")
    assert [row["setting"] for row in experiment["rows"]] == ["smar", "dpsr"]
    assert experiment["num_codes"] == 1


def test_mlflow_shows_a_run_a_trial_with_its_stages_below(ablated: AblatedShop) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{ablated.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("smar").experiment_id

    def below(run_id: str) -> dict[str, Any]:
        runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
        return {run.data.tags.get("smar.trial") or run.data.tags["smar.stage"]: run for run in runs}

    (parent,) = client.search_runs(
        [experiment], f"tags.`kfp.pipeline_run_id` = '{ablated.resumed.name}' and params.experiment != ''"
    )
    trials = below(parent.info.run_id)
    assert set(trials) == {"smar-0", "dpsr-0", "prepare_data"}
    assert trials["smar-0"].data.tags["smar.is_read"] == "true"
    dpsr = trials["dpsr-0"]
    assert dpsr.data.params["variant"] == "dpsr" and dpsr.data.tags["smar.is_read"] == "false"
    assert dpsr.data.metrics["R_at_50"] == evidence(ablated, "ablation", "dpsr-0")["metrics"]["overall"]["R@50"]["value"]
    assert dpsr.data.metrics["seconds/pretrain"] > 0
    stages = below(dpsr.info.run_id)
    assert set(stages) == set(STAGE_OUTPUTS) - {"prepare_data"}
    assert stages["pretrain"].data.tags["smar.is_cached"] == "false"
    assert stages["generate_synthetic_queries"].data.tags["smar.is_cached"] == "true"
    assert parent.info.status == "FINISHED"


def test_an_experiment_that_went_well_on_a_cluster_ends_so(ablated: Shop, tmp_path: Path) -> None:
    results = str(ablated.folder / "ablation/results")
    with as_on_a_cluster(sqlite_uri(tmp_path), "well") as parent:
        compare_trials.python_func(
            trials=[],
            kind="ablation",
            baseline="smar",
            results=results,
            recorded='["smar-0", "dpsr-0"]',
            experiment=dsl.Artifact(uri=str(tmp_path / "experiment")),
            report=dsl.HTML(uri=str(tmp_path / "report.html")),
        )
    assert (parent().info.status, parent().data.params["preset"]) == ("FINISHED", "demo")


def test_second_call_runs_nothing_and_says_the_same(ablated: Shop) -> None:
    before = (ablated.folder / "ablation/table.md").read_bytes()
    done = ablated.smar(*arguments(ablated, "ablate", "ablation", "--variants", "smar,dpsr"))
    assert done.returncode == 0, done.stderr
    assert "2 trials, 2 of them recorded" in done.stdout
    assert started_stages(ablated.runs()[-1]) == {"": {"compare_trials"}}
    assert (ablated.folder / "ablation/table.md").read_bytes() == before


def test_removed_evidence_is_made_again_from_the_cache(ablated: Shop) -> None:
    path = ablated.folder / "ablation/results/dpsr-0.json"
    before = json.loads(path.read_text())
    path.unlink()
    done = ablated.smar(*arguments(ablated, "ablate", "ablation", "--variants", "smar,dpsr"))
    assert done.returncode == 0, done.stderr + ablated.latest_log()
    assert started_stages(ablated.runs()[-1]) == {"dpsr-0": {"record_trial"}, "": {"compare_trials"}}
    assert json.loads(path.read_text()) == before


def test_trial_that_fails_keeps_the_others_evidence_and_is_named(ablated: Shop) -> None:
    """A learning rate that no training survives, between trials that do."""
    axes = ("--axis", DIVERGES, "--axis", "export.index=flat")
    done = ablated.smar(*arguments(ablated, "sweep", "sweep", *axes))
    assert done.returncode == 1
    assert f"smar,{DIVERGES}-0" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (ablated.folder / "sweep/report.html").exists()
    names = sorted(p.name for p in (ablated.folder / "sweep/results").glob("*-0.json"))
    assert names == ["smar,export.index=flat-0.json", "smar-0.json"]
    assert evidence(ablated, "sweep", "smar-0")["split"] == "validation"
    beside = "smar export.hnsw_num_links=16 gate.visual_categories=[Apparel, Footwear, Accessories]"
    done = ablated.smar(*arguments(ablated, "sweep", "sweep", "--axis", "export.index=flat", "--setting", beside))
    assert done.returncode == 0, done.stderr + ablated.latest_log()
    assert "3 trials, 2 of them recorded" in done.stdout
    experiment = ablated.read("sweep", "experiment.json")
    assert not experiment["axes"], "one value is no axis"
    setting, name = beside.replace(" export", ",export").replace(" gate", ",gate"), "_Apparel,_Footwear,_Accessories_-0"
    assert {difference["setting"] for difference in experiment["differences"]} == {"smar,export.index=flat", setting}
    assert set(started_stages(ablated.runs()[-1])[f"smar,export.hnsw_num_links=16,gate.visual_categories={name}"]) == {
        "export_embeddings",
        "evaluate",
        "record_trial",
    }


def test_results_of_another_experiment_are_not_overwritten(ablated: Shop) -> None:
    results = ("--results", "ablation/results")
    done = ablated.smar(*arguments(ablated, "sweep", "other", "--axis", "loss.alpha=0.5", *results))
    assert done.returncode == 2
    assert "name another folder with --results" in done.stderr


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (["ablate", "--variants", "smar,dpr"], "dpr"),
        (["ablate", "--variants", "dpsr"], "baseline"),
        (["ablate", "--seeds", "one"], "--seeds"),
        (["ablate", "--setting", "smar prepare.vocab_size=300"], "share"),
        (["sweep", "--setting", "smar loss.alpha=1"], "trains what 'smar' does"),
        (["sweep", "--axis", "loss.alpha"], "--axis"),
        (["sweep", "--axis", "prepare.vocab_size=300,400"], "share"),
        (["sweep", "--set", "evaluate.split=test"], "test days"),
    ],
)
def test_wrong_call(
    more: list[str], names: str, tiny_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *rest = more
    files = ["--items", str(tiny_shop / "items.parquet"), "--clicks", str(tiny_shop / "clicks.parquet")]
    assert invoke([command, *files, "--out", "out", *rest]) == 2
    assert names in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_evidence_that_cannot_be_compared_is_refused_before_anything_is_trained(
    tiny_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sources = Sources(str(tiny_shop / "items.parquet"), str(tiny_shop / "clicks.parquet"))
    digest = data_digest(check_inputs(sources, None), {})
    plan = plan_ablation("demo", SETTINGS, ["smar", "dpsr", "smar-nc"], [0])
    other = QUERIES.model_copy(update={"slices": {**QUERIES.slices, "fashion": (0,)}})
    for trial, queries in zip(plan.trials, (QUERIES, other), strict=False):
        recorded = make_evidence(trial, (0.5,) * 4, settings=SETTINGS, queries=queries.digest, data_digest=digest)
        write_evidence(tmp_path / "out/results", recorded, queries)
    with pytest.raises(UserError, match="smar-0 and dpsr-0 are of different queries"):
        run_experiment(ExperimentRequest(plan, sources, None, tmp_path / "out"), Console(quiet=True))
    assert not (tmp_path / ".smar").exists()


def test_too_many_trials_for_a_pipelines_parameters() -> None:
    plan = plan_ablation("demo", [], ["smar"], range(300))
    with pytest.raises(UserError, match="10,000"):
        experiment_arguments(plan, data_arguments(Sources("/items", "/clicks"), None, {}), plan.trials)


def test_all_variants_with_three_seeds_fit() -> None:
    from smar_core.config import VARIANTS

    plan = plan_ablation("study", SETTINGS, VARIANTS, [0, 1, 2])
    digests = dict.fromkeys(("items", "clicks"), "0" * 64)
    told = experiment_arguments(plan, data_arguments(Sources("/data/items", "/data/clicks"), None, digests), plan.trials)
    assert len(told["trials"]) == 27
