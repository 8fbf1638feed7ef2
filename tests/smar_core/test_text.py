import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smar_core.text import clean_text, item_text, normalise_query, query_id


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise_query(text)
    assert normalise_query(once) == once


@given(st.text())
def test_cleaned_text_has_no_control_character_and_single_spaces(text: str) -> None:
    cleaned = clean_text(text)
    assert all(unicodedata.category(c) not in {"Cc", "Cf"} for c in cleaned)
    assert cleaned == " ".join(cleaned.split())


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("\uff32\uff25\uff24\u3000\uff33hirt", "red shirt"),  # full width
        ("red\u200bshirt", "redshirt"),
        ("red\tshirt\r\n", "red shirt"),
        ("Cafe\u0301", "café"),
        ("ﬁne", "fine"),
        ("紅い シャツ", "紅い シャツ"),
        ("\x00\x1f \u200b", ""),
        ("T-Shirt, 50%", "t-shirt, 50%"),
        (None, ""),
    ],
)
def test_examples(text: str | None, normal: str) -> None:
    assert normalise_query(text) == normal


def test_item_text_is_what_a_query_can_match() -> None:
    assert item_text("Blue  Shirt", "", "Apparel > Topwear>Shirts") == "blue shirt apparel topwear shirts"


@given(st.text())
def test_query_ids_hold_no_blank(text: str) -> None:
    assert re.fullmatch(r"q[0-9a-f]{16}", query_id(normalise_query(text)))
