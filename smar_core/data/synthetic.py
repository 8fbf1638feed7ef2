"""The second stage: synthetic queries for every item by Random Substring Retrieval, and how far they are from true ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared
from tokenizers import Tokenizer

from smar_core.artifact import Artifact, create_artifact, table_files, write_json
from smar_core.config import RuntimeConfig, SyntheticConfig
from smar_core.data.beam_runner import pack, run_pipeline, shard_of, unpack, watch_files
from smar_core.data.drift import compare_queries
from smar_core.data.matched import ELSEWHERE, FIELDS, QueryProfile, count_fields, draw_matched, field_of_words
from smar_core.data.substrings import ITEM_WORDS, Allocation, ItemWords, Substring, WordIndex, draw_substrings
from smar_core.data.tables import shard_name, write_parquet
from smar_core.schemas import SYNTHETIC
from smar_core.stage import StageContext


def generate_synthetic_queries(
    items: Artifact,
    clicks: Artifact,
    tokenizer: Artifact,
    output: Path,
    config: SyntheticConfig,
    runtime: RuntimeConfig,
    context: StageContext,
) -> dict[str, float]:
    """Draw ``config.ratio`` queries for every distinct training query, spread over the items.

    Queries are drawn in two rounds: what items lose in the first (they have no run of words that is rare enough, or it is a
    held-out query) is drawn from the others in the second, whose own losses are all that is missing in the end.

    Args:
        items: The catalogue.
        clicks: Says how many training queries there are, what they look like, and which queries of other days must not be drawn.
        tokenizer: For the drift report.
        output: Folder of the "synthetic" artifact.
        config: How many queries, and what a query may look like.
        runtime: ``num_workers`` Beam processes.
        context: Digests for the manifest, scratch folder, progress.

    Returns:
        Numbers and shares of ``drift.json``, and the divergence from true queries where there is one.
    """
    queries = clicks.read_table("queries", ["split", "query"])
    is_train = pc.equal(queries["split"], "train")
    true = queries.filter(is_train)["query"].to_pylist()
    held_out = pa.table({"query": queries.filter(pc.invert(is_train))["query"].unique()})
    num_requested = round(config.ratio * len(true))
    item_ids = items.read_table("items", ["item_id"])["item_id"].to_pylist()
    first = Allocation.spread(num_requested, item_ids, config.seed)
    profile = _profile(items, clicks, config.max_words)
    draw = _DrawQueries(config, profile, first, items.counts["items"])

    with create_artifact(output, "synthetic", config_digest=context.config_digest, parents=context.parents):

        def build(pipeline: beam.Pipeline) -> None:
            shards = pipeline | "shards" >> beam.Create([(shard, b"") for shard in range(config.num_shards)])
            files = [str(path) for path in table_files(items.path, "items")]
            words = (
                pipeline
                | "files" >> beam.Create(files)
                | "spread files" >> beam.Reshuffle()
                | "split texts" >> beam.Map(_split_texts)
            )
            catalogue = beam.pvalue.AsList(words)
            excluded = beam.pvalue.AsSingleton(pipeline | "held-out queries" >> beam.Create([pack(held_out)]))
            grouped = (
                (words | "by shard" >> beam.FlatMap(_partition_items, config.num_shards), shards)
                | "words and shards" >> beam.Flatten()
                | "group" >> beam.GroupByKey()
            )
            drawn = grouped | "draw" >> beam.ParDo(draw, catalogue, excluded).with_outputs("tally", main="queries")
            second = (
                drawn.tally
                | "all tallies" >> beam.combiners.ToList()
                | "plan second round" >> beam.Map(_plan_second_round, item_ids, num_requested, config.seed)
            )
            topped = grouped | "draw second round" >> beam.ParDo(
                draw, catalogue, excluded, beam.pvalue.AsSingleton(second)
            ).with_outputs("tally", main="queries")
            _ = (
                (drawn.queries, topped.queries)
                | "both rounds" >> beam.Flatten()
                | "queries by shard" >> beam.GroupByKey()
                | "write" >> beam.Map(_write_shard, str(output), config.num_shards)
            )

        with watch_files([output], config.num_shards, "queries", context.progress):
            counters = run_pipeline(build, runtime.num_workers, context.work / "generate_synthetic_queries" / "workers.log")
        context.progress.update("drift", 0, 1)
        figures = _summarise(output, num_requested, counters)
        report = compare_queries(
            dict.fromkeys(true, 1), _count_queries(output), Tokenizer.from_file(str(tokenizer.path / "tokenizer.json"))
        )
        num_words = {field: counters[f"num_words_{field}"] for field in (*FIELDS, ELSEWHERE)}
        total = max(1, sum(num_words.values()))
        field_share = {"true": profile.fields, "synthetic": {field: count / total for field, count in num_words.items()}}
        write_json(output / "drift.json", figures | report | {"sampling": config.sampling, "field_share": field_share})
        context.progress.update("drift", 1, 1)
    divergence = report["token_jensen_shannon"]
    return {name: float(value) for name, value in figures.items()} | (
        {} if divergence is None else {"token_jensen_shannon": divergence}
    )


@dataclass(frozen=True)
class _SecondRound:
    """What is drawn to make up for the losses of the first round.

    Attributes:
        total: Queries of each item in both rounds together.
        barren: Items that gave nothing in the first round, and are not asked again.
    """

    total: Allocation
    barren: frozenset[str]


class _DrawQueries(beam.DoFn):
    """(shard, packed item words) -> (shard, packed queries); tag "tally": (draws lost by items that gave some, barren items).

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
        second: _SecondRound | None = None,
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
        for row in rows.to_pylist():
            item = ItemWords(row["item_id"], tuple(row["words"]), row["num_title_words"], row["num_brand_words"])
            draws = self._draws_of(item.item_id, second)
            queries = [query for query in self._draw(item, draws, index) if query is not None]
            kept = [vars(query) | {"item_id": item.item_id} for query in queries if query.query not in held_out]
            Metrics.counter("synthetic", "num_given_up").inc(len(draws) - len(queries))
            Metrics.counter("synthetic", "num_dropped_held_out").inc(len(queries) - len(kept))
            _count_words(kept, item)
            found += kept
            if kept or not draws:
                num_lost += len(draws) - len(kept)
            else:
                barren.append(item.item_id)
        yield TaggedOutput("tally", (num_lost, barren))
        yield shard, pack(pa.Table.from_pylist(found, SYNTHETIC))

    def _draws_of(self, item_id: str, second: _SecondRound | None) -> range:
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


