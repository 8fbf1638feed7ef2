"""A fresh model from the config section: towers from scratch, or from local or hub checkpoints.

One vocabulary a model: a text checkpoint brings its own tokenizer, which then serves queries and items, and two text
checkpoints must share theirs.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import cached_file

from smar_core.config import ModelConfig
from smar_core.errors import UserError
from smar_core.model.configuration import SmarConfig
from smar_core.model.modeling import SmarModel
from smar_core.model.patch_init import start_from_components
from smar_core.model.pictures import Pictures, PictureStore
from smar_core.model.tokens import TextTokenizer
from smar_core.model.towers import CheckpointEncoder


def build_model(
    config: ModelConfig,
    tokenizer_path: Path,
    *,
    image_width_px: int,
    image_height_px: int,
    num_views: int,
    seed: int,
    pictures: Pictures | None = None,
) -> tuple[SmarModel, TextTokenizer]:
    """Return an untrained model and the tokenizer that belongs to it.

    Args:
        config: Sizes, and the checkpoints to start from.
        tokenizer_path: The prepared tokenizer.json, used unless a text checkpoint brings its own.
        image_width_px, image_height_px: Size of the prepared pictures.
        num_views: Most pictures of an item.
        seed: Of the weights that start at random.
        pictures: The catalogue's, from which ``config.patch_init`` pca learns its components; else not needed.

    Raises:
        UserError: A checkpoint does not load, or does not fit the other or the pictures.
    """
    encoders = {name: _encoder_config(name, getattr(config, name)) for name in ("query_encoder", "text_encoder", "image_encoder")}
    _check_image_size(encoders["image_encoder"], config.image_encoder, image_width_px, image_height_px)
    tokenizer = _tokenizer(config, tokenizer_path)
    values: dict[str, Any] = config.model_dump(exclude={"patch_init"}) | encoders | _pixel_scale(config.image_encoder)
    smar_config = SmarConfig(
        **values,
        vocab_size=tokenizer.vocab_size,
        image_width_px=image_width_px,
        image_height_px=image_height_px,
        num_views=num_views,
    )
    torch.manual_seed(seed)
    model = SmarModel(smar_config)
    for tower, source in (
        (model.query_tower, config.query_encoder),
        (model.text_tower, config.text_encoder),
        (model.image_tower, config.image_encoder),
    ):
        if source is not None:
            assert tower is not None
            assert isinstance(tower.checkpoint, CheckpointEncoder)
            encoder = tower.checkpoint.encoder
            # Its own class, not AutoModel: of a checkpoint of two towers (CLIP) it takes the one that is wanted.
            encoder.load_state_dict(type(encoder).from_pretrained(source, dtype=torch.float32).state_dict())
    if config.patch_init == "pca":
        assert pictures is not None and model.image_tower is not None
        start_from_components(model.image_tower, pictures, seed)
    return model, tokenizer


def build_for_pictures(
    config: ModelConfig, tokenizer_path: Path, pictures: PictureStore, seed: int
) -> tuple[SmarModel, TextTokenizer]:
    """Return what ``build_model`` does, for a catalogue's pictures as they are."""
    return build_model(
        config,
        tokenizer_path,
        image_width_px=pictures.width_px,
        image_height_px=pictures.height_px,
        num_views=pictures.num_views,
        seed=seed,
        pictures=pictures,
    )


def _encoder_config(field: str, source: str | None) -> dict[str, Any] | None:
    if source is None:
        return None
    try:
        found = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.{field}={source!r} is no checkpoint that loads ({str(error).splitlines()[0]})",
            "give a folder written by save_pretrained, or the name of a checkpoint of a reachable hub",
        ) from None
    values: dict[str, Any] = getattr(found, "vision_config", found).to_dict() if field == "image_encoder" else found.to_dict()
    return values


def _tokenizer(config: ModelConfig, prepared: Path) -> TextTokenizer:
    named = {"query_encoder": config.query_encoder, "text_encoder": config.text_encoder}
    found = [_tokenizer_json(field, source) for field, source in named.items() if source is not None]
    if not found:
        return TextTokenizer.load(prepared)
    if len(found) == 2 and json.loads(found[0])["model"] != json.loads(found[1])["model"]:
        raise UserError(
            f"model.query_encoder={config.query_encoder!r} and model.text_encoder={config.text_encoder!r} have different "
            "vocabularies",
            "choose two checkpoints of one family",
        )
    return TextTokenizer(Tokenizer.from_str(found[0]))


def _tokenizer_json(field: str, source: str) -> str:
    try:
        found: str = AutoTokenizer.from_pretrained(source).backend_tokenizer.to_str()
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"the tokenizer of model.{field}={source!r} does not load ({str(error).splitlines()[0]})",
            "use a checkpoint with a tokenizer.json",
        ) from None
    return found


def _check_image_size(encoder: dict[str, Any] | None, source: str | None, width_px: int, height_px: int) -> None:
    size = (encoder or {}).get("image_size")
    if isinstance(size, int) and (width_px, height_px) != (size, size):
        raise UserError(
            f"model.image_encoder={source!r} reads {size} x {size} px, the prepared pictures have {width_px} x {height_px} px",
            f"set prepare.image_width_px={size} and prepare.image_height_px={size}",
        )


def _pixel_scale(source: str | None) -> dict[str, tuple[float, ...]]:
    """Return mean and standard deviation that an image checkpoint was trained with; nothing when it does not say."""
    path = (
        None if source is None else cached_file(source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    )
    if path is None:
        return {}
    values = json.loads(Path(path).read_text(encoding="utf-8"))
    names = {"pixel_mean": "image_mean", "pixel_std": "image_std"}
    return {ours: tuple(values[theirs]) for ours, theirs in names.items() if theirs in values}
