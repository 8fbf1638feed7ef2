"""Reference queries: a click log by which two catalogues are compared.

Cleaned by the rules of training's log (duplicates, crawlers, blank queries), but not split by time, since nothing is trained on
it, and clicks on items that have left the catalogue stay: they say what was lost. Read in this process, not on Beam: some
hundred bytes an event, so weeks of a log of which training may read years. Left out: weights by age.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from smar_core.config import PrepareConfig
from smar_core.data.click_log import EVENTS, clean_sessions, parse_events
from smar_core.data.fields import find_columns, map_distinct
from smar_core.data.files import find_data_files, read_columns, read_file
from smar_core.data.sources import Sources
from smar_core.errors import UserError
from smar_core.schemas import REFERENCE
from smar_core.text import query_id


@dataclass(frozen=True, eq=False)
class ReferenceClicks:
    """A click log, cleaned and counted.

    Attributes:
        clicks: Schema ``REFERENCE``, sorted by query and item.
        rejects: Rows that could not be used.
        num_rows: Rows of the log.
        statistics: How many rows each rule took out.
    """

    clicks: pa.Table
    rejects: list[pa.Table]
    num_rows: int
    statistics: dict[str, Any]


def read_reference(sources: Sources, item_ids: Iterable[str], config: PrepareConfig) -> ReferenceClicks:
    """Read a click log.

    Args:
        sources: Where it is.
        item_ids: Ids of both catalogues; a click on any other item is a reject.
        config: What makes a crawler.

    Raises:
        UserError: A file cannot be read, or no click is left.
    """
    known = pa.array(sorted(set(item_ids)), pa.string())
    parsed, rejects, num_rows = [EVENTS.empty_table()], [], 0
    for file in find_data_files(sources.clicks):
        columns = find_columns("clicks", file.name, read_columns(file), sources.column_map)
        for first_row, batch in read_file(file, columns):
            events, refused, _ = parse_events(batch, file.name, first_row, known)
            parsed.append(events)
            rejects += refused
            num_rows += batch.num_rows
    clicks, counts = clean_sessions(pa.concat_tables(parsed), config)
    if not clicks.num_rows:
        raise UserError(
            f"click log {sources.clicks} has no usable click on an item of either catalogue",
            "give a log of the shop that the model was trained for",
        )
    table = count_reference(clicks)
    statistics = {
        "num_rows": num_rows,
        "num_rejects": sum(refused.num_rows for refused in rejects),
        **vars(counts),
        "num_clicks": clicks.num_rows,
        "num_queries": len(table["query"].unique()),
        "num_pairs": table.num_rows,
    }
    return ReferenceClicks(table, rejects, num_rows, statistics)


def count_reference(clicks: pa.Table) -> pa.Table:
    """Aggregate clicks (query, item_id) to a row a (query, item), schema ``REFERENCE``, sorted by both."""
    counts = clicks.group_by(["query", "item_id"], use_threads=False).aggregate([([], "count_all")])
    counts = counts.rename_columns({"count_all": "num_clicks"}).sort_by([("query", "ascending"), ("item_id", "ascending")])
    ids = map_distinct(counts["query"].combine_chunks(), lambda query: query_id(query or ""), pa.string())
    return counts.append_column("query_id", ids).select(REFERENCE.names).cast(REFERENCE)
