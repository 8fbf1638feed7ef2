"""Each model of the paper's comparison goes through all stages, and has only what it uses."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import VARIANTS, PipelineConfig, load_config
from smar_core.errors import UserError
from smar_core.evaluation.evaluate import evaluate
from smar_core.model.pictures import PictureStore
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.export import export_embeddings
from smar_core.stage import StageContext
from smar_core.training.finetune import finetune
from smar_core.training.gate import train_gate
from smar_core.training.model_artifact import open_model
from smar_core.training.pretrain import pretrain

SMALLEST = [
    "model.hidden_size=24",
    "model.embed_dim=24",
    "model.feed_forward_size=24",
    "model.num_query_layers=1",
    "model.num_image_layers=1",
    "pretrain.batch_size=12",
    "pretrain.num_steps=2",
    "gate.num_steps=2",
    "finetune.batch_size=12",
    "finetune.num_steps=2",
    "export.index=flat",
    "evaluate.num_bootstrap_samples=10",
    "evaluate.num_examples=2",
    "runtime.num_threads=1",
]
TOWERS = {"dpsr": ("text",), "dpsr-i": ("image",)}
INDEXED = {"dpsr": ("text",), "dpsr-i": ("image",), "smar-always": ("multimodal",)}


@dataclass(frozen=True)
class Trained:
    """What the stages made of a variant, and the items whose pictures were read until it was exported."""

    config: PipelineConfig
    read: list[int]
    pretrained: Artifact
    finetuned: Artifact
    bundle: Artifact
    evaluation: Artifact


@pytest.fixture(scope="module", params=VARIANTS)
def trained(request: pytest.FixtureRequest, prepared, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Trained]:
    """Train a variant for two steps on the tiny shop."""
    root = tmp_path_factory.mktemp(request.param)
    config = load_config("demo", variant=request.param, shared=SMALLEST)
    runtime = config.runtime

    def context(stage: str) -> StageContext:
        return StageContext(stage, root / "work" / stage)

    items, clicks, synthetic = prepared.items, prepared.clicks, prepared.synthetic
    read: list[int] = []
    take = PictureStore.take
    patch = pytest.MonkeyPatch()
    patch.setattr(PictureStore, "take", lambda store, rows: read.extend(rows.tolist()) or take(store, rows))
    pretrain(
        items,
        clicks,
        prepared.tokenizer,
        synthetic,
        root / "pretrained",
        config.model,
        config.loss,
        config.pretrain,
        runtime,
        context("pretrain"),
    )
    pretrained = open_artifact(root / "pretrained", "model")
    train_gate(items, clicks, pretrained, root / "gate", config.gate, runtime, context("gate"))
    gate = open_artifact(root / "gate", "gate")
    finetune(items, clicks, pretrained, gate, root / "finetuned", config.loss, config.finetune, runtime, context("finetune"))
    finetuned = open_artifact(root / "finetuned", "model")
    export_embeddings(items, finetuned, gate, root / "bundle", config.export, runtime, context("export"))
    patch.undo()
    bundle = open_artifact(root / "bundle", "bundle")
    artifacts = items, clicks, synthetic, pretrained, gate, finetuned, bundle
    evaluate(*artifacts, None, root / "evaluation", config.evaluate, runtime, context("evaluate"))
    return request.param, Trained(config, read, pretrained, finetuned, bundle, open_artifact(root / "evaluation", "evaluation"))


def test_builds_and_exports_only_what_it_uses(trained: tuple[str, Trained]) -> None:
    name, made = trained
    towers = TOWERS.get(name, ("text", "image", "multimodal"))
    model, _ = open_model(made.finetuned)
    assert model.item_towers == towers
    bundle = Bundle.open(made.bundle.path)
    assert set(bundle.modalities) == set(towers)
    assert bundle.indexed == INDEXED.get(name, ("text", "multimodal"))
    assert {path.name for path in made.bundle.path.glob("index-*")} == {f"index-{m}.faiss" for m in bundle.indexed}


def test_reads_pictures_where_it_has_a_tower_for_them(trained: tuple[str, Trained]) -> None:
    """DPSR read and copied those of every batch and of the catalogue, and threw them away."""
    name, made = trained
    assert bool(made.read) == (name != "dpsr")


def test_trains_by_its_losses(trained: tuple[str, Trained]) -> None:
    name, made = trained
    logged = set(made.pretrained.read_table("curve")["name"].to_pylist())
    left_out = {"smar-ni": {"image"}, "smar-nt": {"text"}, "smar-nm": {"multimodal"}}
    expected = {"text", "image", "multimodal"} - left_out.get(name, set()) if name not in TOWERS else set(TOWERS[name])
    assert {part.removeprefix("loss_") for part in logged if part.startswith("loss_")} == expected


def test_searches_and_is_measured(trained: tuple[str, Trained], prepared) -> None:
    """Every item can be found, and the model is among the systems with R@50 on every slice that has queries."""
    _, made = trained
    bundle = Bundle.open(made.bundle.path)
    (hits,) = bundle.search(["red shirt"], len(bundle.item_ids), exact=True)
    assert len(hits) == len(bundle.item_ids)
    scores = made.evaluation.read_json("scores.json")
    assert 0.0 <= scores["model"]["overall"]["R@50"]["value"] <= 1.0
    assert ("text_only" in scores) == ("text" in bundle.modalities)
    assert (made.evaluation.path / "page.html").stat().st_size > 1000


def test_a_fresh_model_of_each_fusion_differs(prepared) -> None:
    """The three fusions are three functions: equal seeds give other multimodal embeddings."""
    from smar_core.model.building import build_model
    from smar_core.model.encoding import encode_catalogue

    found = []
    for name in ("smar", "smar-nc", "smar-concat"):
        config = load_config("demo", SMALLEST, name)
        model, tokenizer = build_model(
            config.model, prepared.tokenizer.path / "tokenizer.json", image_width_px=16, image_height_px=16, num_views=1, seed=0
        )
        encoded = encode_catalogue(model, tokenizer, prepared.items, batch_size=16, device=torch.device("cpu"))
        found.append(encoded.by_tower["multimodal"][encoded.has_image])
    assert not any(np.allclose(found[a], found[b], atol=1e-3) for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize(
    ("variant", "override", "message"),
    [
        ("dpsr", "gate.mode=learned", "gate.mode learned needs the multimodal tower"),
        ("dpsr", "loss.beta=1", "loss.beta needs the image tower"),
        ("dpsr-i", "gate.mode=always_text", "gate.mode always_text needs the text tower"),
        ("dpsr", "finetune.freeze=[image]", "finetune.freeze image needs the image tower"),
        ("dpsr", "finetune.freeze=[query,text]", "names every tower that gate.mode always_text fine-tunes"),
        ("dpsr-i", "finetune.freeze=[image,query]", "names every tower that gate.mode always_image fine-tunes"),
        ("smar", "finetune.freeze=[query,text,image,multimodal]", "names every tower that gate.mode learned fine-tunes"),
        ("smar-nm", "gate.supervision=utility", "gate.supervision utility ranks by the pre-trained model, and loss.gamma is 0"),
        ("smar-nt", "gate.side=item", "gate.side item ranks by the pre-trained model, and loss.alpha is 0"),
        ("smar-nm", "finetune.hard_negatives=8", "finetune.hard_negatives ranks by the pre-trained model, and loss.gamma is 0"),
        ("smar", "model.item_towers=[text,multimodal]", "without both text and image"),
        ("smar", "model.item_towers=[]", "is empty"),
    ],
)
def test_settings_that_name_a_missing_tower_are_refused(variant: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config("demo", [override], variant)


@pytest.mark.parametrize("override", ["gate.supervision=utility", "gate.side=item", "finetune.hard_negatives=8"])
def test_what_ranks_by_a_pretrained_model_needs_pretraining(override: str) -> None:
    with pytest.raises(UserError, match=r"and pretrain\.num_steps is 0, so that what it ranks by is not trained"):
        load_config("demo", ["pretrain.num_steps=0", override])


def test_freezing_a_tower_that_is_not_trained_is_refused() -> None:
    with pytest.raises(UserError, match=r"freeze image changes nothing, since gate\.mode always_text"):
        load_config("demo", ["gate.mode=always_text", "finetune.freeze=[image]"])


def test_a_model_without_pictures_takes_any_size_of_picture() -> None:
    assert load_config("demo", ["prepare.image_width_px=50"], "dpsr").prepare.image_width_px == 50


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'smar-nc'"):
        load_config("demo", variant="smar-ncc")
