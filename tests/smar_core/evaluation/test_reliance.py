"""Disturbed pictures, and what is made of the rankings that they give."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smar_core.artifact import Artifact, create_artifact, open_artifact
from smar_core.config import EvaluateConfig, ExportConfig, RuntimeConfig
from smar_core.evaluation.reliance import (
    MAX_PICTURES_OF_MEAN,
    BlankPictures,
    ShuffledPictures,
    measure_reliance,
    rank_disturbed,
    share_of_gain,
)
from smar_core.evaluation.systems import EncodedTest, encode_test, rank_systems
from smar_core.evaluation.testset import load_click_test
from smar_core.model.pictures import Pictures, PictureStore
from smar_core.progress import SILENT
from smar_core.retrieval.bundle import CPU, Bundle
from smar_core.retrieval.exact import Ranking
from smar_core.retrieval.export import export_embeddings
from smar_core.schemas import image_schema
from smar_core.stage import StageContext
from tests.smar_core.evaluation.measure_names import measure_names

CONFIG = EvaluateConfig(num_bootstrap_samples=200)
TOP_K = 10


@dataclass(frozen=True)
class NumberedPictures:
    """One view an item, every pixel of it the item's row."""

    has_image: np.ndarray

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        has_view_NV = torch.from_numpy(self.has_image[rows]).unsqueeze(1)
        pixels_NVHWC = torch.tensor(rows, dtype=torch.uint8).reshape(-1, 1, 1, 1, 1).expand(-1, 1, 2, 2, 3)
        return pixels_NVHWC * has_view_NV.reshape(-1, 1, 1, 1, 1), has_view_NV


@given(has_image=st.lists(st.booleans(), min_size=2, max_size=20), seed=st.integers(0, 99))
def test_shuffling_leaves_nobody_his_own_picture_and_nobody_without_stays_with_one(has_image: list[bool], seed: int) -> None:
    shuffled = ShuffledPictures.draw(NumberedPictures(np.array(has_image)), seed)
    rows = np.flatnonzero(has_image)
    assert sorted(shuffled.source_N[rows]) == rows.tolist()
    assert len(rows) == 1 or (shuffled.source_N[rows] != rows).all()
    pixels_NVHWC, has_view_NV = shuffled.take(np.arange(len(has_image)))
    assert has_view_NV[:, 0].tolist() == has_image
    assert pixels_NVHWC[rows, 0, 0, 0, 0].tolist() == shuffled.source_N[rows].tolist()


def test_blank_pictures_have_the_mean_colour_of_those_that_are_there() -> None:
    blank = BlankPictures.of_mean_colour(NumberedPictures(np.array([False, True, False, True])))
    pixels_NVHWC, has_view_NV = blank.take(np.array([3, 0]))
    assert pixels_NVHWC.shape == (2, 1, 2, 2, 3) and set(pixels_NVHWC.flatten().tolist()) == {2}  # of 1 and 3
    assert has_view_NV.tolist() == [[True], [False]]


def test_mean_colour_is_taken_of_few_pictures_at_a_time_and_is_black_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """All were held at once, in eight bytes a pixel."""
    taken: list[int] = []
    take = NumberedPictures.take
    monkeypatch.setattr(NumberedPictures, "take", lambda self, rows: taken.append(len(rows)) or take(self, rows))
    has_image = np.full(2 * MAX_PICTURES_OF_MEAN - 1, True)
    blank = BlankPictures.of_mean_colour(NumberedPictures(has_image))
    assert sum(taken) == MAX_PICTURES_OF_MEAN and max(taken) <= 256
    shown = np.arange(0, len(has_image), 2).astype(np.uint8)  # every second item, each of one colour
    assert blank.colour_C.tolist() == [round(shown.mean())] * 3
    assert BlankPictures.of_mean_colour(NumberedPictures(np.full(3, False))).colour_C.tolist() == [0, 0, 0]


def test_share_of_gain_is_the_loss_over_the_gain() -> None:
    text, true = np.zeros(40), np.full(40, 0.5)
    assert share_of_gain(true, np.full(40, 0.1), text, CONFIG) == {"value": 0.8, "low": 0.8, "high": 0.8}
    assert share_of_gain(text, text, text, CONFIG) is None


def test_losses_and_shares_by_kind_system_and_slice() -> None:
    def of(recall: float) -> dict[str, np.ndarray]:
        return dict.fromkeys(measure_names(CONFIG.cutoffs), np.full(4, recall))

    values = {"model": of(0.75), "multimodal": of(0.75), "text_only": of(0.25)}
    slices = {"overall": np.ones(4, dtype=bool), "fashion": np.zeros(4, dtype=bool)}
    found = measure_reliance(values, {"shuffled": {"model": of(0.5), "multimodal": of(0.0)}}, slices, CONFIG)["shuffled"]
    assert found["scores"]["model"]["overall"]["R@50"]["value"] == 0.5
    assert found["loss"]["multimodal"]["overall"]["R@50"]["value"] == 0.75
    assert found["share_of_gain_lost"]["model"] == {"overall": {"value": 0.5, "low": 0.5, "high": 0.5}}
    assert found["share_of_gain_lost"]["multimodal"]["overall"]["value"] == 1.5
    del values["text_only"]
    alone = measure_reliance(values, {"blank": {"model": of(0.5)}}, slices, CONFIG)["blank"]
    assert set(alone) == {"scores", "loss"} and alone["loss"]["model"]["overall"]["R@50"]["value"] == pytest.approx(0.25)


