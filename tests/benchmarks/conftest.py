"""A bundle of a hardly trained model in a store, with what it was made from beside it."""

from pathlib import Path

import pytest

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import override_config
from smar_core.retrieval.export import export_embeddings
from smar_core.stage import StageContext
from smar_core.training.gate import train_gate
from smar_core.training.pretrain import pretrain
from tests.conftest import Prepared


@pytest.fixture
def stored_bundle(prepared: Prepared, tmp_path: Path) -> Path:
    """``STORE/bundle/DIGEST`` of the tiny shop."""
    sizes = ["model.hidden_size=24", "model.embed_dim=24", "model.feed_forward_size=24", "gate.num_steps=2", "export.index=flat"]
    steps = [f"pretrain.{key}=2" for key in ("num_steps", "validate_every_steps", "checkpoint_every_steps")]
    config = override_config(prepared.config, [*sizes, *steps, "pretrain.batch_size=8"])

    def context(**parents: Artifact) -> StageContext:
        return StageContext("", tmp_path / "work", {name: of.digest for name, of in parents.items()})

    def keep(folder: Path, kind: str) -> Artifact:
        path = tmp_path / "store" / kind / open_artifact(folder, kind).digest
        path.parent.mkdir(parents=True)
        path.symlink_to(folder)
        return open_artifact(path, kind)

    items, clicks = keep(prepared.items.path, "items"), keep(prepared.clicks.path, "clicks")
    inputs = items, clicks, prepared.tokenizer, prepared.synthetic
    pretrain(*inputs, tmp_path / "m", config.model, config.loss, config.pretrain, config.runtime, context(clicks=clicks))
    model = keep(tmp_path / "m", "model")
    train_gate(items, clicks, model, tmp_path / "g", config.gate, config.runtime, context())
    gate = open_artifact(tmp_path / "g", "gate")
    bundle = tmp_path / "store" / "bundle" / "digest"
    export_embeddings(items, model, gate, bundle, config.export, config.runtime, context(items=items, finetuned=model))
    return bundle
