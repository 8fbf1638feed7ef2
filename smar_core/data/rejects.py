"""Rows that cannot be used: collected with their reasons, written, and the end of the stage when there are too many."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from smar_core.data.tables import shard_name, write_parquet
from smar_core.errors import UserError
from smar_core.schemas import REJECTS

MAX_VALUE_LENGTH = 200


@dataclass(frozen=True)
class Reason:
    """Why a row is rejected.

    Attributes:
        field: Field at fault.
        text: The reason.
        remedy: What to do when many rows have it.
    """

    field: str
    text: str
    remedy: str


NO_ITEM_ID = Reason("item_id", "no item_id", "fill the column or map another one with --map item_id=COLUMN")
NO_TITLE = Reason("title", "no title", "fill the column or map another one with --map title=COLUMN")
CONFLICT = Reason("item_id", "rows of one item_id that differ", "give every item one row")
BAD_TIME = Reason(
    "timestamp", "no readable timestamp", "write ISO 8601, or seconds or milliseconds since 1970, of 1970 to 2200 and not 0"
)
NO_QUERY = Reason("query", "blank query", "fill the column or map another one with --map query=COLUMN")
NO_CLICKED_ITEM = Reason("item_id", "no item_id", "fill the column or map another one with --map clicks.item_id=COLUMN")
BAD_FLAG = Reason("clicked", "neither true nor false", "write true or false, or 1 or 0")
UNKNOWN_ITEM = Reason("item_id", "unknown item", "give the catalogue that the log belongs to, with the same ids")
REASONS = (NO_ITEM_ID, NO_TITLE, CONFLICT, BAD_TIME, NO_QUERY, NO_CLICKED_ITEM, BAD_FLAG, UNKNOWN_ITEM)


def broken_picture(problem: str) -> Reason:
    """Return the reason for which one picture of an item is rejected; the item itself stays."""
    return Reason("image", problem, "mend the picture")


def reject_rows(source: str, file: str, rows: Sequence[int], reason: Reason, values: Iterable[object]) -> pa.Table:
    """Return a table of rejects.

    Args:
        source: "items", "clicks" or "images".
        file: Name of the file.
        rows: Rows within the file.
        reason: Why.
        values: The value at fault of each row.
    """
    size = len(rows)
    shown = [None if v is None else str(v)[:MAX_VALUE_LENGTH] for v in values]
    columns = [[source] * size, [file] * size, rows, [reason.field] * size, shown, [reason.text] * size]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, REJECTS, strict=True)], schema=REJECTS)


def write_rejects(tables: Sequence[pa.Table], path: str, shard: int, num_shards: int) -> None:
    """Write a shard of rejects in the order of source, file and row."""
    table = pa.concat_tables([REJECTS.empty_table(), *tables])
    table = table.sort_by([(name, "ascending") for name in ("source", "file", "row", "field", "reason", "value")])
    write_parquet(table, REJECTS, f"{path}/{shard_name('rejects', shard, num_shards)}")


def count_reasons(rejects: pa.Table) -> dict[str, dict[str, int]]:
    """Return the number of rejects by source and reason."""
    counts: dict[str, dict[str, int]] = {"items": {}, "clicks": {}, "images": {}}
    pairs = Counter(zip(rejects["source"].to_pylist(), rejects["reason"].to_pylist(), strict=True))
    for (source, reason), count in pairs.items():
        counts[source][reason] = count
    return counts


def check_reject_share(rejects: pa.Table, num_rows: Mapping[str, int], max_share: float) -> None:
    """Check that not too many rows of any source were rejected; rejects of a source without rows here are not looked at.

    Args:
        rejects: All of them, in the order of source, file and row.
        num_rows: Rows of each source.
        max_share: Largest share of rejects.

    Raises:
        UserError: There are more; it names the commonest reason with an example.
    """
    counts = count_reasons(rejects)
    for source, total in num_rows.items():
        reasons = counts[source]
        num_rejects = sum(reasons.values())
        if num_rejects <= max_share * total:
            continue
        text = min(reasons, key=lambda r: (-reasons[r], r))
        of_reason = [row for row in rejects.to_pylist() if row["source"] == source and row["reason"] == text]
        example = min(of_reason, key=lambda row: (row["file"], row["row"]))
        remedy = next(r.remedy for r in REASONS if (r.field, r.text) == (example["field"], text))
        raise UserError(
            f"{num_rejects} of {total} rows of {source} cannot be used, more than prepare.max_reject_share ({max_share:g}) "
            f"allows; the commonest reason is {text!r} ({reasons[text]} rows), for example {example['field']} = "
            f"{example['value']!r} in row {example['row']} of {example['file']}",
            f"{remedy}, or raise prepare.max_reject_share",
        )


def check_pictures(rejects: pa.Table, num_given: int, max_share: float) -> None:
    """Check that not too many of the pictures that were given are broken.

    Args:
        rejects: All of them.
        num_given: Pictures that were given.
        max_share: Largest share of broken ones.

    Raises:
        UserError: There are more; it names one.
    """
    broken = rejects.filter(pc.equal(rejects["source"], "images"))
    if broken.num_rows > max_share * num_given:
        example = broken.slice(0, 1).to_pylist()[0]
        raise UserError(
            f"{broken.num_rows} of {num_given} pictures of field 'image' cannot be used, more than prepare.max_reject_share "
            f"({max_share:g}) allows; for example {example['value']!r} in row {example['row']} of {example['file']}: "
            f"{example['reason']}",
            "mend the pictures or the --images folder, or raise prepare.max_reject_share",
        )
