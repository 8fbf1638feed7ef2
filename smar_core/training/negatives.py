"""False negatives: which items of a batch may not be pushed away from which queries.

An item is no negative of a query when a training click holds the pair, when it contains every word of a synthetic query, or
when another pair of the batch has the same query and this item. (Equal items are one column of the batch already.) A hard
negative must moreover have another text than the pair's item. Found by sparse products over the batch alone: about 2 ms for
384 pairs and 130 items.
Shapes: Bt true and Bs synthetic pairs (B together), N items of the batch, C candidates of a pair, V words.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from scipy import sparse

from smar_core.training.pairs import TrainingData
from smar_core.training.sampler import Batch

_PAIRS_A_BLOCK = 128


class FalseNegatives:
    """Looks up a batch's false negatives in the click graph and in the items' words.

    Args:
        data: Pairs and item texts of the training days.
    """

    def __init__(self, data: TrainingData) -> None:
        self._data = data
        shape = (len(data.true.queries), len(data.item_texts))
        ones = np.ones(len(data.true.query), dtype=np.float32)
        self._clicked = sparse.csr_matrix((ones, (data.true.query, data.true.item)), shape=shape)
        self._query_row = {query: row for row, query in enumerate(data.true.queries)}
        self._word_id: dict[str, int] = {}
        self._item_words = self._count_words(data.item_texts)
        number: dict[str, int] = {}
        self._text_number = np.array([number.setdefault(text, len(number)) for text in data.item_texts])

    def excluded(self, batch: Batch) -> np.ndarray:
        """Return [B, N] bool, True where the item may not be a negative; rows in the batch's order."""
        synthetic_texts = self._data.synthetic.queries.take(pa.array(batch.synthetic_query)).to_pylist()
        texts = [self._data.true.queries[row] for row in batch.true_query] + synthetic_texts
        excluded = self._clicked_in_training(texts, batch)
        excluded[len(batch.true_query) :] |= self._contains(synthetic_texts, batch)
        excluded |= self._same_query(texts, batch)
        first_hard = len(batch.item) - batch.num_hard_negatives
        excluded[:, first_hard:] |= self._same_text(batch, batch.item[first_hard:])
        return excluded

    def are_false(self, batch: Batch, candidate_BC: np.ndarray) -> np.ndarray:
        """Return [B, C] bool, True where a pair's candidate, a catalogue row, may not be its hard negative.

        Pairs are looked at in blocks, so that memory does not grow with the square of the batch.
        """
        is_false_BC = np.zeros(candidate_BC.shape, dtype=bool)
        for start in range(0, batch.num_pairs, _PAIRS_A_BLOCK):
            rows = slice(start, start + _PAIRS_A_BLOCK)
            item, place = np.unique(candidate_BC[rows], return_inverse=True)
            joined = replace(batch.pairs(rows), item=np.concatenate([batch.item, item]), num_hard_negatives=len(item))
            excluded = self.excluded(joined)[:, len(batch.item) :]
            is_false_BC[rows] = np.take_along_axis(excluded, place.reshape(candidate_BC[rows].shape), axis=1)
        return is_false_BC

    def _clicked_in_training(self, texts: list[str], batch: Batch) -> np.ndarray:
        """A synthetic query that happens to be a true one shares that one's clicks."""
        row = np.array([self._query_row.get(text, -1) for text in texts], dtype=np.int64)
        excluded = np.zeros((len(texts), len(batch.item)), dtype=bool)
        known = np.flatnonzero(row >= 0)
        if len(known):
            excluded[known] = self._clicked[row[known]][:, batch.item].toarray() > 0
        return excluded

    def _contains(self, texts: list[str], batch: Batch) -> np.ndarray:
        """Return [Bs, N]: does the item's text hold every word of the query?"""
        words = [sorted(set(text.split())) for text in texts]
        if not words:
            return np.zeros((0, len(batch.item)), dtype=bool)
        ids = [self._word_id.get(word, -1) for query in words for word in query]
        rows = np.repeat(np.arange(len(words)), [len(query) for query in words])
        known = np.array(ids) >= 0
        shape = (len(words), self._item_words.shape[1])
        query_words = sparse.csr_matrix((np.ones(int(known.sum()), np.float32), (rows[known], np.array(ids)[known])), shape=shape)
        num_found = (query_words @ self._item_words[batch.item].T).toarray()
        return np.asarray(num_found == np.array([len(query) for query in words])[:, None])

    @staticmethod
    def _same_query(texts: list[str], batch: Batch) -> np.ndarray:
        """Return [B, N]: is the item the positive of another pair with the same query?"""
        _, query = np.unique(np.array(texts, dtype=object).astype(str), return_inverse=True)
        positives = sparse.csr_matrix(
            (np.ones(len(texts), np.float32), (query, batch.positive)), shape=(query.max() + 1, len(batch.item))
        )
        return np.asarray(positives[query].toarray() > 0)

    def _same_text(self, batch: Batch, item: np.ndarray) -> np.ndarray:
        """Return [B, number of items]: does an item's text equal that of the pair's own?"""
        own = self._text_number[batch.item[batch.positive]]
        return np.asarray(own[:, None] == self._text_number[item])

    def _count_words(self, texts: list[str]) -> sparse.csr_matrix:
        """Return [N, V] with 1 where the item's text holds the word, numbering words as they come."""
        columns, starts = [], [0]
        for text in texts:
            columns += [self._word_id.setdefault(word, len(self._word_id)) for word in dict.fromkeys(text.split())]
            starts.append(len(columns))
        ones = np.ones(len(columns), dtype=np.float32)
        return sparse.csr_matrix((ones, columns, starts), shape=(len(texts), max(1, len(self._word_id))))
