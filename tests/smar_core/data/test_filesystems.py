"""Files in a bucket of an S3 server that runs in this process."""

import io
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from smar_core.data.files import digest_inputs, find_data_files, open_file, read_file
from smar_core.data.filesystems import create_file, delete_folder, digest_stored, exists, list_files, open_stored
from smar_core.data.images import PictureError, fetch_picture, fetch_pictures
from smar_core.data.sources import Sources, check_inputs
from smar_core.errors import UserError

ROWS = {"query": ["red shirt", "", "紅"], "item_id": ["1", "2", "3"]}


def put(uri: str, content: bytes) -> None:
    with create_file(uri) as handle:
        handle.write(content)


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(ROWS), sink, row_group_size=2)
    return sink.getvalue()


def read_all(path: str) -> dict:
    fields = {name: name for name in ROWS}
    return pa.Table.from_batches([b for f in find_data_files(path) for _, b in read_file(f, fields)]).to_pydict()


def test_a_folder_and_a_file_of_a_bucket_are_read(bucket: str) -> None:
    csv = b"query,item_id\nred shirt,1\n"
    files = {"log/1.parquet": parquet(), "log/day 2%20/2.csv": csv, "log/_SUCCESS": b"", "logbook.csv": b"x"}
    for name, content in files.items():
        put(f"{bucket}/{name}", content)
    assert list_files(f"{bucket}/log/") == {name: f"{bucket}/log/{name}" for name in ("1.parquet", "day 2%20/2.csv")}
    assert read_all(f"{bucket}/log") == {name: [*values, values[0]] for name, values in ROWS.items()}
    assert read_all(f"{bucket}/log/1.parquet") == ROWS
    with open_file(f"{bucket}/log/day 2%20/2.csv") as handle:
        assert list(handle) == csv.splitlines(keepends=True)


def test_the_digest_of_a_bucket_is_of_names_and_contents(bucket: str) -> None:
    for place in ("a", "same"):
        put(f"{bucket}/{place}/1.csv", b"query,item_id\n")
    assert digest_inputs(f"{bucket}/a") == digest_inputs(f"{bucket}/same")
    put(f"{bucket}/same/1.csv", b"query,item-id\n")
    assert digest_inputs(f"{bucket}/a") != digest_inputs(f"{bucket}/same")
    assert digest_stored(f"{bucket}/a/1.csv") != digest_stored(f"{bucket}/same/1.csv")


def test_a_picture_of_a_bucket_is_fetched_by_its_uri_and_below_a_root(bucket: str) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    put(f"{bucket}/pictures/red 1.png", picture.getvalue())
    assert fetch_picture("red 1.png", f"{bucket}/pictures/") == picture.getvalue()
    assert fetch_picture(f"{bucket}/pictures/red 1.png", None) == picture.getvalue()
    with pytest.raises(PictureError, match="cannot be read"):
        fetch_picture("gone.png", f"{bucket}/pictures")


def test_a_folder_of_a_bucket_is_deleted_whole(bucket: str) -> None:
    for name in ("run/a", "run/b/c", "runs"):
        put(f"{bucket}/{name}", b"1")
    delete_folder(f"{bucket}/run")
    assert [exists(f"{bucket}/{name}") for name in ("run", "run/a", "run/b/c", "runs")] == [False, False, False, True]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://no-such-bucket/items.csv", "s3://no-such-bucket/items.csv does not exist"),
        ("hdfs://name-node:8020/items.csv", "cannot be listed"),
        ("nosuchscheme://shop/items.csv", "cannot be listed"),
        ("s3://key:word@shop/items.csv", "has a password in it"),
    ],
)
def test_what_is_out_of_reach_is_said_in_a_sentence(bucket: str, path: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        find_data_files(path)
    assert "word@" not in str(caught.value)


def test_a_local_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    with pytest.raises(KilledError), create_file(str(tmp_path / "a")) as handle:
        handle.write(b"half")
        raise KilledError
    assert list(tmp_path.iterdir()) == []
    put(str(tmp_path / "a"), b"whole")
    with open_stored((tmp_path / "a").as_uri()) as handle:
        assert handle.read() == b"whole"


def test_a_shop_in_a_bucket_is_checked_as_one_on_a_disk(bucket: str, tiny_shop: Path) -> None:
    for name in ("items.parquet", "clicks.parquet", "judgments.parquet"):
        put(f"{bucket}/tiny/{name}", (tiny_shop / name).read_bytes())
    sources = Sources(f"{bucket}/tiny/items.parquet", f"{bucket}/tiny/clicks.parquet", images=f"{bucket}/tiny")
    digests = check_inputs(sources, f"{bucket}/tiny/judgments.parquet")
    assert set(digests) == {"items", "clicks", "judgments", "images"}
    assert digests["items"] == digest_inputs(f"{bucket}/tiny/items.parquet") != digests["clicks"]


def test_pictures_come_in_order_whichever_answers_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(reference: str, root: str | None) -> bytes:
        time.sleep(0.002 * (int(reference) % 3))
        if reference == "7":
            raise PictureError("gone")
        return reference.encode()

    monkeypatch.setattr("smar_core.data.images.fetch_picture", fetch)
    found = list(fetch_pictures(map(str, range(40)), None))
    assert [n for n, content in enumerate(found) if isinstance(content, PictureError)] == [7]
    assert [content for content in found if isinstance(content, bytes)] == [str(n).encode() for n in range(40) if n != 7]
