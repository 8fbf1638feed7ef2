"""A small finished run, made by hand: every artifact up to the bundle, small enough to know what must come out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from smar_core.artifact import Artifact, create_artifact, open_artifact, write_json
from smar_core.config import ExportConfig, RuntimeConfig
from smar_core.model.configuration import SmarConfig
from smar_core.model.gate import Gate, PredictionHeader
from smar_core.model.modeling import SmarModel
from smar_core.model.tokens import TextTokenizer
from smar_core.retrieval.export import export_embeddings
from smar_core.schemas import CURVE, GATE_QUERIES, ITEMS, PAIRS, QRELS, QUERIES, SYNTHETIC, image_schema
from smar_core.stage import StageContext
from smar_core.text import normalise_query, query_id

TRAINING = {
    "best_step": 0,
    "num_steps": 0,
    "batch_size": 2,
    "num_true_pairs": 0,
    "num_synthetic_pairs": 0,
    "num_distinct_synthetic_pairs_seen": 0,
    "num_parameters": 0,
    "best": {},
}
WIDTH_PX, HEIGHT_PX = 8, 16
VISUAL = ("Apparel",)

# In the order of the artifact, which is not that of the ids: title, category, has_image.
PRODUCTS = {
    "z9": ("red shirt", "Apparel > Shirts", True),
    "a1": ("blue shirt", "Apparel > Shirts", True),
    "b 2": ("green dress", "Apparel > Dresses", True),
    "a10": ("red dress", "Apparel > Dresses", True),
    "c3": ("white socks", "Apparel > Socks", False),
    "d4": ("steel pot", "Home > Kitchen", True),
    "e5": ("steel pan", "Home > Kitchen", True),
    "f6": ("wool blanket", "Home > Bedding", False),
    "g7": ("cotton blanket", "Home > Bedding", True),
    "h8": ("blue dress", "Apparel > Dresses", True),
}

# (split, query, item, clicks)
CLICKS = (
    ("train", "red shirt", "z9", 3),
    ("train", "red shirt", "a1", 1),
    ("train", "steel pot", "d4", 2),
    ("train", "dress", "a10", 1),
    ("validation", "red shirt", "z9", 1),
    ("validation", "steel pan", "e5", 1),
    ("test", "red shirt", "z9", 2),  # seen pair
    ("test", "red shirt", "a10", 1),  # unseen pair, seen item
    ("test", "steel pot", "d4", 1),  # nothing but a seen pair
    ("test", "blanket", "f6", 1),  # unseen query, item without a picture
    ("test", "blanket", "g7", 1),
    ("test", "dress", "h8", 4),  # seen query, unseen item
)


@dataclass(frozen=True)
class FinishedRun:
    """Artifacts of one run."""

    items: Artifact
    clicks: Artifact
    synthetic: Artifact
    pretrained: Artifact
    finetuned: Artifact
    gate: Artifact
    bundle: Artifact


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Every artifact up to the bundle."""
    root = tmp_path_factory.mktemp("finished_run")
    items, clicks = _write_items(root / "items"), _write_clicks(root / "clicks")
    pretrained, finetuned = (_write_model(root / name, seed) for seed, name in enumerate(("pretrain", "finetune")))
    gate = _write_gate(root / "gate", pretrained, mode="learned")
    export_embeddings(
        items, finetuned, gate, root / "bundle", ExportConfig(index="flat"), RuntimeConfig(num_threads=1), _context(root)
    )
    with create_artifact(root / "synthetic", "synthetic", config_digest="", parents={}) as folder:
        pq.write_table(SYNTHETIC.empty_table(), folder / "synthetic.parquet")
        write_json(folder / "drift.json", {})
    return FinishedRun(
        items,
        clicks,
        open_artifact(root / "synthetic", "synthetic"),
        pretrained,
        finetuned,
        gate,
        open_artifact(root / "bundle", "bundle"),
    )


def _context(root: Path) -> StageContext:
    return StageContext(config_digest="", work=root)


def _write_items(path: Path) -> Artifact:
    rows = [
        {
            "item_id": item_id,
            "title": title,
            "brand": "",
            "category": category,
            "has_image": has_image,
            "image_problem": None if has_image else "absent",
        }
        for item_id, (title, category, has_image) in PRODUCTS.items()
    ]
    rng = np.random.default_rng(0)
    pictures = [
        {"item_id": row["item_id"], "pixels": rng.integers(0, 256, WIDTH_PX * HEIGHT_PX * 3, dtype=np.uint8).tobytes()}
        for row in rows
        if row["has_image"]
    ]
    with create_artifact(path, "items", config_digest="", parents={}) as folder:
        pq.write_table(pa.Table.from_pylist(rows, schema=ITEMS), folder / "items.parquet")
        images = pa.Table.from_pylist(pictures, schema=image_schema(WIDTH_PX, HEIGHT_PX))
        with pa.ipc.new_file(folder / "images.arrow", images.schema) as writer:
            writer.write_table(images)
        write_json(folder / "statistics.json", {})
    return open_artifact(path, "items")


