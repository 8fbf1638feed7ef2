import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smar_core.artifact import MANIFEST, PROVENANCE, Artifact, create_artifact, open_artifact, write_json
from smar_core.errors import ArtifactError
from smar_core.schemas import ITEMS, KINDS, REJECTS, SCHEMA_VERSION, Kind, embedding_schema, image_schema

ROWS = {"source": ["items"], "file": ["a.csv"], "row": [3], "field": ["title"], "value": [None], "reason": ["no title"]}


def make(path: Path, *, config: str = "c", parents: dict[str, str] | None = None, rows: dict = ROWS) -> Artifact:
    with create_artifact(path, "rejects", config_digest=config, parents=parents or {}) as folder:
        pq.write_table(pa.table(rows, schema=REJECTS), folder / "rejects-00000-of-00001.parquet")
        write_json(folder / "reasons.json", {"items": {"no title": 1}})
    return open_artifact(path, "rejects")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    artifact = make(tmp_path / "a", config="config digest", parents={"items_file": "parent digest"})
    assert artifact.read_table("rejects").to_pydict() == ROWS
    assert artifact.read_table("rejects", ["row"]).column_names == ["row"]
    assert artifact.read_json("reasons.json") == {"items": {"no title": 1}}
    assert (artifact.config_digest, artifact.parents, artifact.counts) == (
        "config digest",
        {"items_file": "parent digest"},
        {"rejects": 1},
    )


def test_digest_covers_content_alone(tmp_path: Path) -> None:
    first = make(tmp_path / "a", config="one", parents={"p": "1"})
    assert make(tmp_path / "elsewhere", config="two", parents={"p": "2"}).digest == first.digest
    assert make(tmp_path / "b", rows=ROWS | {"row": [4]}).digest != first.digest


def test_manifest_holds_neither_time_nor_place(tmp_path: Path) -> None:
    make(tmp_path / "a"), make(tmp_path / "b")
    assert (tmp_path / "a" / MANIFEST).read_bytes() == (tmp_path / "b" / MANIFEST).read_bytes()
    assert {"finished_at", "seconds", "host"} <= json.loads((tmp_path / "a" / PROVENANCE).read_text()).keys()


def test_provenance_may_change_content_may_not(tmp_path: Path) -> None:
    make(tmp_path / "a")
    write_json(tmp_path / "a" / PROVENANCE, {"host": "another"})
    open_artifact(tmp_path / "a", "rejects")
    (tmp_path / "a" / "reasons.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"reasons\.json changed"):
        open_artifact(tmp_path / "a", "rejects")
    open_artifact(tmp_path / "a", "rejects", verify=False)


def test_a_moved_artifact_opens(tmp_path: Path) -> None:
    digest = make(tmp_path / "a").digest
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert open_artifact(tmp_path / "b", "rejects").digest == digest


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / MANIFEST).unlink(), "not a complete artifact"),
        (lambda path: (path / "reasons.json").unlink(), r"reasons\.json is missing"),
        (lambda path: (path / "more.json").write_text("1"), r"more\.json is not in the manifest"),
        (lambda path: (path / MANIFEST).write_text("{"), "is not a manifest"),
        (lambda path: (path / MANIFEST).write_text("{}"), "is not a manifest"),
        (lambda path: _edit_manifest(path, schema_version=SCHEMA_VERSION + 1), "schema version"),
        (lambda path: _edit_manifest(path, content_digest="0" * 64), "was altered"),
        (lambda path: _edit_manifest(path, counts={"rejects": 2}), "was altered"),
        (lambda path: _edit_manifest(path, parents={"items": "0" * 64}), "was altered"),
        (lambda path: _edit_manifest(path, config_digest="another"), "was altered"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage, message: str) -> None:
    make(tmp_path / "a")
    damage(tmp_path / "a")
    with pytest.raises(ArtifactError, match=message):
        open_artifact(tmp_path / "a", "rejects")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(ArtifactError, match="kind 'rejects', not 'items'"):
        open_artifact(tmp_path / "a", "items")


@pytest.mark.parametrize("missing", ["reasons.json", "rejects"])
def test_content_that_does_not_fit_the_kind_leaves_nothing(tmp_path: Path, missing: str) -> None:
    with (
        pytest.raises(ArtifactError, match=missing),
        create_artifact(tmp_path / "a", "rejects", config_digest="", parents={}) as folder,
    ):
        if missing == "rejects":
            write_json(folder / "reasons.json", {})
        else:
            pq.write_table(REJECTS.empty_table(), folder / "rejects.parquet")
    assert not (tmp_path / "a").exists()