def _plan_second_round(
    tallies: Sequence[tuple[int, list[str]]], item_ids: Sequence[str], num_requested: int, seed: int
) -> _SecondRound:
    """Spread all queries, and those that were lost by items that may lose some again, over the items that are not barren.

    An item's share can only grow by that: there are fewer items for more queries, in the same order of hashes.
    """
    barren = frozenset(item_id for _, of_shard in tallies for item_id in of_shard)
    num_queries = num_requested + sum(num_lost for num_lost, _ in tallies)
    return _SecondRound(Allocation.spread(num_queries, [i for i in item_ids if i not in barren], seed), barren)


def _profile(items: Artifact, clicks: Artifact, max_words: int) -> QueryProfile:
    """Describe the true training queries."""
    pairs = clicks.read_table("pairs", ["split", "query", "item_id"])
    pairs = pairs.filter(pc.equal(pairs["split"], "train"))
    table = items.read_table("items", ["item_id", "title", "brand", "category"])
    clicked = table.filter(pc.is_in(table["item_id"], value_set=pairs["item_id"].unique()))
    words_of = {row["item_id"]: ItemWords.of(**row) for row in clicked.to_pylist()}
    queries, ids = pairs["query"].to_pylist(), pairs["item_id"].to_pylist()
    return QueryProfile.of(((q, words_of[i]) for q, i in zip(queries, ids, strict=True)), max_words)


def _split_texts(path: str) -> bytes:
    """Read a shard of the catalogue and return its words, packed."""
    rows = pq.read_table(path, columns=["item_id", "title", "brand", "category"]).to_pylist()
    return pack(pa.Table.from_pylist([vars(ItemWords.of(**row)) for row in rows], ITEM_WORDS))


def _partition_items(packed: bytes, num_shards: int) -> Iterator[tuple[int, bytes]]:
    table = unpack(packed)
    shards = pa.array([shard_of(item_id, num_shards) for item_id in table["item_id"].to_pylist()], pa.int32())
    for shard in sorted(shards.unique().to_pylist()):
        yield shard, pack(table.filter(pc.equal(shards, shard)))


def _write_shard(element: tuple[int, Iterable[bytes]], path: str, num_shards: int) -> None:
    shard, packed = element
    table = pa.concat_tables([unpack(p) for p in packed]).sort_by([("item_id", "ascending"), ("draw", "ascending")])
    write_parquet(table, SYNTHETIC, Path(path) / shard_name("synthetic", shard, num_shards))


def _count_words(queries: Sequence[Mapping[str, Any]], item: ItemWords) -> None:
    """Count the words of an item's queries by the field that has them, for the drift report."""
    field_of_word = field_of_words(item)
    words = (word for query in queries for word in query["query"].split())
    for field, count in count_fields(words, field_of_word).items():
        Metrics.counter("synthetic", f"num_words_{field}").inc(count)


def _summarise(output: Path, num_requested: int, counters: Mapping[str, int]) -> dict[str, float]:
    """Return how many queries there are, how many were lost and repeat, as numbers and as shares."""
    rows = pa.concat_tables([pq.read_table(f, columns=["query", "item_id"]) for f in table_files(output, "synthetic")])
    num_distinct = rows.group_by(["query", "item_id"]).aggregate([]).num_rows
    return {
        "num_requested": num_requested,
        "num_synthetic": rows.num_rows,
        "missing_share": 1 - rows.num_rows / num_requested if num_requested else 0.0,
        "num_distinct_pairs": num_distinct,
        "repeated_share": 1 - num_distinct / rows.num_rows if rows.num_rows else 0.0,
        "num_dropped_held_out": counters["num_dropped_held_out"],
        "num_given_up": counters["num_given_up"],
    }


def _count_queries(output: Path) -> dict[str, int]:
    queries = pa.concat_tables([pq.read_table(f, columns=["query"]) for f in table_files(output, "synthetic")])
    counts = queries.group_by("query").aggregate([([], "count_all")])
    return dict(zip(counts["query"].to_pylist(), counts["count_all"].to_pylist(), strict=True))
