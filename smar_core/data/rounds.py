"""Drawing synthetic queries under Beam, in two rounds, so that nearly as many are written as were asked for.

Some items lose draws: those without a run of words that is rare enough (4% of the fashion catalogue), and those that give a
held-out query. What the first round lost is spread over the items that gave something, as evenly as the whole is; losses of
that second round stay missing, a few in ten thousand. Queries of the first round are the same with and without a second.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from smar_core.config import SyntheticConfig
from smar_core.data.beam_runner import COUNTS, pack, unpack
from smar_core.data.matched import QueryProfile, count_fields, draw_matched, field_of_words
from smar_core.data.substrings import ITEM_WORDS, Allocation, ItemWords, Substring, WordIndex, draw_substrings
from smar_core.schemas import SYNTHETIC


@dataclass(frozen=True)
class SecondRound:
    """What is drawn to make up for the losses of the first round.

    Attributes:
        total: Queries of each item in both rounds together.
        barren: Items that gave nothing in the first round, and are not asked again.
    """

    total: Allocation
    barren: frozenset[str]


class DrawQueries(beam.DoFn):
    """(shard, packed item words) -> (shard, packed queries); tags: "tally" (draws lost by items that
    gave some, barren items) and ``COUNTS``.

    Args:
        config: What a query may look like.
        profile: Of the true queries.
        first: Queries of each item in the first round.
        num_items: Size of the catalogue.
    """

    def __init__(self, config: SyntheticConfig, profile: QueryProfile, first: Allocation, num_items: int) -> None:
        self._config, self._profile, self._first = config, profile, first
        # At least the item itself has to be allowed, however small the catalogue.
        self._max_items = max(1, int(config.max_item_share * num_items))
        self._shared_index = Shared()  # one index a process, for both rounds

    def process(
        self,
        element: tuple[int, Iterable[bytes]],
        catalogue: Sequence[bytes],
        excluded: bytes,
        second: SecondRound | None = None,
    ) -> Iterator[Any]:
        """Draw a shard's queries.

        Args:
            element: The shard's number and items.
            catalogue: The words of all items.
            excluded: The held-out queries.
            second: None in the first round.
        """
        shard, packed = element
        index = self._shared_index.acquire(lambda: WordIndex([unpack(p) for p in catalogue]))
        held_out = set(unpack(excluded)["query"].to_pylist())
        rows = pa.concat_tables([ITEM_WORDS.empty_table(), *(unpack(p) for p in packed if p)]).sort_by("item_id")
        found: list[dict[str, Any]] = []
        num_lost, barren = 0, []
        counts: Counter[str] = Counter()
        for row in rows.to_pylist():
            item = ItemWords(row["item_id"], tuple(row["words"]), row["num_title_words"], row["num_brand_words"])
            draws = self._draws_of(item.item_id, second)
            queries = [query for query in self._draw(item, draws, index) if query is not None]
            kept = [vars(query) | {"item_id": item.item_id} for query in queries if query.query not in held_out]
            counts.update(num_given_up=len(draws) - len(queries), num_dropped_held_out=len(queries) - len(kept))
            counts.update(_count_words(kept, item))
            found += kept
            if kept or not draws:
                num_lost += len(draws) - len(kept)
            else:
                barren.append(item.item_id)
        yield TaggedOutput("tally", (num_lost, barren))
        yield from (TaggedOutput(COUNTS, count) for count in counts.items())
        yield shard, pack(pa.Table.from_pylist(found, SYNTHETIC))

    def _draws_of(self, item_id: str, second: SecondRound | None) -> range:
        """Return the numbers of an item's draws in this round."""
        num_first = self._first.queries_of(item_id)
        if second is None:
            return range(num_first)
        return range(num_first, num_first if item_id in second.barren else second.total.queries_of(item_id))

    def _draw(self, item: ItemWords, draws: range, index: WordIndex) -> Iterator[Substring | None]:
        config = self._config
        if config.sampling == "matched":
            return draw_matched(item, draws, index, self._profile, seed=config.seed, max_items=self._max_items)
        return draw_substrings(
            item,
            draws,
            index,
            seed=config.seed,
            max_words=config.max_words,
            max_items=self._max_items,
            max_redraws=config.max_redraws,
        )


def plan_second_round(
    tallies: Sequence[tuple[int, list[str]]], item_ids: Sequence[str], num_requested: int, seed: int
) -> SecondRound:
    """Spread all queries, and those that were lost by items that may lose some again, over the items that are not barren.

    An item's share can only grow by that: there are fewer items for more queries, in the same order of hashes.
    """
    barren = frozenset(item_id for _, of_shard in tallies for item_id in of_shard)
    num_queries = num_requested + sum(num_lost for num_lost, _ in tallies)
    return SecondRound(Allocation.spread(num_queries, [i for i in item_ids if i not in barren], seed), barren)


def _count_words(queries: Sequence[Mapping[str, Any]], item: ItemWords) -> dict[str, int]:
    """Return the number of words of an item's queries by the field that has them, for the drift report."""
    field_of_word = field_of_words(item)
    words = (word for query in queries for word in query["query"].split())
    return {f"num_words_{field}": count for field, count in count_fields(words, field_of_word).items()}