def show(items: Artifact, shown: Pictures, folder: Path) -> Artifact:
    """Return a catalogue whose own pictures are the ones shown."""
    item_ids = items.read_table("items", ["item_id"])["item_id"].to_pylist()
    with_image = np.flatnonzero(shown.has_image)
    pixels_NVHWC, _ = shown.take(with_image)
    _, _, height_px, width_px, _ = pixels_NVHWC.shape
    rows = [
        {"item_id": item_ids[item], "pixels": pixels_VHWC.numpy().tobytes()}
        for item, pixels_VHWC in zip(with_image, pixels_NVHWC, strict=True)
    ]
    images = pa.Table.from_pylist(rows, schema=image_schema(width_px, height_px))
    with create_artifact(folder, "items", config_digest="", parents={}) as path:
        for name in ("items.parquet", "statistics.json"):
            shutil.copyfile(items.path / name, path / name)
        with pa.ipc.new_file(path / "images.arrow", images.schema) as writer:
            writer.write_table(images)
    return open_artifact(folder, "items")


def export(finished_run, items: Artifact, folder: Path) -> Bundle:
    context = StageContext(config_digest="", work=folder.parent)
    config, runtime = ExportConfig(index="flat"), RuntimeConfig(num_threads=1)
    export_embeddings(items, finished_run.finetuned, finished_run.gate, folder, config, runtime, context)
    return Bundle.open(folder)


def rank_true(finished_run, items: Artifact, bundle: Bundle) -> tuple[EncodedTest, dict[str, Ranking]]:
    """Return the encoded test queries, and what the systems rank for them with the pictures of a catalogue."""
    test = load_click_test(finished_run.clicks, bundle.item_ids, "test")
    encoded = encode_test(bundle, finished_run.pretrained, items, test.queries, batch_size=8, device=CPU, progress=SILENT)
    return encoded, rank_systems(bundle, encoded, test, TOP_K)


def disturb(finished_run, items: Artifact, encoded: EncodedTest, rankings: dict[str, Ranking]) -> dict[str, dict[str, Ranking]]:
    return rank_disturbed(finished_run.finetuned, items, encoded, rankings, TOP_K, config=CONFIG, device=CPU, progress=SILENT)


@pytest.mark.parametrize("kind", ["shuffled", "blank"])
def test_disturbed_rankings_are_those_of_a_catalogue_that_has_such_pictures(finished_run, tmp_path: Path, kind: str) -> None:
    """Exported from a catalogue whose pictures really are so, the same model ranks the same; text answers as before."""
    encoded, rankings = rank_true(finished_run, finished_run.items, Bundle.open(finished_run.bundle.path))
    pictures = PictureStore.open(finished_run.items)
    shown = ShuffledPictures.draw(pictures, CONFIG.seed) if kind == "shuffled" else BlankPictures.of_mean_colour(pictures)
    bundle = export(finished_run, show(finished_run.items, shown, tmp_path / "items"), tmp_path / "bundle")
    expected_QK = bundle.rank(encoded.query_QD, "multimodal", TOP_K).rows_QK

    found = disturb(finished_run, finished_run.items, encoded, rankings)[kind]
    is_multimodal_Q = encoded.route == 1
    assert is_multimodal_Q.any() and not is_multimodal_Q.all()
    assert found["multimodal"].rows_QK.tolist() == expected_QK.tolist()
    routed_QK = np.where(is_multimodal_Q[:, None], expected_QK, rankings["text_only"].rows_QK)
    assert found["model"].rows_QK.tolist() == routed_QK.tolist()
    others = [rankings["multimodal"].rows_QK, rankings["text_only"].rows_QK]
    assert all((other_QK != expected_QK).any(axis=1).all() for other_QK in others)  # or nothing would be told apart


def test_pictures_that_are_all_alike_cannot_be_disturbed(finished_run, tmp_path: Path) -> None:
    """Shuffled or of their mean colour they are what they were, and so is every ranking."""
    alike = BlankPictures.of_mean_colour(PictureStore.open(finished_run.items))
    items = show(finished_run.items, replace(alike, colour_C=torch.tensor([90, 20, 140], dtype=torch.uint8)), tmp_path / "items")
    encoded, rankings = rank_true(finished_run, items, export(finished_run, items, tmp_path / "bundle"))
    for of_kind in disturb(finished_run, items, encoded, rankings).values():
        assert set(of_kind) == {"model", "multimodal"}
        for system, ranking in of_kind.items():
            assert ranking.rows_QK.tolist() == rankings[system].rows_QK.tolist()
