"""The second stage: synthetic queries for every item by Random Substring Retrieval, and how far they are from true ones."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics
from tokenizers import Tokenizer

from smar_core.artifact import Artifact, create_artifact, table_files, write_json
from smar_core.config import RuntimeConfig, SyntheticConfig
from smar_core.data.beam_runner import pack, run_pipeline, shard_of, unpack, watch_files
from smar_core.data.drift import compare_queries
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

    Args:
        items: The catalogue.
        clicks: Says how many training queries there are, and which queries of other days must not be drawn.
        tokenizer: For the drift report.
        output: Folder of the "synthetic" artifact.
        config: How many queries, and what a query may look like.
        runtime: ``num_workers`` Beam processes.
        context: Digests for the manifest, scratch folder, progress.

    Returns:
        Numbers of queries asked for, dropped, given up and written, and the divergence from true queries where there is one.
    """
    queries = clicks.read_table("queries", ["split", "query"])
    is_train = pc.equal(queries["split"], "train")
    true = queries.filter(is_train)["query"].to_pylist()
    held_out = pa.table({"query": queries.filter(pc.invert(is_train))["query"].unique()})
    num_requested = round(config.ratio * len(true))
    allocation = Allocation.spread(num_requested, items.read_table("items", ["item_id"])["item_id"].to_pylist(), config.seed)
    draw = _DrawQueries(config, allocation, items.counts["items"])

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
            _ = (
                (words | "by shard" >> beam.FlatMap(_partition_items, config.num_shards), shards)
                | "words and shards" >> beam.Flatten()
                | "group" >> beam.GroupByKey()
                | "draw" >> beam.ParDo(draw, catalogue, excluded)
                | "write" >> beam.Map(_write_shard, str(output), config.num_shards)
            )

        with watch_files([output], config.num_shards, "queries", context.progress):
            counters = run_pipeline(build, runtime.num_workers, context.work / "generate_synthetic_queries" / "workers.log")
        context.progress.update("drift", 0, 1)
        counts = _count_queries(output)
        report = compare_queries(dict.fromkeys(true, 1), counts, Tokenizer.from_file(str(tokenizer.path / "tokenizer.json")))
        figures = {
            "num_requested": num_requested,
            "num_synthetic": sum(counts.values()),
            "num_dropped_held_out": counters["num_dropped_held_out"],
            "num_given_up": counters["num_given_up"],
        }
        write_json(output / "drift.json", figures | report)
        context.progress.update("drift", 1, 1)
    divergence = report["token_jensen_shannon"]
    return {name: float(value) for name, value in figures.items()} | (
        {} if divergence is None else {"token_jensen_shannon": divergence}
    )


class _DrawQueries(beam.DoFn):
    """(shard, packed item words) -> (shard, packed queries).

    Args:
        config: What a query may look like.
        allocation: Queries of each item.
        num_items: Size of the catalogue.
    """

    def __init__(self, config: SyntheticConfig, allocation: Allocation, num_items: int) -> None:
        self._config, self._allocation = config, allocation
        # At least the item itself has to be allowed, however small the catalogue.
        self._max_items = max(1, int(config.max_item_share * num_items))
        self._index: WordIndex | None = None

    def process(
        self, element: tuple[int, Iterable[bytes]], catalogue: Sequence[bytes], excluded: bytes
    ) -> Iterator[tuple[int, bytes]]:
        """Draw a shard's queries; ``catalogue`` holds the words of all items, ``excluded`` the held-out queries."""
        shard, packed = element
        if self._index is None:
            self._index = WordIndex([unpack(p) for p in catalogue])
        held_out = set(unpack(excluded)["query"].to_pylist())
        rows = pa.concat_tables([ITEM_WORDS.empty_table(), *(unpack(p) for p in packed if p)]).sort_by("item_id")
        found = []
        for row in rows.to_pylist():
            item = ItemWords(row["item_id"], tuple(row["words"]), row["num_title_words"], row["num_brand_words"])
            for query in self._draw(item, self._index):
                if query is None:
                    Metrics.counter("synthetic", "num_given_up").inc()
                elif query.query in held_out:
                    Metrics.counter("synthetic", "num_dropped_held_out").inc()
                else:
                    found.append(vars(query) | {"item_id": item.item_id})
        yield shard, pack(pa.Table.from_pylist(found, SYNTHETIC))

    def _draw(self, item: ItemWords, index: WordIndex) -> Iterator[Substring | None]:
        return draw_substrings(
            item,
            self._allocation.queries_of(item.item_id),
            index,
            seed=self._config.seed,
            max_words=self._config.max_words,
            max_items=self._max_items,
            max_redraws=self._config.max_redraws,
        )


def _split_texts(path: str) -> bytes:
    """Read a shard of the catalogue and return its words, packed."""
    rows = pq.read_table(path, columns=["item_id", "title", "brand", "category"]).to_pylist()
    return pack(pa.Table.from_pylist([vars(ItemWords.of(**row)) for row in rows], ITEM_WORDS))


def _partition_items(packed: bytes, num_shards: int) -> Iterator[tuple[int, bytes]]:
    table = unpack(packed)
    shards = pa.array([shard_of(item_id, num_shards) for item_id in table["item_id"].to_pylist()], pa.int32())
    for shard in sorted(shards.unique().to_pylist()):
        yield shard, pack(table.filter(pc.equal(shards, shard)))


def _write_shard(element: tuple[int, bytes], path: str, num_shards: int) -> None:
    shard, packed = element
    write_parquet(unpack(packed), SYNTHETIC, Path(path) / shard_name("synthetic", shard, num_shards))


def _count_queries(output: Path) -> dict[str, int]:
    queries = pa.concat_tables([pq.read_table(f, columns=["query"]) for f in table_files(output, "synthetic")])
    counts = queries.group_by("query").aggregate([([], "count_all")])
    return dict(zip(counts["query"].to_pylist(), counts["count_all"].to_pylist(), strict=True))
