"""Random Substring Retrieval: a run of words of an item's text is a query, the item its positive.

What the paper leaves open is chosen here. Words, not characters, are drawn; the number of words is uniform from 1 to
``max_words``, so that the queries need no click log and depend on item and seed alone; the place is uniform. A query that fits
too many items says little about its own and is drawn again, with another length. An item may give the same query twice.
``smar_core.data.matched`` draws by the lengths and fields of true queries instead.

Source: PAPER.md 10 (pre-training on synthetic queries, Random Substring Retrieval of arXiv 2208.06150).
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smar_core.text import item_text, normalise_query

ITEM_WORDS = pa.schema(
    [("item_id", pa.string()), ("words", pa.list_(pa.string())), ("num_title_words", pa.int32()), ("num_brand_words", pa.int32())]
)


@dataclass(frozen=True)
class ItemWords:
    """The words of an item's text: title, then brand, then category path."""

    item_id: str
    words: tuple[str, ...]
    num_title_words: int
    num_brand_words: int

    @classmethod
    def of(cls, item_id: str, title: str, brand: str, category: str) -> "ItemWords":
        """Split an item's text.

        >>> ItemWords.of("1", "Cat T-shirt", "Puma", "Apparel > Topwear")
        ItemWords(item_id='1', words=('cat', 't-shirt', 'puma', 'apparel', 'topwear'), num_title_words=2, num_brand_words=1)
        """
        counts = [len(normalise_query(text).split()) for text in (title, brand)]
        return cls(item_id, tuple(item_text(title, brand, category).split()), *counts)

    def fields_of(self, start: int, num_words: int) -> str:
        """Return the names of the fields that a run of words touches, joined by "+"."""
        title_end, brand_end = self.num_title_words, self.num_title_words + self.num_brand_words
        spans = (("title", 0, title_end), ("brand", title_end, brand_end), ("category", brand_end, len(self.words)))
        return "+".join(name for name, first, end in spans if max(start, first) < min(start + num_words, end))

    def num_places(self, num_words: int) -> int:
        """Return at how many places, from the first word on, a query of so many words may begin.

        A word alone has to come from the title: a brand or a category alone is no query for one item.
        """
        return self.num_title_words if num_words == 1 else max(0, len(self.words) - num_words + 1)


@dataclass(frozen=True)
class Substring:
    """A query drawn from an item; see ``smar_core.schemas.SYNTHETIC``."""

    query: str
    fields: str
    start_word: int
    num_words: int
    draw: int
    num_redraws: int


MAX_ANSWERS = 200_000
"""Answers that a ``WordIndex`` remembers before it forgets all: some 100 MB."""


class WordIndex:
    """Inverted index of the catalogue: which items hold a word.

    Args:
        tables: Tables of ``ITEM_WORDS`` that hold every item once, in any order.
    """

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        lists = pa.concat_tables([ITEM_WORDS.empty_table(), *tables])["words"].combine_chunks()
        encoded = pc.list_flatten(lists).dictionary_encode()
        codes, items = encoded.indices.to_numpy().astype(np.int64), pc.list_parent_indices(lists).to_numpy().astype(np.int64)
        self.num_items = len(lists)
        pairs = np.unique(codes * max(self.num_items, 1) + items)
        self._items = (pairs % max(self.num_items, 1)).astype(np.int32)
        words = encoded.dictionary.to_pylist()
        self._bounds = np.searchsorted(pairs, np.arange(len(words) + 1) * max(self.num_items, 1))
        self._codes = {word: code for code, word in enumerate(words)}
        self._answers: dict[tuple[frozenset[str], int], bool] = {}

    def items_with(self, word: str) -> np.ndarray:
        """Return the numbers of the items that hold a word, ascending."""
        code = self._codes.get(word)
        return self._items[:0] if code is None else self._items[self._bounds[code] : self._bounds[code + 1]]

    def fits_more_than(self, words: frozenset[str], limit: int) -> bool:
        """Tell whether more than ``limit`` items hold all the words; stops as soon as it is known."""
        answer = self._answers.get((words, limit))
        if answer is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            answer = self._answers[words, limit] = self._count_beyond(words, limit)
        return answer

    def _count_beyond(self, words: frozenset[str], limit: int) -> bool:
        rarest, *others = sorted((self.items_with(word) for word in words), key=len)
        found = rarest
        for postings in others:
            if len(found) <= limit:
                return False
            places = np.searchsorted(postings, found)
            places[places == len(postings)] = 0
            found = found[postings[places] == found]
        return len(found) > limit


@dataclass(frozen=True)
class Allocation:
    """How many queries an item is asked for: as even a spread as there can be, the remainder by rank of a hash.

    Attributes:
        base: Queries of every item.
        extra_below: Items whose hash is below this get one more.
        seed: Of the hash.
    """

    base: int
    extra_below: int
    seed: int

    @classmethod
    def spread(cls, total: int, item_ids: Sequence[str], seed: int) -> "Allocation":
        """Spread a total over items; exact but for equal hashes of 128 bits."""
        if not item_ids:
            return cls(0, 0, seed)
        base, remainder = divmod(total, len(item_ids))
        return cls(base, sorted(item_hash(item_id, seed) for item_id in item_ids)[remainder] if remainder else 0, seed)

    def queries_of(self, item_id: str) -> int:
        """Return how many queries an item is asked for."""
        return self.base + (item_hash(item_id, self.seed) < self.extra_below)


def draw_substrings(
    item: ItemWords, draws: range, index: WordIndex, *, seed: int, max_words: int, max_items: int, max_redraws: int
) -> Iterator[Substring | None]:
    """Draw queries from an item.

    Args:
        item: Its words.
        draws: Numbers of the queries to draw.
        index: Of the whole catalogue.
        seed: With the item's id and the first number, decides everything that is drawn.
        max_words: Longest query.
        max_items: A query that fits more items than this is drawn again.
        max_redraws: How often, before the query is given up.

    Yields:
        A query a draw, or None where it was given up.
    """
    # Only random() is used: its numbers for a seed are the same in every version of Python.
    generator = random.Random(item_hash(item.item_id, seed) + draws.start)
    longest = min(max_words, len(item.words))
    for draw in draws:
        for num_redraws in range(max_redraws + 1):
            num_words = 1 + int(generator.random() * longest)
            num_places = item.num_places(num_words)
            start = int(generator.random() * num_places)
            words = item.words[start : start + num_words]
            if num_places and not index.fits_more_than(frozenset(words), max_items):
                yield Substring(" ".join(words), item.fields_of(start, num_words), start, num_words, draw, num_redraws)
                break
        else:
            yield None


def item_hash(item_id: str, seed: int) -> int:
    """Return 128 bits that an item and a seed decide, the same in every process."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{item_id}".encode(), digest_size=16).digest(), "big")
