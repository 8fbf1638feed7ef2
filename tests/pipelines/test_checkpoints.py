"""Local checkpoints are part of the key of pre-training."""

from pathlib import Path

import pytest

from pipelines.checkpoints import pretrain_key
from smar_core.config import ModelConfig
from smar_core.errors import UserError


def _checkpoint(folder: Path, weights: bytes) -> ModelConfig:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return ModelConfig(query_encoder=str(folder))


def test_other_weights_at_the_same_path_are_another_key(tmp_path: Path) -> None:
    """Kubeflow's cache knows the path alone, so new weights there were taken for the old ones."""
    keys = [pretrain_key("code", _checkpoint(tmp_path / "bert", weights)) for weights in (b"1", b"2", b"1")]
    assert keys[0] == keys[2] != keys[1]


def test_the_same_checkpoint_elsewhere_is_the_same_key(tmp_path: Path) -> None:
    one, two = (pretrain_key("code", _checkpoint(tmp_path / name, b"1")) for name in ("one", "two"))
    assert one == two


def test_code_counts_beside_checkpoints(tmp_path: Path) -> None:
    model = _checkpoint(tmp_path / "bert", b"1")
    assert pretrain_key("code", model) != pretrain_key("other", model)


def test_hub_name_is_left_alone() -> None:
    assert pretrain_key("code", ModelConfig(text_encoder="organisation/model")) == "code"


def test_path_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.image_encoder"):
        pretrain_key("code", ModelConfig(image_encoder=str(tmp_path / "missing")))
