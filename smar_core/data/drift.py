"""How far synthetic queries are from true ones: lengths, tokens, and what the vocabulary does not hold."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from tokenizers import Tokenizer

UNKNOWN_TOKEN = "[UNK]"
_Key = TypeVar("_Key", str, int)
_BATCH = 65_536


def compare_queries(true: Mapping[str, int], synthetic: Mapping[str, int], tokenizer: Tokenizer) -> dict[str, Any]:
    """Compare two sets of queries.

    Args:
        true: How often each true query counts.
        synthetic: How often each synthetic query occurs.
        tokenizer: Splits them into tokens.

    Returns:
        "length_words", "length_jensen_shannon" and "token_jensen_shannon" in bits from 0 to 1, and "out_of_vocabulary_share";
        what cannot be said of no query at all is None.
    """
    true_tokens, synthetic_tokens = _count_tokens(true, tokenizer), _count_tokens(synthetic, tokenizer)
    true_lengths, synthetic_lengths = _count_lengths(true), _count_lengths(synthetic)
    return {
        "length_words": {"true": _describe_lengths(true_lengths), "synthetic": _describe_lengths(synthetic_lengths)},
        "length_jensen_shannon": jensen_shannon(true_lengths, synthetic_lengths),
        "token_jensen_shannon": jensen_shannon(true_tokens, synthetic_tokens),
        "out_of_vocabulary_share": {
            "true": _share(true_tokens[UNKNOWN_TOKEN], true_tokens.total()),
            "synthetic": _share(synthetic_tokens[UNKNOWN_TOKEN], synthetic_tokens.total()),
        },
    }


def jensen_shannon(left: Mapping[_Key, int], right: Mapping[_Key, int]) -> float | None:
    """Return the Jensen-Shannon divergence of two counts, in bits; None if either is empty.

    >>> jensen_shannon({"a": 1}, {"a": 5}), jensen_shannon({"a": 1}, {"b": 1})
    (0.0, 1.0)
    """
    keys = sorted(left.keys() | right.keys())
    counts = np.array([[side.get(key, 0) for key in keys] for side in (left, right)], dtype=np.float64)
    if not keys or not counts.sum(axis=1).all():
        return None
    shares = counts / counts.sum(axis=1, keepdims=True)
    middle = shares.mean(axis=0)
    ratios = np.divide(shares, middle, out=np.ones_like(shares), where=shares > 0)
    return float((shares * np.log2(ratios)).sum(axis=1).mean())


def _count_tokens(queries: Mapping[str, int], tokenizer: Tokenizer) -> Counter[str]:
    counts: Counter[int] = Counter()
    texts = sorted(queries)
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        for text, encoding in zip(batch, tokenizer.encode_batch_fast(batch, add_special_tokens=False), strict=True):
            for token in encoding.ids:
                counts[token] += queries[text]
    return Counter({str(tokenizer.id_to_token(token)): count for token, count in counts.items()})


def _count_lengths(queries: Mapping[str, int]) -> Counter[int]:
    lengths: Counter[int] = Counter()
    for query, count in queries.items():
        lengths[len(query.split())] += count
    return lengths


def _describe_lengths(lengths: Counter[int]) -> dict[str, Any]:
    total = lengths.total()
    return {
        "mean": _share(sum(length * count for length, count in lengths.items()), total),
        "histogram": {str(length): lengths[length] / total for length in sorted(lengths)},
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
