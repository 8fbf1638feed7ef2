"""Bundles of the first dimensions of the embeddings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from smar_core.artifact import Artifact, create_artifact, open_artifact
from smar_core.config import ExportConfig, RuntimeConfig, load_config
from smar_core.errors import UserError
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.export import export_embeddings
from smar_core.stage import StageContext

QUERIES = ["red shirt", "steel pot", "blanket", "dress"]


@pytest.fixture
def trained_for_8(finished_run, tmp_path: Path) -> Artifact:
    """Return a model of 24 dimensions that says that its first 8 are an embedding too."""
    with create_artifact(tmp_path / "model", "model", config_digest="", parents={}) as folder:
        for path in finished_run.finetuned.path.iterdir():
            if path.name not in ("manifest.json", "provenance.json"):
                shutil.copy(path, folder / path.name)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"matryoshka_dims": [8]}), encoding="utf-8")
    return open_artifact(tmp_path / "model", "model")


def _export(finished_run, model: Artifact, output: Path, **config: object) -> Bundle:
    export_embeddings(
        *(finished_run.items, model, finished_run.gate, output, ExportConfig.model_validate(config)),
        *(RuntimeConfig(num_threads=1), StageContext(config_digest="", work=output.parent)),
    )
    return Bundle.open(output)


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_bundle_holds_the_first_dimensions(finished_run, trained_for_8: Artifact, tmp_path: Path, index: str) -> None:
    whole = _export(finished_run, trained_for_8, tmp_path / "whole", index=index)
    cut = _export(finished_run, trained_for_8, tmp_path / "cut", index=index, num_dims=8)
    assert (cut.settings["embed_dim"], cut.settings["model_embed_dim"]) == (8, 24)
    for modality in ("text", "multimodal"):
        first = whole.embeddings(modality)[:, :8]
        expected = first / np.linalg.norm(first, axis=1, keepdims=True)
        assert np.allclose(cut.embeddings(modality), expected, atol=1e-6)
    assert (cut.embeddings("image")[~cut.has_image] == 0).all()
    assert np.allclose(np.linalg.norm(cut.encode(QUERIES), axis=1), 1, atol=1e-6)
    scores = cut.encode(QUERIES) @ cut.embeddings("text").T
    for query, hits in enumerate(cut.search(QUERIES, 3, mode="text", exact=index == "hnsw")):
        best = np.sort(scores[query])[::-1][:3]
        assert [hit.score for hit in hits] == pytest.approx(best.tolist(), abs=1e-6)


def test_gate_still_sees_whole_queries(finished_run, trained_for_8: Artifact, tmp_path: Path) -> None:
    whole = _export(finished_run, trained_for_8, tmp_path / "whole", index="flat")
    cut = _export(finished_run, trained_for_8, tmp_path / "cut", index="flat", num_dims=8)
    assert cut.probabilities(QUERIES).tolist() == whole.probabilities(QUERIES).tolist()


@pytest.mark.parametrize(
    ("num_dims", "remedy"), [(12, "add the length to loss.matryoshka_dims"), (48, "at most model.embed_dim")]
)
def test_length_that_was_not_trained_is_refused(
    finished_run, trained_for_8: Artifact, tmp_path: Path, num_dims: int, remedy: str
) -> None:
    with pytest.raises(UserError, match=f"export.num_dims is {num_dims}") as error:
        _export(finished_run, trained_for_8, tmp_path / "bundle", num_dims=num_dims)
    assert remedy in error.value.remedy
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.matryoshka_dims=[144]"], r"loss\.matryoshka_dims \[144\] must all be below model\.embed_dim \(144\)"),
        (["loss.matryoshka_dims=[8, 8]"], "names a length twice"),
        (["export.num_dims=48"], r"export\.num_dims \(48\) is neither model\.embed_dim \(144\)"),
        (
            ["loss.matryoshka_dims=[48]", "export.num_dims=48", "export.index=ivf_pq", "export.pq_num_codes=36"],
            r"export\.num_dims \(48\) must divide by export\.pq_num_codes \(36\)",
        ),
    ],
)
def test_lengths_that_do_not_fit_are_refused_by_the_config(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(None, overrides)


def test_length_that_is_trained_may_be_exported() -> None:
    config = load_config(None, ["loss.matryoshka_dims=[48]", "export.num_dims=48", "export.index=ivf_pq"])
    assert config.export.num_dims == 48
