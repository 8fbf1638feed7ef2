"""``smar evaluate``: run files from the command line, without any artifact."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.cli import invoke
from smar_core.schemas import PER_QUERY

QUICK = ("--set", "evaluate.num_bootstrap_samples=20")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs and qrels, which is also the working folder."""
    (tmp_path / "qrels.trec").write_text("q1 0 a 1\nq2 0 b 2\nq3 0 c 0\n")
    (tmp_path / "good.trec").write_text("q1 Q0 a 1 0.9 t\nq2 Q0 b 1 0.9 t\n")
    (tmp_path / "poor.trec").write_text("q1 Q0 a 1 0.9 t\nq7 Q0 a 1 0.9 t\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*arguments: str) -> int:
    return invoke(["evaluate", "--run", "good.trec", "--qrels", "qrels.trec", *QUICK, *arguments])


def test_tables_and_counts_are_printed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--baseline", "poor.trec") == 0
    printed = capsys.readouterr().out
    assert "2 queries, with 95% intervals" in printed and "good - poor, paired by query" in printed
    recall = next(line for line in printed.splitlines() if line.startswith("R@50"))
    assert "1.0000 [1.000, 1.000]" in recall and "0.5000 [" in recall
    gain = [line for line in printed.splitlines() if line.startswith("R@50")][1]
    assert "+0.5000 [" in gain
    assert "poor lacks 1 queries, which score 0." in printed
    assert "poor has 1 queries that the qrels do not judge" in printed
    assert "1 queries of the qrels have no relevant item" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_files_hold_the_contract_form(files: Path) -> None:
    assert evaluate("--baseline", "poor.trec", "--out", "found") == 0
    metrics = json.loads((files / "found" / "metrics.json").read_text())
    assert set(metrics) == {"good", "poor", "differences", "queries"}
    assert metrics["poor"]["overall"]["num_queries"] == 2
    assert metrics["poor"]["overall"]["R@50"]["value"] == 0.5
    assert metrics["differences"]["good - poor"]["overall"]["R@50"]["value"] == 0.5
    table = pq.read_table(files / "found" / "per_query.parquet")
    assert table.schema == PER_QUERY
    assert evaluate("--out", "found") == 2  # never over other results


def test_settings_of_the_measures(files: Path) -> None:
    assert evaluate("--set", "evaluate.cutoffs=[5,10,50]", "--out", "found") == 0
    assert "R@5" in json.loads((files / "found" / "metrics.json").read_text())["good"]["overall"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--baseline", "missing.trec"), "missing.trec cannot be read"),
        (("--baseline", "good.trec"), "good.trec is given twice"),
        (("--set", "pretrain.num_steps=2"), "pretrain.num_steps changes nothing"),
        (("--set", "evaluate.num_examples=2"), "evaluate.num_examples changes nothing"),
        (("--set", "evaluate.cutoffs=[5]"), "must hold 10 and 50"),
        (("--out", "qrels.trec"), "qrels.trec cannot be made a folder"),
        (("--ties", "coin"), "coin"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], problem: str
) -> None:
    assert evaluate(*arguments) == 2
    assert problem in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["evaluate", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("query_id Q0 item_id rank score tag", "--baseline", "Holm", "run-text_only.trec"):
        assert words in printed
