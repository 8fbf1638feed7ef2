"""What a stage and its workers hand each other over a folder that both mount."""

from pathlib import Path

import pytest

from smar_core.config import BeamConfig
from smar_core.data.exchange import NOT_SHARED, check_shared, open_exchange, read_note, write_note
from smar_core.errors import UserError


def elsewhere(shared_folder: str) -> BeamConfig:
    return BeamConfig(runner="portable", options=("--job_endpoint=host:8099",), shared_folder=shared_folder)


def test_workers_beside_the_stage_use_its_own_folders(tmp_path: Path) -> None:
    with open_exchange(BeamConfig(), tmp_path) as exchange:
        assert exchange.lend(tmp_path / "items.parquet") == str(tmp_path / "items.parquet")
        assert exchange.output(tmp_path / "out") == str(tmp_path / "out")
        check_shared(exchange.notes)
        exchange.fetch()


def test_files_go_over_the_shared_folder_and_leave_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "items.parquet").write_bytes(b"items")
    (tmp_path / "out").mkdir()
    with open_exchange(elsewhere(f"{tmp_path}/shared/"), tmp_path) as exchange:
        check_shared(exchange.notes)
        lent, place = Path(exchange.lend(tmp_path / "items.parquet")), Path(exchange.output(tmp_path / "out"))
        assert lent.read_bytes() == b"items" and lent.is_relative_to(tmp_path / "shared")
        for shard in range(2):
            (place / f"pairs-{shard:05d}-of-00002.parquet").write_bytes(b"pairs")
        (place / ".half.tmp").write_bytes(b"of a worker that was given up")
        write_note(f"{exchange.notes}/span.json", [1, 2])
        assert read_note(f"{exchange.notes}/span.json") == [1, 2]
        exchange.fetch()
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "pairs-00000-of-00002.parquet",
        "pairs-00001-of-00002.parquet",
    ]
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.parametrize(("shards", "words"), [([], "no shard came"), ([1], "only 1 of 2 shards of queries came")])
def test_a_shard_that_does_not_come_is_a_users_error(tmp_path: Path, shards: list[int], words: str) -> None:
    (tmp_path / "out").mkdir()
    with open_exchange(elsewhere(str(tmp_path / "shared")), tmp_path) as exchange:
        for shard in shards:
            (Path(exchange.output(tmp_path / "out")) / f"queries-{shard:05d}-of-00002.parquet").write_bytes(b"")
        if not shards:
            exchange.output(tmp_path / "out")
        with pytest.raises(UserError, match=words):
            exchange.fetch()


def test_a_shared_folder_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(UserError, match=r"beam.shared_folder .*/file cannot be written"),
        open_exchange(elsewhere(str(tmp_path / "file")), tmp_path),
    ):
        pass


def test_a_worker_without_the_shared_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=NOT_SHARED):
        check_shared(str(tmp_path / "another volume"))
