"""A user's mistake: exit code 2, at most three lines on standard error, no traceback, nothing half-written."""

import datetime
import io
import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.cli import invoke
from smar_core.config import GateConfig
from smar_core.data.sources import Sources
from smar_core.data.visual import check_visual_categories
from smar_core.errors import EXIT_OUR_FAULT
from tests.pipelines.shop_runs import SETTINGS, Shop

Spoil = Callable[[Path], None]
CATEGORIES = ("Apparel > Shirts", "Home > Lamps")
DAY = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with items.parquet and clicks.parquet, to be spoilt."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_items(folder, 12)
    write_clicks(folder, 40)
    return folder


def picture(*, is_broken: bool) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "JPEG")
    return buffer.getvalue()[: 30 if is_broken else None]


def write_items(folder: Path, num_items: int, *, is_broken: bool = False, num_titles: int = 1) -> None:
    rows = [
        {
            "item_id": f"i{n}",
            "title": f"red shirt {n} version {t}",
            "category": CATEGORIES[n % 2],
            "image": picture(is_broken=is_broken),
        }
        for n in range(num_items)
        for t in range(num_titles)
    ]
    schema = pa.schema([("item_id", pa.string()), ("title", pa.string()), ("category", pa.string()), ("image", pa.binary())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "items.parquet")


def write_clicks(folder: Path, num_clicks: int, item: str = "i{}", clicked: bool = True) -> None:
    rows = [
        {"query": "red shirt", "item_id": item.format(n % 12), "timestamp": DAY + datetime.timedelta(hours=n), "clicked": clicked}
        for n in range(num_clicks)
    ]
    schema = pa.schema(
        [("query", pa.string()), ("item_id", pa.string()), ("timestamp", pa.timestamp("us", "UTC")), ("clicked", pa.bool_())]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "clicks.parquet")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def drop_column(path: Path, name: str) -> None:
    pq.write_table(pq.read_table(path).drop_columns([name]), path)


def make_numeric(path: Path, name: str) -> None:
    table = pq.read_table(path)
    nested = pa.array([{"a": 1}] * table.num_rows)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, nested), path)


SPOILT: dict[str, tuple[Spoil, str]] = {
    "no_parquet": (lambda d: (d / "items.parquet").write_text("item_id,title\n") and None, "items.parquet"),
    "truncated": (lambda d: truncate(d / "clicks.parquet"), "clicks.parquet"),
    "empty_file": (lambda d: (d / "items.parquet").write_bytes(b"") and None, "items.parquet"),
    "missing_column": (lambda d: drop_column(d / "items.parquet", "title"), "title"),
    "missing_click_column": (lambda d: drop_column(d / "clicks.parquet", "timestamp"), "timestamp"),
    "wrong_type": (lambda d: make_numeric(d / "items.parquet", "title"), "title"),
    "empty_catalogue": (lambda d: write_items(d, 0), "no row"),
    "empty_log": (lambda d: write_clicks(d, 0), "no row"),
    "no_click": (lambda d: write_clicks(d, 40, clicked=False), "click"),
    "no_file": (lambda d: (d / "items.parquet").unlink(), "items.parquet"),
}


def run_arguments(data: Path, *more: str) -> list[str]:
    return ["run", "--items", str(data / "items.parquet"), "--clicks", str(data / "clicks.parquet"), "--out", "out", *more]


