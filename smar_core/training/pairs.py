"""What training reads: true and synthetic (query, item) pairs as integer arrays, and tokens mapped from files.

Texts are tokenised once, into ``.npy`` files of the stage's work folder; the loop then only takes rows of memory maps.
Shapes: Q distinct training queries, S synthetic queries, N items, L tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smar_core.artifact import Artifact
from smar_core.errors import UserError
from smar_core.model.encoding import item_texts
from smar_core.model.tokens import TextTokenizer
from smar_core.training.distributed import ALONE, Ranks

_ROWS_A_CHUNK = 65536


@dataclass(frozen=True)
class TruePairs:
    """Distinct clicked pairs of the training days.

    Attributes:
        queries: Text of each distinct query, sorted.
        query: [num_pairs] row of the query.
        item: [num_pairs] row of the item in the catalogue.
    """

    queries: list[str]
    query: np.ndarray
    item: np.ndarray


@dataclass(frozen=True)
class SyntheticPairs:
    """Synthetic queries, those of one item side by side in the order in which they were drawn.

    Attributes:
        queries: Text of each.
        item: [S] row of the item in the catalogue.
        pair: [S] number of the different (query, item) pair; an item may hold a query several times.
        first: [N + 1] place of each item's first query; ``first[n + 1] - first[n]`` are item n's.
    """

    queries: pa.StringArray
    item: np.ndarray
    pair: np.ndarray
    first: np.ndarray


def read_true_pairs(clicks: Artifact, item_row: dict[str, int]) -> TruePairs:
    """Read the training split; nothing of the validation or test days is touched."""
    table = clicks.read_table("pairs", ["split", "query", "item_id"])
    table = table.filter(pc.equal(table["split"], "train"))
    texts = table["query"].to_pylist()
    queries = sorted(set(texts))
    row_of = {query: row for row, query in enumerate(queries)}
    query = np.fromiter((row_of[text] for text in texts), dtype=np.int64, count=len(texts))
    item = np.fromiter((item_row[item_id] for item_id in table["item_id"].to_pylist()), dtype=np.int64, count=len(texts))
    order = np.lexsort((item, query))
    return TruePairs(queries, query[order], item[order])


def read_synthetic_pairs(synthetic: Artifact, item_row: dict[str, int]) -> SyntheticPairs:
    """Read all synthetic queries, grouped by item."""
    table = synthetic.read_table("synthetic", ["query", "item_id", "draw"])
    item = np.fromiter((item_row[item_id] for item_id in table["item_id"].to_pylist()), dtype=np.int64, count=len(table))
    order = np.lexsort((table["draw"].to_numpy(), item))
    item = item[order]
    queries = table["query"].take(pa.array(order)).combine_chunks()
    code = queries.dictionary_encode().indices.to_numpy().astype(np.int64)
    _, pair = np.unique(item * (1 + code.max(initial=0)) + code, return_inverse=True)
    return SyntheticPairs(queries, item, pair, np.searchsorted(item, np.arange(len(item_row) + 1)))


def no_synthetic_pairs(num_items: int) -> SyntheticPairs:
    """Return an empty set, for fine-tuning."""
    none = np.empty(0, dtype=np.int64)
    return SyntheticPairs(pa.array([], pa.string()), none, none, np.zeros(num_items + 1, dtype=np.int64))


def rows_by_item_id(items: Artifact) -> dict[str, int]:
    """Return the catalogue row of each item id."""
    return {item_id: row for row, item_id in enumerate(items.read_table("items", ["item_id"])["item_id"].to_pylist())}


@dataclass(frozen=True)
class TrainingData:
    """All that a batch is cut from.

    Attributes:
        true, synthetic: The pairs.
        item_texts: Normalised text of each item.
        true_ids, synthetic_ids, item_ids: Padded token ids [Q, L], [S, L], [N, L], mapped from files.
    """

    true: TruePairs
    synthetic: SyntheticPairs
    item_texts: list[str]
    true_ids: np.ndarray
    synthetic_ids: np.ndarray
    item_ids: np.ndarray


def open_training_data(
    items: Artifact,
    clicks: Artifact,
    synthetic: Artifact | None,
    tokenizer: TextTokenizer,
    work: Path,
    *,
    max_query_tokens: int,
    max_item_tokens: int,
    ranks: Ranks = ALONE,
) -> TrainingData:
    """Read the pairs and tokenise every text once, in the first process.

    Raises:
        UserError: There is no training pair.
    """
    item_row = rows_by_item_id(items)
    true = read_true_pairs(clicks, item_row)
    if not len(true.query):
        raise UserError("the click log has no usable click on the training days", "give a longer log")
    pairs = read_synthetic_pairs(synthetic, item_row) if synthetic is not None else no_synthetic_pairs(len(item_row))
    texts = item_texts(items)
    work.mkdir(parents=True, exist_ok=True)
    with ranks.in_turn():
        return TrainingData(
            true,
            pairs,
            texts,
            _tokenised(true.queries, tokenizer, max_query_tokens, work / "true_queries.npy", ranks.is_first),
            _tokenised(pairs.queries, tokenizer, max_query_tokens, work / "synthetic_queries.npy", ranks.is_first),
            _tokenised(texts, tokenizer, max_item_tokens, work / "items.npy", ranks.is_first),
        )


def _tokenised(
    texts: Sequence[str] | pa.StringArray, tokenizer: TextTokenizer, max_tokens: int, path: Path, is_written_here: bool
) -> np.ndarray:
    """Write token ids chunk by chunk and map them back, so that memory does not grow with the number of texts."""
    if not len(texts):
        return np.empty((0, max_tokens), dtype=np.int32)
    if is_written_here:
        ids = np.lib.format.open_memmap(path, mode="w+", dtype=np.int32, shape=(len(texts), max_tokens))
        for start in range(0, len(texts), _ROWS_A_CHUNK):
            chunk = texts[start : start + _ROWS_A_CHUNK]
            ids[start : start + len(chunk)] = tokenizer.encode_array(
                chunk.to_pylist() if isinstance(chunk, pa.Array) else chunk, max_tokens
            )
        ids.flush()
    return np.load(path, mmap_mode="r")
