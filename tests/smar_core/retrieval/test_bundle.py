import json
import shutil
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from smar_core.artifact import open_artifact
from smar_core.config import ExportConfig, RuntimeConfig
from smar_core.errors import UserError
from smar_core.evaluation.systems import encode_test, rank_ann
from smar_core.model.encoding import encode_catalogue
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.progress import SILENT
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import NO_ITEM
from smar_core.retrieval.export import export_embeddings
from smar_core.retrieval.index import ItemIndex
from smar_core.stage import StageContext

QUERIES = ["red shirt", "steel pot", "blanket", "dress", "unheard of words"]


@pytest.fixture(scope="module")
def bundle(finished_run) -> Bundle:
    return Bundle.open(finished_run.bundle.path)


def export(finished_run, output: Path, **config: object) -> dict[str, float]:
    return export_embeddings(
        finished_run.items,
        finished_run.finetuned,
        finished_run.gate,
        output,
        ExportConfig.model_validate(config),
        RuntimeConfig(num_threads=1),
        StageContext(config_digest="", work=output.parent),
    )


def test_items_are_sorted_by_id(bundle: Bundle) -> None:
    assert bundle.item_ids == ["a1", "a10", "b 2", "c3", "d4", "e5", "f6", "g7", "h8", "z9"]
    assert bundle.has_image.tolist() == [True, True, True, False, True, True, False, True, True, True]


def test_embeddings_are_those_of_the_model(finished_run, bundle: Bundle) -> None:
    model = SmarModel.from_pretrained(finished_run.finetuned.path)
    tokenizer = TextTokenizer.load(finished_run.finetuned.path / "tokenizer.json")
    expected = encode_catalogue(model, tokenizer, finished_run.items, batch_size=3, device=torch.device("cpu"))
    order = [expected.item_ids.index(item_id) for item_id in bundle.item_ids]
    for modality in ("text", "multimodal", "image"):
        assert np.allclose(bundle.embeddings(modality), expected.by_tower[modality][order], atol=1e-6)


def test_items_without_picture(bundle: Bundle) -> None:
    missing = ~bundle.has_image
    assert (bundle.embeddings("image")[missing] == 0).all()
    assert np.array_equal(bundle.embeddings("multimodal")[missing], bundle.embeddings("text")[missing])
    ranked = bundle.rank(bundle.encode(QUERIES), "image", 10)
    found = {row for row in ranked.rows_QK.ravel().tolist() if row >= 0}
    assert found == set(np.flatnonzero(bundle.has_image).tolist())


def test_records_what_it_was_made_of(finished_run, bundle: Bundle) -> None:
    assert bundle.settings["num_items"] == 10 and bundle.settings["num_items_with_image"] == 8
    assert bundle.settings["index"]["kind"] == "flat"
    assert bundle.settings["digests"] == {
        "items": finished_run.items.digest,
        "model": finished_run.finetuned.digest,
        "gate": finished_run.gate.digest,
    }


def test_equal_exports_are_equal(finished_run, tmp_path: Path) -> None:
    figures = [export(finished_run, tmp_path / name, index="hnsw", batch_size=4) for name in ("one", "two")]
    assert figures[0] == figures[1]
    assert figures[0]["share_with_image"] == 0.8
    one, two = (open_artifact(tmp_path / name, "bundle") for name in ("one", "two"))
    assert one.digest == two.digest
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in one.path.rglob("*.json"))


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf_pq"])
def test_every_index_answers(finished_run, tmp_path: Path, index: str) -> None:
    export(finished_run, tmp_path / "bundle", index=index)
    answers = Bundle.open(tmp_path / "bundle").search(QUERIES, 3)
    assert [len(hits) for hits in answers] == [3] * len(QUERIES)


