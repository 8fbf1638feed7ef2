"""Local checkpoints that towers start from: they are looked at before the run and belong to the stage's cache key by content.

A hub name stays a name: its content is fixed by the hub's revision, and nothing is downloaded here.
"""

from pathlib import Path

from smar_core.config import ModelConfig
from smar_core.digest import digest_file, digest_json
from smar_core.errors import UserError

_FIELDS = ("query_encoder", "text_encoder", "image_encoder")


def pretrain_key(code: str, model: ModelConfig) -> str:
    """Return the digest of what pre-training is made of beside artifacts and config: its code and the local checkpoints.

    Args:
        code: Digest of the stage's code.
        model: Its config section.

    Raises:
        UserError: A path that is no folder with a config.json.

    >>> pretrain_key("abc", ModelConfig())
    'abc'
    """
    folders = {field: _local_folder(field, source) for field in _FIELDS if (source := getattr(model, field)) is not None}
    files = {
        f"{field}/{file.relative_to(folder).as_posix()}": digest_file(file)
        for field, folder in folders.items()
        if folder is not None
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    return digest_json({"code": code, "checkpoints": files}) if files else code


def _local_folder(field: str, source: str) -> Path | None:
    """Return the folder of a local checkpoint, None for a hub name."""
    folder = Path(source).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.exists() or source.startswith((".", "/", "~")):
        raise UserError(
            f"model.{field}={source!r} is no folder of a checkpoint: it holds no config.json",
            "give a folder written by save_pretrained, or the name of a checkpoint of a hub",
        )
    return None
