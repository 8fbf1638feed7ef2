"""The first stage of a refresh: a new catalogue prepared for a model that exists, and the queries to compare it by.

The model says how large pictures are and how many an item may have; its vocabulary stays as it is and nothing is learned here, so
a word that came into the catalogue since the training is read in pieces, as any rare word is. Items are cleaned as for training,
on Beam.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from smar_core.artifact import Artifact, create_artifact, write_json
from smar_core.config import BeamConfig, PrepareConfig
from smar_core.data.beam_runner import read_counts, run_pipeline, watch_files, write_counts
from smar_core.data.catalogue import summarise_items
from smar_core.data.exchange import open_exchange
from smar_core.data.reference import read_reference
from smar_core.data.rejects import UNKNOWN_ITEM, check_pictures, check_reject_share, count_reasons, write_rejects
from smar_core.data.sources import Sources
from smar_core.data.tables import read_shards, shard_name, write_parquet
from smar_core.data.transforms import every_shard, raise_failure, write_catalogue, write_reject_tables
from smar_core.errors import UserError
from smar_core.model.configuration import SmarConfig
from smar_core.schemas import REFERENCE
from smar_core.stage import StageContext

MAX_GONE_SHARE = 0.5
"""Largest share of clicks on items of neither catalogue: with more, log and catalogue are hardly of one shop."""


@dataclass(frozen=True)
class RefreshOutputs:
    """Folders of the artifacts that ``prepare_refresh`` writes, by kind."""

    items: Path
    reference: Path
    rejects: Path


def prepare_refresh(
    sources: Sources,
    model: Artifact,
    champion: Artifact,
    outputs: RefreshOutputs,
    config: PrepareConfig,
    runner: BeamConfig,
    context: StageContext,
) -> dict[str, float]:
    """Clean the new catalogue for a model, and the click log of reference queries.

    Args:
        sources: The new catalogue, its pictures, and the click log.
        model: Artifact of kind ``model``, whose size of pictures is taken, not the config's.
        champion: Artifact of kind ``bundle``: clicks on its items are known, whether or not they are still in the catalogue.
        outputs: Folders of the artifacts.
        config: Crawlers, rejects, shards.
        runner: Where Beam runs.
        context: Digests for the manifests, scratch folder, progress.

    Returns:
        Numbers of items, reference queries and clicks, and the shares of rejects.

    Raises:
        UserError: The input cannot be read, has too many unusable rows or pictures, or no usable click.
    """
    scratch = context.work / "prepare_refresh"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "rejects").mkdir(parents=True)
    config = _fit_pictures(config, model)
    with ExitStack() as stack:
        for kind, path in vars(outputs).items():
            stack.enter_context(create_artifact(path, kind, config_digest=context.config_digest, parents=context.parents))
        with open_exchange(runner, scratch) as exchange:
            items_place, rejects_place = exchange.output(outputs.items), exchange.output(scratch / "rejects")

            def build(pipeline: beam.Pipeline) -> None:
                shards = every_shard(pipeline, config.num_shards)
                written = write_catalogue(pipeline, sources, items_place, config, shards, exchange.notes)
                write_reject_tables(written.rejects, rejects_place, config.num_shards, shards)
                write_counts(written.counts, exchange.notes)

            with watch_files([items_place], 2 * config.num_shards, "tables", context.progress):
                run_pipeline(build, runner, scratch / "workers.log")
            raise_failure(exchange.notes)
            exchange.fetch()
            counters = read_counts(exchange.notes)
        if not counters["num_item_rows"]:
            raise UserError(f"catalogue {sources.items} holds no row", "give a catalogue with items")
        items = read_shards(outputs.items, "items")
        known = [*items["item_id"].to_pylist(), *champion.read_table("embeddings", ["item_id"])["item_id"].to_pylist()]
        reference = read_reference(sources, known, config)
        write_parquet(reference.clicks, REFERENCE, str(outputs.reference / shard_name("reference", 0, 1)))
        write_json(outputs.reference / "statistics.json", reference.statistics)

        write_rejects([read_shards(scratch / "rejects", "rejects"), *reference.rejects], str(outputs.rejects), 0, 1)
        rejects = read_shards(outputs.rejects, "rejects")
        num_rows = {"items": counters["num_item_rows"], "clicks": reference.num_rows}
        _check_rejects(rejects, num_rows, sources, config.max_reject_share)
        check_pictures(rejects, counters["num_images_given"], config.max_reject_share)
        reasons = count_reasons(rejects)
        write_json(outputs.rejects / "reasons.json", reasons)
        statistics = summarise_items(items, config, reasons, counters)
        write_json(outputs.items / "statistics.json", statistics)
    return {
        "num_items": items.num_rows,
        "num_with_image": statistics["num_with_image"],
        "item_reject_share": statistics["num_rejects"] / counters["num_item_rows"],
        "num_reference_queries": reference.statistics["num_queries"],
        "num_reference_clicks": reference.statistics["num_clicks"],
        "click_reject_share": reference.statistics["num_rejects"] / reference.num_rows,
    }


def _check_rejects(rejects: pa.Table, num_rows: Mapping[str, int], sources: Sources, max_share: float) -> None:
    """Check the shares of rejects; clicks on items of neither catalogue have a limit of their own.

    A log that serves for many refreshes names more and more items that left before the champion came, through no fault of its
    rows.
    """
    is_gone = pc.and_(pc.equal(rejects["source"], "clicks"), pc.equal(rejects["reason"], UNKNOWN_ITEM.text))
    check_reject_share(rejects.filter(pc.invert(is_gone)), num_rows, max_share)
    num_gone = pc.sum(is_gone).as_py() or 0
    if num_gone > MAX_GONE_SHARE * num_rows["clicks"]:
        raise UserError(
            f"{num_gone} of {num_rows['clicks']} clicks in {sources.clicks} are on items that neither {sources.items} nor the "
            f"champion's catalogue has, more than {MAX_GONE_SHARE:.0%}",
            "give the catalogue that the log belongs to, with the same ids, or a younger log",
        )


def _fit_pictures(config: PrepareConfig, model: Artifact) -> PrepareConfig:
    """Return the config with the size of the pictures that a model was trained with, and no more of them an item."""
    known = SmarConfig.from_pretrained(model.path)
    fitting = {
        "image_width_px": known.image_width_px,
        "image_height_px": known.image_height_px,
        "max_views": min(config.max_views, known.num_views),
    }
    return config.model_copy(update=fitting)