def test_codes_that_do_not_fit_leave_no_half_bundle(finished_run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pq_num_codes"):
        export(finished_run, tmp_path / "bundle", index="ivf_pq", pq_num_codes=7)
    assert not (tmp_path / "bundle").exists()


def test_moved_bundle_still_serves(finished_run, bundle: Bundle, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "bundle"
    shutil.copytree(finished_run.bundle.path, moved)
    assert Bundle.open(moved).search(QUERIES, 4) == bundle.search(QUERIES, 4)


def test_routes_by_the_gate(bundle: Bundle) -> None:
    chosen = bundle.gate.route(bundle.probabilities(QUERIES)) == 1
    assert 0 < chosen.sum() < len(QUERIES)
    routed, text, multimodal = (bundle.search(QUERIES, 10, mode=mode) for mode in ("routed", "text", "multimodal"))
    for place, is_multimodal in enumerate(chosen):
        assert routed[place] == (multimodal if is_multimodal else text)[place]
    assert text != multimodal


def test_hits_are_ranked_and_shown(bundle: Bundle) -> None:
    (hits,) = bundle.search(["  RED\tshirt "], 10, mode="text")
    assert [hit.rank for hit in hits] == list(range(1, 11))
    assert all(first.score >= second.score for first, second in pairwise(hits))
    shown = {hit.item_id: (hit.title, hit.category) for hit in hits}
    assert shown["b 2"] == ("green dress", "Apparel > Dresses")
    assert bundle.search(["red shirt"], 10, mode="text") == [hits]


def test_exact_agrees_with_the_flat_index(bundle: Bundle) -> None:
    assert bundle.search(QUERIES, 5, exact=True) == bundle.search(QUERIES, 5)


def test_an_index_answers_with_what_it_holds_and_its_number_n_is_row_n(finished_run) -> None:
    """One of three items stands for an approximate index: a search that compared with every item would find the others."""
    opened = Bundle.open(finished_run.bundle.path)
    index = faiss.IndexFlatIP(opened.settings["embed_dim"])
    index.add(opened.embeddings("text")[:3])
    opened._indexes["text"] = ItemIndex(index, opened.settings["index"])
    (hits,) = opened.search(["dress"], 10, "text")
    assert {hit.item_id for hit in hits} == set(opened.item_ids[:3])
    assert len(opened.search(["dress"], 10, "text", exact=True)[0]) == len(opened.search(["dress"], 10, "multimodal")[0]) == 10
    where = {"batch_size": 8, "device": torch.device("cpu"), "progress": SILENT}
    encoded = encode_test(opened, finished_run.pretrained, finished_run.items, ["dress", "steel pot"], **where)
    found = rank_ann(opened, encoded, 10)
    assert [set(rows) for rows in found["text"].rows_QK.tolist()] == [{0, 1, 2, NO_ITEM}] * 2
    assert [set(rows) for rows in found["multimodal"].rows_QK.tolist()] == [set(range(10))] * 2


def test_blank_query_has_no_hits(bundle: Bundle) -> None:
    answers = bundle.search(["", " \t ", "dress"], 2)
    assert answers[:2] == [[], []] and len(answers[2]) == 2
    assert bundle.search([], 2) == []


def test_top_k_beyond_the_catalogue(bundle: Bundle) -> None:
    assert len(bundle.search(["dress"], 1000)[0]) == 10
    with pytest.raises(UserError, match="top_k is 0"):
        bundle.search(["dress"], 0)


def test_batch_size_does_not_change_results(finished_run, bundle: Bundle) -> None:
    one_by_one = Bundle.open(finished_run.bundle.path, batch_size=1).search(QUERIES, 5, exact=True)
    together = bundle.search(QUERIES, 5, exact=True)
    for alone, among in zip(one_by_one, together, strict=True):
        assert [hit.item_id for hit in alone] == [hit.item_id for hit in among]
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in among], abs=1e-6)


def test_folder_that_is_no_bundle(finished_run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        Bundle.open(tmp_path)
    with pytest.raises(UserError, match="of kind 'items', not 'bundle'"):
        Bundle.open(finished_run.items.path)


def test_altered_bundle_is_refused(finished_run, tmp_path: Path) -> None:
    copied = tmp_path / "bundle"
    shutil.copytree(finished_run.bundle.path, copied)
    settings = json.loads((copied / "bundle.json").read_text(encoding="utf-8"))
    (copied / "bundle.json").write_text(json.dumps(settings | {"num_items": 11}), encoding="utf-8")
    with pytest.raises(UserError, match=r"the content of bundle\.json changed"):
        Bundle.open(copied)
