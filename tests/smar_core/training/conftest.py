"""What a training step needs, on ten products: data, encoder, a batch of true and synthetic pairs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.config import RuntimeConfig
from smar_core.model.configuration import SmarConfig
from smar_core.model.encoding import item_texts
from smar_core.model.modeling import SmarModel
from smar_core.model.pictures import PictureStore
from smar_core.model.tokens import TextTokenizer
from smar_core.schemas import SYNTHETIC
from smar_core.training.encoder import BatchEncoder
from smar_core.training.pairs import SyntheticPairs, TrainingData, read_true_pairs, rows_by_item_id
from smar_core.training.sampler import Batch

SYNTHETIC_PAIRS = (("wool", 7), ("socks", 4), ("green", 2), ("cotton", 8))


@dataclass(frozen=True)
class Workbench:
    """Data of the ten products, and models for them."""

    tokenizer: TextTokenizer
    data: TrainingData
    pictures: PictureStore

    def model(self, **changes: object) -> SmarModel:
        """Return a model with random weights, always the same."""
        torch.manual_seed(0)
        values = {
            "vocab_size": self.tokenizer.vocab_size,
            "hidden_size": 24,
            "embed_dim": 16,
            "feed_forward_size": 24,
            "num_query_layers": 1,
            "num_image_layers": 1,
            "image_width_px": self.pictures.width_px,
            "image_height_px": self.pictures.height_px,
            "dropout": 0.0,
        }
        return SmarModel(SmarConfig(**(values | changes)))

    def encoder(self, model: SmarModel, runtime: RuntimeConfig | None = None) -> BatchEncoder:
        """Return an encoder with a model."""
        runtime = runtime or RuntimeConfig(device="cpu")
        return BatchEncoder(model, self.tokenizer, self.data, self.pictures, runtime, torch.device("cpu"))


@pytest.fixture(scope="session")
def workbench(finished_run, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    tokenizer = TextTokenizer.load(finished_run.pretrained.path / "tokenizer.json")
    true = read_true_pairs(finished_run.clicks, rows_by_item_id(finished_run.items))
    queries, item = [query for query, _ in SYNTHETIC_PAIRS], np.array([item for _, item in SYNTHETIC_PAIRS])
    texts = item_texts(finished_run.items)
    first = np.searchsorted(np.sort(item), np.arange(len(texts) + 1))
    data = TrainingData(
        true,
        SyntheticPairs(pa.array(queries), item, np.arange(len(item)), first),
        texts,
        tokenizer.encode_array(true.queries, 16),
        tokenizer.encode_array(queries, 16),
        tokenizer.encode_array(texts, 40),
    )
    return Workbench(tokenizer, data, PictureStore.open(finished_run.items))


@pytest.fixture(scope="session")
def batch(workbench: Workbench) -> Batch:
    """Return all pairs: eight queries, seven items; two items have no picture."""
    true = workbench.data.true
    rows = np.concatenate([true.item, [item for _, item in SYNTHETIC_PAIRS]])
    item, positive = np.unique(rows, return_inverse=True)
    assert not workbench.pictures.has_image[item].all()
    return Batch(true.query, np.arange(len(SYNTHETIC_PAIRS)), item, positive)


@pytest.fixture(scope="session")
def tokenizer(finished_run, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    with create_artifact(path, "tokenizer", config_digest="", parents={}) as folder:
        (folder / "tokenizer.json").write_bytes((finished_run.pretrained.path / "tokenizer.json").read_bytes())
    return open_artifact(path, "tokenizer")


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("synthetic") / "synthetic"
    rows = [("blue dress", "h8"), ("blue", "h8"), ("wool", "f6"), ("socks", "c3"), ("green", "b 2"), ("cotton", "g7")]
    values = {"fields": "title", "start_word": 0, "num_words": 1, "num_redraws": 0}
    table = pa.Table.from_pylist(
        [values | {"query": query, "item_id": item, "draw": n} for n, (query, item) in enumerate(rows)], schema=SYNTHETIC
    )
    with create_artifact(path, "synthetic", config_digest="", parents={}) as folder:
        pq.write_table(table, folder / "synthetic.parquet")
        write_json(folder / "drift.json", {})
    return open_artifact(path, "synthetic")


Gradients = dict[str, torch.Tensor | None]


@pytest.fixture(scope="session")
def assert_same_gradients() -> Callable[[Gradients, Gradients], None]:
    def check(left: Gradients, right: Gradients) -> None:
        assert left.keys() == right.keys()
        largest = max(float(gradient.abs().max()) for gradient in left.values() if gradient is not None)
        assert largest > 1e-3
        for name, gradient in left.items():
            other = right[name]
            assert (gradient is None) == (other is None), name
            if gradient is not None:
                close = {"rtol": 1e-5, "atol": 2e-6 * largest}
                torch.testing.assert_close(other, gradient, **close, msg=lambda text, name=name: f"{name}: {text}")

    return check
