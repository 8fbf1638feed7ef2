"""The first stage: items and clicks as the shop has them, to cleaned tables that every later stage reads.

One Beam pipeline reads both sources. Rows are shuffled by a hash of their item, session or query, and a table's shard is
sorted and written by one worker, so the output is the same to the byte for any number of workers. The tokenizer is learned
afterwards, in this process, from the tables that were written.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from smar_core.artifact import create_artifact, write_json
from smar_core.config import BeamConfig, PrepareConfig
from smar_core.data.beam_runner import COUNTS, read_counts, run_pipeline, watch_files, write_counts
from smar_core.data.catalogue import summarise_items
from smar_core.data.click_log import (
    CleanSessions,
    CountClicks,
    ParseClicks,
    TimeSplit,
    WriteClicks,
    summarise_clicks,
    widest_span,
)
from smar_core.data.exchange import open_exchange, read_note, write_note
from smar_core.data.rejects import check_pictures, check_reject_share, count_reasons
from smar_core.data.sources import PrepareOutputs, Sources
from smar_core.data.tables import read_shards
from smar_core.data.tokenizer import train_tokenizer
from smar_core.data.transforms import every_shard, raise_failure, read_source, write_catalogue, write_reject_tables
from smar_core.errors import UserError
from smar_core.schemas import SPLITS
from smar_core.stage import StageContext
from smar_core.text import item_text

_CLICK_BATCH_ROWS = 65_536
_SPAN = "span.json"


def prepare_data(
    sources: Sources, outputs: PrepareOutputs, config: PrepareConfig, runner: BeamConfig, context: StageContext
) -> dict[str, float]:
    """Clean, split and write the catalogue and the click log, and learn the tokenizer.

    Args:
        sources: Where the input is.
        outputs: Folders of the artifacts "items", "clicks", "tokenizer" and "rejects".
        config: Image size, split, crawlers, vocabulary, shards.
        runner: Where Beam runs.
        context: Digests for the manifests, scratch folder, progress.

    Returns:
        Numbers of items, clicks and queries, and the shares of rejects.

    Raises:
        UserError: The input cannot be read, has too many unusable rows or pictures, or no click in some split.
    """
    scratch = context.work / "prepare_data"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with ExitStack() as stack:
        for kind, path in vars(outputs).items():
            stack.enter_context(create_artifact(path, kind, config_digest=context.config_digest, parents=context.parents))
        with open_exchange(runner, scratch) as exchange:
            places = _Places(*(exchange.output(path) for path in (outputs.items, outputs.clicks, outputs.rejects)))
            with watch_files([places.items, places.clicks], 5 * config.num_shards, "tables", context.progress):
                run_pipeline(
                    lambda pipeline: _build(pipeline, sources, places, config, exchange.notes), runner, scratch / "workers.log"
                )
            raise_failure(exchange.notes)
            exchange.fetch()
            counters, span = read_counts(exchange.notes), read_note(f"{exchange.notes}/{_SPAN}")
        rejects, items = read_shards(outputs.rejects, "rejects"), read_shards(outputs.items, "items")
        num_rows = {"items": counters["num_item_rows"], "clicks": counters["num_click_rows"]}
        _check_rows(num_rows, sources)
        check_reject_share(rejects, num_rows, config.max_reject_share)
        check_pictures(rejects, counters["num_images_given"], config.max_reject_share)
        pairs, queries = read_shards(outputs.clicks, "pairs"), read_shards(outputs.clicks, "queries")
        _check_usable(queries, sources)
        split = TimeSplit.of(span[0], span[1], config)
        _check_splits(queries, sources, split)

        reasons = count_reasons(rejects)
        write_json(outputs.rejects / "reasons.json", reasons)
        item_statistics = summarise_items(items, config, reasons, counters)
        write_json(outputs.items / "statistics.json", item_statistics)
        click_statistics = summarise_clicks(pairs, queries, counters, sum(reasons["clicks"].values()), split)
        write_json(outputs.clicks / "statistics.json", click_statistics)

        context.progress.update("tokenizer", 0, 1)
        train_tokenizer(_tokenizer_texts(items, queries), config.vocab_size).save(str(outputs.tokenizer / "tokenizer.json"))
        context.progress.update("tokenizer", 1, 1)
    return {
        "num_items": items.num_rows,
        "num_with_image": item_statistics["num_with_image"],
        "item_reject_share": item_statistics["num_rejects"] / num_rows["items"],
        "num_clicks": click_statistics["num_clicks"],
        "click_reject_share": click_statistics["num_rejects"] / num_rows["clicks"],
        "num_train_queries": click_statistics["splits"]["train"]["num_queries"],
        "num_test_queries": click_statistics["splits"]["test"]["num_queries"],
    }


class _Places(NamedTuple):
    """Where workers write the tables of three artifacts."""

    items: str
    clicks: str
    rejects: str


def _build(pipeline: beam.Pipeline, sources: Sources, places: _Places, config: PrepareConfig, notes: str) -> None:
    """Add every transform to the pipeline."""
    shards = every_shard(pipeline, config.num_shards)
    written = write_catalogue(pipeline, sources, places.items, config, shards, notes)
    log = read_source(pipeline, "clicks", sources.clicks, sources, _CLICK_BATCH_ROWS, notes)
    events = log | "parse clicks" >> beam.ParDo(ParseClicks(config.num_shards), beam.pvalue.AsList(written.ids)).with_outputs(
        "rejects", "span", COUNTS, main="events"
    )
    span = events.span | "widest span" >> beam.CombineGlobally(widest_span)
    span | "write span" >> beam.Map(_write_span, f"{notes}/{_SPAN}")
    clicks = (
        events.events
        | "events by session" >> beam.GroupByKey()
        | "clean sessions" >> beam.ParDo(CleanSessions(config)).with_outputs(COUNTS, main="clicks")
    )
    counts = (
        (clicks.clicks, shards)
        | "clicks and shards" >> beam.Flatten()
        | "clicks by query" >> beam.GroupByKey()
        | "count clicks"
        >> beam.ParDo(CountClicks(config), beam.pvalue.AsSingleton(span)).with_outputs("train_items", main="counts")
    )
    _ = counts.counts | "write clicks" >> beam.ParDo(
        WriteClicks(places.clicks, config.num_shards), beam.pvalue.AsList(counts.train_items)
    )
    write_reject_tables((*written.rejects, events.rejects), places.rejects, config.num_shards, shards)
    write_counts((*written.counts, events[COUNTS], clicks[COUNTS]), notes)


def _write_span(span: tuple[int, int] | None, place: str) -> None:
    write_note(place, span)


def _check_rows(num_rows: Mapping[str, int], sources: Sources) -> None:
    if not num_rows["items"]:
        raise UserError(f"catalogue {sources.items} holds no row", "give a catalogue with items")
    if not num_rows["clicks"]:
        raise UserError(f"click log {sources.clicks} holds no row", "give a log with clicks")


def _check_usable(queries: pa.Table, sources: Sources) -> None:
    if not queries.num_rows:
        raise UserError(
            f"click log {sources.clicks} has no usable click: every row is a reject, a crawler's, or not clicked",
            "give a log with clicks, or raise prepare.crawler_max_events",
        )


def _check_splits(queries: pa.Table, sources: Sources, split: TimeSplit) -> None:
    """Check that there are clicks to train on, to choose by and to test with."""
    present = set(queries["split"].to_pylist())
    for name in SPLITS:
        if name not in present:
            share = "prepare.test_share" if name == "test" else "prepare.validation_share"
            raise UserError(
                f"click log {sources.clicks} has no usable click in the {name} days: {split.describe()}",
                f"correct times that are far from the others, give a log that covers more time, or change {share}",
            )


def _tokenizer_texts(items: pa.Table, queries: pa.Table) -> Iterator[str]:
    """Yield the item texts and the training queries, of which alone the tokenizer may learn."""
    for title, brand, category in zip(*(items[name].to_pylist() for name in ("title", "brand", "category")), strict=True):
        yield item_text(title, brand, category)
    yield from queries.filter(pc.equal(queries["split"], "train"))["query"].to_pylist()