def _write_clicks(path: Path) -> Artifact:
    trained = [(query, item) for split, query, item, _ in CLICKS if split == "train"]
    seen_queries, seen_items = ({pair[n] for pair in trained} for n in (0, 1))
    pairs = [
        {
            "split": split,
            "query_id": query_id(query),
            "query": query,
            "item_id": item,
            "num_clicks": clicks,
            "is_seen_query": query in seen_queries,
            "is_seen_item": item in seen_items,
            "is_seen_pair": (query, item) in trained,
        }
        for split, query, item, clicks in CLICKS
    ]
    queries: dict[tuple[str, str], dict[str, object]] = {}
    for pair in pairs:
        row = queries.setdefault(
            (pair["split"], pair["query_id"]),
            {name: pair[name] for name in ("split", "query_id", "query", "is_seen_query")} | {"num_clicks": 0, "num_items": 0},
        )
        row["num_clicks"] += pair["num_clicks"]
        row["num_items"] += 1
    qrels = [pair | {"relevance": pair["num_clicks"]} for pair in pairs if pair["split"] != "train"]
    with create_artifact(path, "clicks", config_digest="", parents={}) as folder:
        pq.write_table(pa.Table.from_pylist(pairs, schema=PAIRS), folder / "pairs.parquet")
        pq.write_table(pa.Table.from_pylist(list(queries.values()), schema=QUERIES), folder / "queries.parquet")
        pq.write_table(pa.Table.from_pylist(qrels, schema=QRELS), folder / "qrels.parquet")
        write_json(folder / "statistics.json", {})
    return open_artifact(path, "clicks")


def _tokenizer() -> TextTokenizer:
    words = sorted({word for title, category, _ in PRODUCTS.values() for word in normalise_query(f"{title} {category}").split()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return TextTokenizer(tokenizer)


def _write_model(path: Path, seed: int) -> Artifact:
    """Write a model with random weights: which items it finds does not matter, only what is made of that."""
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    config = SmarConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=24,
        embed_dim=24,
        feed_forward_size=24,
        num_query_layers=1,
        num_image_layers=1,
        image_width_px=WIDTH_PX,
        image_height_px=HEIGHT_PX,
    )
    with create_artifact(path, "model", config_digest="", parents={}) as folder:
        SmarModel(config).save_pretrained(folder)
        tokenizer.save(folder / "tokenizer.json")
        pq.write_table(CURVE.empty_table(), folder / "curve.parquet")
        write_json(folder / "training.json", TRAINING | {"stage": path.name})
    return open_artifact(path, "model")


@pytest.fixture(scope="session")
def write_gate() -> Callable[[Path, Artifact, str], Artifact]:
    """Write a gate with random weights: (folder, pretrained model, mode)."""
    return _write_gate


def _write_gate(path: Path, pretrained: Artifact, mode: str) -> Artifact:
    """Its threshold lies between the test queries' probabilities; a constant one is as training leaves it."""
    model = SmarModel.from_pretrained(pretrained.path)
    tokenizer = TextTokenizer.load(pretrained.path / "tokenizer.json")
    torch.manual_seed(0)
    header = PredictionHeader(model.config.embed_dim, 8)
    queries = sorted({query for split, query, _, _ in CLICKS if split == "test"})
    gate = Gate(mode, 0.5, VISUAL, 1.0, 0.0, header, model.query_tower, tokenizer)
    probabilities = gate.probabilities(queries, batch_size=8, device=torch.device("cpu"))
    gate = Gate(
        mode,
        float(np.median(probabilities)) if mode == "learned" else 0.5,
        VISUAL,
        1.0,
        0.0,
        header,
        model.query_tower,
        tokenizer,
    )
    with create_artifact(path, "gate", config_digest="", parents={}) as folder:
        gate.save(folder)
        pq.write_table(GATE_QUERIES.empty_table(), folder / "gate_queries.parquet")
        write_json(folder / "gate_report.json", {"mode": mode, "threshold": gate.threshold, "visual_categories": VISUAL})
    return open_artifact(path, "gate")
