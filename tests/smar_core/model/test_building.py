"""Encoders that start from local checkpoints of transformers."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel, PreTrainedTokenizerFast, ViTConfig, ViTModel

from smar_core.config import ModelConfig
from smar_core.errors import UserError
from smar_core.model.building import build_model
from smar_core.model.layers import set_dropout
from smar_core.model.modeling import SmarModel

SIZES = {"hidden_size": 24, "embed_dim": 24, "feed_forward_size": 32, "num_query_layers": 1}


def _tokenizer(words: str) -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words.split()])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    _tokenizer("red shirt").save(str(path))
    return path


def _bert(folder: Path, words: str) -> str:
    torch.manual_seed(5)
    config = BertConfig(vocab_size=20, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(words), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return str(folder)


def _vit(folder: Path) -> str:
    config = ViTConfig(
        image_size=32, patch_size=16, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    ViTModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}))
    return str(folder)


def test_all_encoders_from_checkpoints(tmp_path: Path, prepared: Path) -> None:
    bert, vit = _bert(tmp_path / "bert", "blue dress long"), _vit(tmp_path / "vit")
    config = ModelConfig(**SIZES, query_encoder=bert, text_encoder=bert, image_encoder=vit)
    model, tokenizer = build_model(config, prepared, image_width_px=32, image_height_px=32, num_views=1, seed=0)
    original = BertModel.from_pretrained(bert)
    for tower in (model.query_tower, model.text_tower):
        assert torch.equal(tower.checkpoint.encoder.embeddings.word_embeddings.weight, original.embeddings.word_embeddings.weight)
    assert tokenizer.encode(["blue dress"], 8)[0].tolist() == [[2, 4, 5]]
    assert model.config.pixel_mean == [0.1, 0.2, 0.3]
    ids, mask = tokenizer.encode(["blue", "long dress"], 8)
    pixels, has_view = torch.zeros(2, 1, 32, 32, 3, dtype=torch.uint8), torch.tensor([[True], [True]])
    found = model.eval().encode_items(ids, mask, pixels, has_view)
    model.save_pretrained(tmp_path / "saved")
    again = SmarModel.from_pretrained(tmp_path / "saved").eval()
    assert torch.equal(found["multimodal"], again.encode_items(ids, mask, pixels, has_view)["multimodal"])


@pytest.mark.parametrize("field", ["query_encoder", "text_encoder"])
def test_one_text_checkpoint_beside_a_tower_from_scratch(tmp_path: Path, prepared: Path, field: str) -> None:
    config = ModelConfig(**SIZES, **{field: _bert(tmp_path / "bert", "blue dress")})
    model, tokenizer = build_model(config, prepared, image_width_px=48, image_height_px=64, num_views=1, seed=0)
    ids, mask = tokenizer.encode(["blue dress"], 8)
    assert model.encode_query(ids, mask).shape == (1, 24)
    assert model.text_tower(ids, mask, model.query_tower.embedding)[1].shape == (1, 24)


def test_dropout_of_a_checkpoint_is_its_own(tmp_path: Path, prepared: Path) -> None:
    config = ModelConfig(**SIZES, query_encoder=_bert(tmp_path / "bert", "blue dress"))
    model, _ = build_model(config, prepared, image_width_px=48, image_height_px=64, num_views=1, seed=0)
    set_dropout(model, 0.4)
    shares = {name: part.p for name, part in model.named_modules() if isinstance(part, torch.nn.Dropout)}
    assert {share for name, share in shares.items() if "checkpoint" in name} == {0.1}
    assert {share for name, share in shares.items() if "checkpoint" not in name} == {0.4}


def test_image_tower_of_a_two_tower_checkpoint(tmp_path: Path, prepared: Path) -> None:
    """Of CLIP only the vision tower is taken, with its weights."""
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {"vocab_size": 20, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    clip = CLIPModel(CLIPConfig(text_config=sizes | text, vision_config=sizes | {"image_size": 32, "patch_size": 16}))
    clip.save_pretrained(tmp_path / "clip")
    config = ModelConfig(**SIZES, image_encoder=str(tmp_path / "clip"))
    model, _ = build_model(config, prepared, image_width_px=32, image_height_px=32, num_views=1, seed=0)
    found = {
        name.removeprefix("vision_model."): value for name, value in model.image_tower.checkpoint.encoder.state_dict().items()
    }
    expected = clip.vision_model.state_dict()
    assert all(torch.equal(found[name.removeprefix("vision_model.")], value) for name, value in expected.items())
    pixels = torch.zeros(2, 1, 32, 32, 3, dtype=torch.uint8)
    assert model.image_tower(pixels, torch.tensor([[True], [True]]))[2].shape == (2, 24)


@pytest.mark.parametrize("field", ["query_encoder", "text_encoder", "image_encoder"])
def test_a_checkpoint_that_does_not_load_is_named_by_its_setting(field: str, tmp_path: Path, prepared: Path) -> None:
    config = ModelConfig(**SIZES, **{field: str(tmp_path / "nope")})
    with pytest.raises(UserError, match=rf"model\.{field}='.*nope' is no checkpoint that loads"):
        build_model(config, prepared, image_width_px=32, image_height_px=32, num_views=1, seed=0)


def test_a_checkpoint_without_a_tokenizer_is_named_even_when_it_is_the_second(tmp_path: Path, prepared: Path) -> None:
    whole, bare = _bert(tmp_path / "whole", "blue"), _bert(tmp_path / "bare", "blue")
    for path in (tmp_path / "bare").glob("*token*"):
        path.write_text("[]", encoding="utf-8")
    config = ModelConfig(**SIZES, query_encoder=whole, text_encoder=bare)
    with pytest.raises(UserError, match=r"the tokenizer of model\.text_encoder='.*bare' does not load"):
        build_model(config, prepared, image_width_px=32, image_height_px=32, num_views=1, seed=0)


def test_two_vocabularies_are_refused(tmp_path: Path, prepared: Path) -> None:
    config = ModelConfig(**SIZES, query_encoder=_bert(tmp_path / "one", "blue"), text_encoder=_bert(tmp_path / "two", "green"))
    with pytest.raises(UserError, match="different vocabularies"):
        build_model(config, prepared, image_width_px=48, image_height_px=64, num_views=1, seed=0)


def test_picture_size_must_fit_the_checkpoint(tmp_path: Path, prepared: Path) -> None:
    config = ModelConfig(**SIZES, image_encoder=_vit(tmp_path / "vit"))
    with pytest.raises(UserError, match=r"prepare\.image_width_px=32"):
        build_model(config, prepared, image_width_px=48, image_height_px=64, num_views=1, seed=0)


def test_folder_without_a_checkpoint_is_refused(tmp_path: Path, prepared: Path) -> None:
    with pytest.raises(UserError, match=r"model\.image_encoder"):
        build_model(
            ModelConfig(**SIZES, image_encoder=str(tmp_path)),
            prepared,
            image_width_px=48,
            image_height_px=64,
            num_views=1,
            seed=0,
        )
