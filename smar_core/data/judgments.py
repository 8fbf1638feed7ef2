"""Graded judgments: how well an item answers a query, for evaluation alone."""

from collections.abc import Mapping

import pyarrow as pa

from smar_core.data.fields import find_columns, grade_values, text_values
from smar_core.data.files import find_data_files, read_columns, read_file
from smar_core.errors import UserError
from smar_core.text import normalise_query

JUDGMENTS = pa.schema([("query", pa.string()), ("item_id", pa.string()), ("grade", pa.int32())])


def read_judgments(path: str, column_map: Mapping[str, str] | None = None) -> pa.Table:
    """Read judgments.

    Args:
        path: File or folder, as for the click log.
        column_map: Column by ``field`` or ``judgments.field``.

    Returns:
        query (normalised), item_id, grade (int32, 0 or more), each pair once, sorted by query and item.

    Raises:
        UserError: A row lacks a query, an item or a whole grade of 0 or more, a pair has two grades, or there is no row.
    """
    grades: dict[tuple[str, str], int] = {}
    normal: dict[str | None, str] = {}
    for file in find_data_files(path):
        columns = find_columns("judgments", file.name, read_columns(file), column_map or {})
        for first_row, batch in read_file(file, columns):
            values = [text_values(batch.column(name)).to_pylist() for name in ("query", "item_id")]
            for place, (text, item, grade) in enumerate(
                zip(*values, grade_values(batch.column("grade")).to_pylist(), strict=True)
            ):
                if text not in normal:
                    normal[text] = normalise_query(text)
                query, item_id = normal[text], (item or "").strip()
                where = f"row {first_row + place} of {file.name}"
                if not query or not item_id or grade is None or grade < 0:
                    fault = "query" if not query else "item_id" if not item_id else "grade"
                    raise UserError(
                        f"{where} has no usable {fault}", "give it a query, an item_id and a whole grade of 0 or more"
                    )
                if grades.setdefault((query, item_id), grade) != grade:
                    earlier = grades[query, item_id]
                    raise UserError(
                        f"{where} gives item {item_id!r} for query {query!r} the grade {grade}, an earlier row {earlier}",
                        "keep one of them",
                    )
    if not grades:
        raise UserError(f"{path} holds no judgment", "give a file with judgments or leave --judgments out")
    ordered = sorted(grades)
    rows = [[q for q, _ in ordered], [i for _, i in ordered], [grades[key] for key in ordered]]
    return pa.table([pa.array(c, f.type) for c, f in zip(rows, JUDGMENTS, strict=True)], schema=JUDGMENTS)