def test_a_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match="row string"),
        create_artifact(tmp_path / "a", "rejects", config_digest="", parents={}) as folder,
    ):
        write_json(folder / "reasons.json", {})
        pq.write_table(pa.table({"row": ["3"]}), folder / "rejects.parquet")
    assert not (tmp_path / "a").exists()


def test_an_error_inside_leaves_nothing_and_a_retry_starts_clean(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        create_artifact(tmp_path / "a", "rejects", config_digest="", parents={}) as folder,
    ):
        (folder / "stale.json").write_text("1")
        raise KeyboardInterrupt
    assert not (tmp_path / "a").exists()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "stale.json").write_text("1")
    make(tmp_path / "a")
    assert not (tmp_path / "a" / "stale.json").exists()


def test_shards_are_read_in_their_order(tmp_path: Path) -> None:
    with create_artifact(tmp_path / "a", "rejects", config_digest="", parents={}) as folder:
        write_json(folder / "reasons.json", {})
        for shard in (2, 0, 1):
            rows = pa.table(ROWS | {"row": [shard]}, schema=REJECTS)
            pq.write_table(rows, folder / f"rejects-{shard:05d}-of-00003.parquet")
    assert open_artifact(tmp_path / "a", "rejects").read_table("rejects")["row"].to_pylist() == [0, 1, 2]


def test_equal_json_values_give_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": "é"})
    write_json(tmp_path / "b", {"a": "é", "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert not list(tmp_path.glob("*.tmp"))


def _edit_manifest(path: Path, **changes: object) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    write_json(path / MANIFEST, manifest | changes)


def write_items(folder: Path, images: pa.Table) -> None:
    with create_artifact(folder, "items", config_digest="", parents={}):
        write_json(folder / "statistics.json", {})
        pq.write_table(ITEMS.empty_table(), folder / "items.parquet")
        with pa.ipc.new_file(folder / "images.arrow", images.schema) as writer:
            writer.write_table(images)


def test_pictures_have_the_size_that_their_table_names(tmp_path: Path) -> None:
    write_items(tmp_path / "a", image_schema(4, 2).empty_table())
    assert open_artifact(tmp_path / "a", "items").counts == {"items": 0, "images": 0}
    wrong_size = image_schema(4, 2).empty_table().replace_schema_metadata({"width_px": "4", "height_px": "3"})
    with pytest.raises(ArtifactError, match=r"pixels fixed_size_binary\[24\]\], not .*\[36\]"):
        write_items(tmp_path / "b", wrong_size)
    with pytest.raises(ArtifactError, match="names no size"):
        write_items(tmp_path / "b", image_schema(4, 2).empty_table().replace_schema_metadata(None))


def write_bundle(folder: Path, embeddings: pa.Table) -> None:
    with create_artifact(folder, "bundle", config_digest="", parents={}):
        for name in KINDS["bundle"].files:
            (folder / name).parent.mkdir(exist_ok=True)
            write_json(folder / name, {})
        pq.write_table(embeddings, folder / "embeddings.parquet")


def test_embeddings_may_have_any_length_but_one(tmp_path: Path) -> None:
    for embed_dim in (2, 5):
        write_bundle(tmp_path / "a", embedding_schema(embed_dim).empty_table())
        open_artifact(tmp_path / "a", "bundle")
    mixed = embedding_schema(2).set(7, embedding_schema(3).field(7))
    with pytest.raises(ArtifactError, match="has the schema"):
        write_bundle(tmp_path / "b", mixed.empty_table())
    for other in (pa.table({"item_id": ["1"]}), pa.table({"text": ["1"]})):
        with pytest.raises(ArtifactError, match="names no size"):
            write_bundle(tmp_path / "b", other)


def test_a_table_of_an_older_schema_is_refused_on_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a")
    newer = Kind({"rejects": REJECTS.append(pa.field("remedy", pa.string()))}, KINDS["rejects"].files)
    monkeypatch.setattr("smar_core.artifact.KINDS", {"rejects": newer})
    with pytest.raises(ArtifactError, match="has the schema"):
        open_artifact(tmp_path / "a", "rejects")
