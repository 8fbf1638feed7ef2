"""The second stage: synthetic queries for every item by Random Substring Retrieval, and how far they are from true ones."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from smar_core.artifact import Artifact, create_artifact, table_files, write_json
from smar_core.config import BeamConfig, SyntheticConfig
from smar_core.data.beam_runner import COUNTS, pack, read_counts, run_pipeline, shard_of, unpack, watch_files, write_counts
from smar_core.data.drift import compare_queries
from smar_core.data.exchange import check_shared, open_exchange
from smar_core.data.filesystems import open_stored
from smar_core.data.matched import ELSEWHERE, FIELDS, QueryProfile
from smar_core.data.rounds import DrawQueries, SecondRound, plan_second_round
from smar_core.data.substrings import ITEM_WORDS, Allocation, ItemWords
from smar_core.data.tables import shard_name, write_parquet
from smar_core.schemas import SYNTHETIC
from smar_core.stage import StageContext


def generate_synthetic_queries(
    items: Artifact,
    clicks: Artifact,
    tokenizer: Artifact,
    output: Path,
    config: SyntheticConfig,
    runner: BeamConfig,
    context: StageContext,
) -> dict[str, float]:
    """Draw ``config.ratio`` queries for every distinct training query, spread over the items.

    Args:
        items: The catalogue.
        clicks: Says how many training queries there are, what they look like, and which queries of other days must not be drawn.
        tokenizer: For the drift report.
        output: Folder of the "synthetic" artifact.
        config: How many queries, and what a query may look like.
        runner: Where Beam runs.
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
    draw = DrawQueries(config, profile, first, items.counts["items"])
    scratch = context.work / "generate_synthetic_queries"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)

    with create_artifact(output, "synthetic", config_digest=context.config_digest, parents=context.parents):
        with open_exchange(runner, scratch) as exchange:
            # In files, since a pipeline holds no data itself: cluster runners take one of a few megabytes at most.
            held_out_file = scratch / "held_out_queries.arrow"
            held_out_file.write_bytes(pack(held_out))
            words = [exchange.lend(path) for path in table_files(items.path, "items")]
            places = _Places(words, exchange.lend(held_out_file), exchange.output(output), exchange.notes)
            with watch_files([places.output], config.num_shards, "queries", context.progress):
                run_pipeline(
                    lambda pipeline: _build(pipeline, places, draw, num_requested, config), runner, scratch / "workers.log"
                )
            exchange.fetch()
            counters = read_counts(exchange.notes)
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


class _Places(NamedTuple):
    """Where workers find and write what, as paths or URIs.

    Attributes:
        items: Files of the catalogue.
        held_out: File of the queries that must not be drawn.
        output: Folder of the synthetic queries.
        notes: Folder of the exchange's notes.
    """

    items: list[str]
    held_out: str
    output: str
    notes: str


def _build(pipeline: beam.Pipeline, places: _Places, draw: DrawQueries, num_requested: int, config: SyntheticConfig) -> None:
    """Add every transform to the pipeline."""
    shards = pipeline | "shards" >> beam.Create([(shard, b"") for shard in range(config.num_shards)])
    words = (
        pipeline
        | "files" >> beam.Create(places.items)
        | "spread files" >> beam.Reshuffle()
        | "split texts" >> beam.Map(_split_texts, places.notes)
    )
    catalogue = beam.pvalue.AsList(words)
    held_out = beam.pvalue.AsSingleton(
        pipeline | "file of held-out queries" >> beam.Create([places.held_out]) | "held-out queries" >> beam.Map(_read_bytes)
    )
    grouped = (
        (words | "by shard" >> beam.FlatMap(_partition_items, config.num_shards), shards)
        | "words and shards" >> beam.Flatten()
        | "group" >> beam.GroupByKey()
    )
    drawn = grouped | "draw" >> beam.ParDo(draw, catalogue, held_out).with_outputs("tally", COUNTS, main="queries")
    second = (
        drawn.tally
        | "all tallies" >> beam.combiners.ToList()
        | "plan second round" >> beam.Map(_plan_second_round, catalogue, num_requested, config.seed)
    )
    topped = grouped | "draw second round" >> beam.ParDo(draw, catalogue, held_out, beam.pvalue.AsSingleton(second)).with_outputs(
        "tally", COUNTS, main="queries"
    )
    _ = (
        (drawn.queries, topped.queries)
        | "both rounds" >> beam.Flatten()
        | "queries by shard" >> beam.GroupByKey()
        | "write" >> beam.Map(_write_shard, places.output, config.num_shards)
    )
    write_counts((drawn[COUNTS], topped[COUNTS]), places.notes)


def _profile(items: Artifact, clicks: Artifact, max_words: int) -> QueryProfile:
    """Describe the true training queries."""
    pairs = clicks.read_table("pairs", ["split", "query", "item_id"])
    pairs = pairs.filter(pc.equal(pairs["split"], "train"))
    table = items.read_table("items", ["item_id", "title", "brand", "category"])
    clicked = table.filter(pc.is_in(table["item_id"], value_set=pairs["item_id"].unique()))
    words_of = {row["item_id"]: ItemWords.of(**row) for row in clicked.to_pylist()}
    queries, ids = pairs["query"].to_pylist(), pairs["item_id"].to_pylist()
    return QueryProfile.of(((q, words_of[i]) for q, i in zip(queries, ids, strict=True)), max_words)


def _split_texts(path: str, notes: str) -> bytes:
    """Read a shard of the catalogue and return its words, packed."""
    check_shared(notes)
    with open_stored(path) as handle:
        rows = pq.read_table(handle, columns=["item_id", "title", "brand", "category"]).to_pylist()
    return pack(pa.Table.from_pylist([vars(ItemWords.of(**row)) for row in rows], ITEM_WORDS))


def _read_bytes(path: str) -> bytes:
    with open_stored(path) as handle:
        return handle.read()


def _plan_second_round(
    tallies: Sequence[tuple[int, list[str]]], catalogue: Sequence[bytes], num_requested: int, seed: int
) -> SecondRound:
    item_ids = [item_id for packed in catalogue for item_id in unpack(packed)["item_id"].to_pylist()]
    return plan_second_round(tallies, item_ids, num_requested, seed)


def _partition_items(packed: bytes, num_shards: int) -> Iterator[tuple[int, bytes]]:
    table = unpack(packed)
    shards = pa.array([shard_of(item_id, num_shards) for item_id in table["item_id"].to_pylist()], pa.int32())
    for shard in sorted(shards.unique().to_pylist()):
        yield shard, pack(table.filter(pc.equal(shards, shard)))


def _write_shard(element: tuple[int, Iterable[bytes]], place: str, num_shards: int) -> None:
    shard, packed = element
    table = pa.concat_tables([unpack(p) for p in packed]).sort_by([("item_id", "ascending"), ("draw", "ascending")])
    write_parquet(table, SYNTHETIC, f"{place}/{shard_name('synthetic', shard, num_shards)}")


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
