import pyarrow as pa
import pytest

from smar_core.data.rejects import (
    MAX_VALUE_LENGTH,
    NO_QUERY,
    NO_TITLE,
    UNKNOWN_ITEM,
    check_reject_share,
    count_reasons,
    reject_rows,
)
from smar_core.errors import UserError
from smar_core.schemas import REJECTS

ROWS = {"items": 10, "clicks": 100}


def rejects(num_blank: int, num_unknown: int) -> pa.Table:
    return pa.concat_tables(
        [
            reject_rows("items", "items.csv", [4], NO_TITLE, [None]),
            reject_rows("clicks", "log.csv", list(range(50, 50 + num_blank)), NO_QUERY, [""] * num_blank),
            reject_rows(
                "clicks", "log.csv", list(range(70, 70 + num_unknown)), UNKNOWN_ITEM, [f"x{n}" for n in range(num_unknown)]
            ),
        ]
    )


def test_reasons_are_counted_by_source() -> None:
    assert count_reasons(rejects(1, 2)) == {
        "items": {"no title": 1},
        "clicks": {"blank query": 1, "unknown item": 2},
        "images": {},
    }
    assert count_reasons(REJECTS.empty_table()) == {"items": {}, "clicks": {}, "images": {}}


def test_the_share_is_of_each_source_and_the_limit_itself_passes() -> None:
    check_reject_share(rejects(4, 6), ROWS, 0.1)
    with pytest.raises(UserError, match="11 of 100 rows of clicks"):
        check_reject_share(rejects(4, 7), ROWS, 0.1)
    with pytest.raises(UserError, match="1 of 10 rows of items"):
        check_reject_share(rejects(0, 0), ROWS, 0.05)


def test_the_commonest_reason_is_named_with_its_first_row_and_remedy() -> None:
    with pytest.raises(UserError) as caught:
        check_reject_share(rejects(2, 9), ROWS, 0.1)
    message = str(caught.value)
    assert "'unknown item' (9 rows), for example item_id = 'x0' in row 70 of log.csv" in message
    assert "same ids, or raise prepare.max_reject_share" in message


def test_long_values_are_cut() -> None:
    table = reject_rows("clicks", "log", [0], NO_QUERY, ["x" * 1000])
    assert len(table["value"][0].as_py()) == MAX_VALUE_LENGTH
