"""Text to token ids: one HF tokenizer for queries and items, with [CLS] put in front here.

[CLS] means that a text of unknown words or none still has a place to pool.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from smar_core.errors import UserError


class TextTokenizer:
    """A tokenizer that returns padded id and mask tensors.

    Args:
        tokenizer: With a padding and a classification token, under BERT's or RoBERTa's names.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.pad_id = _special_id(tokenizer, ("[PAD]", "<pad>"))
        self.cls_id = _special_id(tokenizer, ("[CLS]", "<s>"))

    @classmethod
    def load(cls, path: Path) -> "TextTokenizer":
        """Read a tokenizer.json."""
        return cls(Tokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        """Write a tokenizer.json."""
        self._tokenizer.save(str(path))

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones counted."""
        return int(self._tokenizer.get_vocab_size())

    def encode_array(self, texts: Sequence[str], max_tokens: int) -> np.ndarray:
        """Return ids [B, max_tokens] int32 with [CLS] first, padded on the right, truncated."""
        ids = np.full((len(texts), max_tokens), self.pad_id, dtype=np.int32)
        ids[:, 0] = self.cls_id
        for row, encoding in enumerate(self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)):
            tokens = encoding.ids[: max_tokens - 1]
            ids[row, 1 : 1 + len(tokens)] = tokens
        return ids

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[Tensor, Tensor]:
        """Return ids [B, L] int64 and mask [B, L] bool, L being the longest of these texts, at most max_tokens."""
        return self.trim(self.encode_array(texts, max_tokens))

    def trim(self, ids_BL: np.ndarray) -> tuple[Tensor, Tensor]:
        """Turn padded rows into tensors without the columns that are padding in every row."""
        is_token_BL = ids_BL != self.pad_id
        length = int(is_token_BL.any(axis=0).sum()) if len(ids_BL) else 1
        return torch.from_numpy(ids_BL[:, :length].astype(np.int64)), torch.from_numpy(is_token_BL[:, :length])


def _special_id(tokenizer: Tokenizer, names: tuple[str, ...]) -> int:
    for name in names:
        token_id = tokenizer.token_to_id(name)
        if token_id is not None:
            return int(token_id)
    raise UserError(f"the tokenizer has none of the tokens {', '.join(names)}", "use a checkpoint with such a token")