def expect_mistake(code: int, error: str, names: str) -> None:
    assert code == 2
    assert 1 <= len(error.splitlines()) <= 3
    assert "Traceback" not in error
    assert names in error


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_data_is_found_before_the_pipeline_starts(
    case: str, data: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, names = SPOILT[case]
    spoil(data)
    code = invoke(run_arguments(data))
    expect_mistake(code, capsys.readouterr().err, names)
    assert list(here.iterdir()) == []


def test_folder_without_data(here: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    code = invoke(["run", "--items", "empty", "--clicks", str(data / "clicks.parquet"), "--out", "out"])
    expect_mistake(code, capsys.readouterr().err, "empty")


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (["--set", "pretrain.num_stepz=3"], "num_stepz"),
        (["--set", "training.num_steps=3"], "training"),
        (["--set", "pretrain.num_steps=many"], "pretrain.num_steps"),
        (["--set", "pretrain.num_steps=-3"], "pretrain.num_steps"),
        (["--set", "pretrain.num_steps"], "section.key=value"),
        (["--preset", "huge"], "huge"),
        (["--variant", "smar-ncc"], "smar-nc"),
        (["--map", "title"], "--map"),
        (["--map", "title=name"], "name"),
        (["--runner", "cloud"], "cloud"),
        (["--fast"], "--fast"),
        (["--judgments", "nowhere.csv"], "nowhere.csv"),
        (["--set", "tracking.uri=mlruns"], "mlruns"),
    ],
)
def test_wrong_call(more: list[str], names: str, data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = invoke(run_arguments(data, *more))
    expect_mistake(code, capsys.readouterr().err, names)
    assert not (here / "out").exists()


def test_a_fault_of_ours_is_one_line_and_a_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("of ours")

    monkeypatch.setattr("pipelines.fetching.fetch_bundle", fail)
    assert invoke(["fetch", "out"]) == EXIT_OUR_FAULT
    (line,) = capsys.readouterr().err.splitlines()
    (log,) = (here / ".smar").glob("crash-*.txt")
    assert "KeyError: 'of ours'" in line and str(log) in line and "Traceback" not in line
    assert log.read_text().startswith("Traceback") and 'raise KeyError("of ours")' in log.read_text()


def test_out_that_is_a_file(data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "out").write_text("mine")
    code = invoke(run_arguments(data))
    expect_mistake(code, capsys.readouterr().err, "out")
    assert (here / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (["--set", "gate.visual_categories=[Toys]"], "categories are Apparel, Home"),
        (["--set", "gate.visual_categories=[Apparel, home]"], "every item"),
        (["--map", "category=title", "--set", "gate.visual_categories=[Home]"], "red shirt"),
    ],
)
def test_categories_that_leave_the_gate_nothing_to_learn(
    more: list[str], names: str, data: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = invoke(run_arguments(data, *more))
    expect_mistake(code, capsys.readouterr().err, names)
    assert list(here.iterdir()) == []


def test_catalogue_without_categories(data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop_column(data / "items.parquet", "category")
    code = invoke(run_arguments(data))
    expect_mistake(code, capsys.readouterr().err, "no categories")
    check_visual_categories(Sources(str(data / "items.parquet"), ""), GateConfig(mode="always_text"))


def test_tracking_server_that_does_not_answer(data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        code = invoke(run_arguments(data, "--set", f"tracking.uri={uri}"))
    expect_mistake(code, capsys.readouterr().err, uri)


def test_no_container_engine(data: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{here}/no.sock")
    code = invoke(run_arguments(data, "--runner", "docker"))
    expect_mistake(code, capsys.readouterr().err, "DOCKER_HOST")


def test_tracking_store_that_is_no_database(data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mlflow.db").write_text("not a database, but long enough to be looked at" * 20)
    code = invoke(run_arguments(data))
    expect_mistake(code, capsys.readouterr().err, "mlflow.db")


@pytest.mark.parametrize(
    ("case", "spoil", "names"),
    [
        ("broken_images", lambda d: write_items(d, 12, is_broken=True), "image"),
        ("doubled_ids", lambda d: write_items(d, 12, num_titles=2), "item_id"),
        ("unknown_items", lambda d: write_clicks(d, 40, item="x{}"), "clicks"),
    ],
)
def test_what_only_a_stage_can_find(case: str, spoil: Spoil, names: str, data: Path, here: Path) -> None:
    spoil(data)
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    done = Shop(here, data).smar(*run_arguments(data, "--preset", "demo", *settings))
    expect_mistake(done.returncode, done.stderr, names)
    assert not (here / "out").exists()
    assert not list((here / ".smar").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["search", "nowhere", "shirt"], "nowhere"),
        (["search", "."], "QUERY"),
        (["search", ".", "shirt"], "bundle"),
        (["search", ".", "--queries", "queries.tsv"], "--out"),
        (["search", ".", "shirt", "--out", "run.trec"], "--queries"),
        (["search", ".", "shirt", "--top-k", "0"], "--top-k"),
        (["stage", "pretraining", "--from", "."], "pretraining"),
        (["stage", "pretrain", "--from", "."], "run.json"),
        (["stage", "pretrain", "--from", ".", "--set", "gate.num_steps=3"], "gate"),
        (["ui", "--set", "pretrain.num_steps=3"], "pretrain.num_steps"),
        (["dance"], "dance"),
        (["compile", "--out", "/proc/no/such.yaml"], "/proc/no"),
    ],
)
def test_wrong_calls_of_other_commands(arguments: list[str], names: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expect_mistake(invoke(arguments), capsys.readouterr().err, names)
