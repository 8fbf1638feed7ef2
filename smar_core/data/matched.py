"""Synthetic queries that drift less: runs of words whose lengths and fields are those of true queries.

A true query gives two things: its number of words, and, for each word, the field of the clicked item that has it. A draw takes
a number of words by the first, a field by the second, and then one of the allowed runs of that many words which lie in that
field most. Runs that fit too many items are known beforehand here, not found out by drawing: a refused length is not traded
for an easier one of the same draw, so the lengths stay those of the true queries except where an item has no run that short.

What a substring cannot match is left: words that no item text has, other word orders, and pairs of words that stand apart.
Only training queries are read, each counted once, however often it was searched for.
"""

import random
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from smar_core.data.substrings import ItemWords, Substring, WordIndex, item_hash

FIELDS = ("title", "brand", "category")
ELSEWHERE = "none"
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class QueryProfile:
    """What true queries look like.

    Attributes:
        lengths: Share of the queries by number of words; those that are too long count as the longest.
        fields: Share of the words by the field of the clicked item that has them, or ``ELSEWHERE``.
    """

    lengths: Mapping[int, float]
    fields: Mapping[str, float]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, ItemWords]], max_words: int) -> "QueryProfile":
        """Describe distinct clicked pairs; every query counts once, spread over its items.

        >>> shirt = ItemWords.of("1", "Red Shirt", "Puma", "Apparel")
        >>> QueryProfile.of([("red puma", shirt), ("cheap shirt", shirt)], 3)
        QueryProfile(lengths={2: 1.0}, fields={'title': 0.5, 'brand': 0.25, 'category': 0.0, 'none': 0.25})
        """
        items_of: dict[str, list[ItemWords]] = {}
        for query, item in pairs:
            items_of.setdefault(query, []).append(item)
        lengths = Counter(min(len(query.split()), max_words) for query in items_of)
        fields = dict.fromkeys((*FIELDS, ELSEWHERE), 0.0)
        for query, items in items_of.items():
            for item in items:
                for field, count in count_fields(query.split(), field_of_words(item)).items():
                    fields[field] += count / len(items)
        num_words = sum(fields.values())
        return cls(
            {n: lengths[n] / len(items_of) for n in sorted(lengths)},
            {field: count / num_words if num_words else 0.0 for field, count in fields.items()},
        )


def field_of_words(item: ItemWords) -> dict[str, str]:
    """Return the field of each word of an item: the first that has it, since a title tends to repeat brand and category.

    >>> field_of_words(ItemWords.of("1", "Puma Shirt", "Puma", "Apparel"))
    {'puma': 'title', 'shirt': 'title', 'apparel': 'category'}
    """
    fields: dict[str, str] = {}
    for place, word in enumerate(item.words):
        fields.setdefault(word, item.fields_of(place, 1))
    return fields


def count_fields(words: Iterable[str], field_of_word: Mapping[str, str]) -> Counter[str]:
    """Count words by the field that has them, or ``ELSEWHERE``."""
    return Counter(field_of_word.get(word, ELSEWHERE) for word in words)


def draw_matched(
    item: ItemWords, draws: range, index: WordIndex, profile: QueryProfile, *, seed: int, max_items: int
) -> Iterator[Substring | None]:
    """Draw queries from an item as true queries are.

    Args:
        item: Its words.
        draws: Numbers of the queries to draw.
        index: Of the whole catalogue.
        profile: Of the true queries.
        seed: With the item's id and the first number, decides everything that is drawn.
        max_items: A query that fits more items than this is not drawn.

    Yields:
        A query a draw, or None: the item has no run of words that may be drawn.
    """
    # As for the uniform draws, only random() is used, whose numbers are the same in every version of Python.
    generator = random.Random(item_hash(item.item_id, seed) + draws.start)
    starts = {n: found for n in profile.lengths if (found := _allowed_starts(item, n, index, max_items))}
    field_of_word = field_of_words(item)
    place_fields = [field_of_word[word] for word in item.words]
    best = {(n, field): _most_inside(place_fields, found, n, field) for n, found in starts.items() for field in FIELDS}
    for draw in draws:
        if not starts:
            yield None
            continue
        num_words = _choose(list(starts), [profile.lengths[n] for n in starts], generator)
        field = _choose(FIELDS, [profile.fields[name] for name in FIELDS], generator)
        places = best[num_words, field]
        start = places[int(generator.random() * len(places))]
        words = item.words[start : start + num_words]
        yield Substring(" ".join(words), item.fields_of(start, num_words), start, num_words, draw, num_redraws=0)


def _allowed_starts(item: ItemWords, num_words: int, index: WordIndex, max_items: int) -> list[int]:
    return [
        start
        for start in range(item.num_places(num_words))
        if not index.fits_more_than(frozenset(item.words[start : start + num_words]), max_items)
    ]


def _most_inside(place_fields: Sequence[str], starts: Sequence[int], num_words: int, field: str) -> list[int]:
    """Return those runs of which most words lie in a field; all of them where none has any there."""
    inside = [place_fields[start : start + num_words].count(field) for start in starts]
    return [start for start, count in zip(starts, inside, strict=True) if count == max(inside)]


def _choose(values: Sequence[_Value], weights: Sequence[float], generator: random.Random) -> _Value:
    """Draw a value by its weight; the first one where all weights are 0."""
    sums = list(accumulate(weights))
    return values[min(bisect(sums, generator.random() * sums[-1]), len(values) - 1)] if sums[-1] else values[0]
