import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smar_core.data.drift import compare_queries, jensen_shannon
from smar_core.data.tokenizer import train_tokenizer

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 100), min_size=1)


def test_divergence_by_hand() -> None:
    # P = (1/2, 1/2), Q = (1, 0), M = (3/4, 1/4).
    expected = (0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25) + math.log2(1 / 0.75)) / 2
    assert jensen_shannon({"a": 3, "b": 3}, {"a": 7}) == pytest.approx(expected, abs=1e-12)


@given(COUNTS, COUNTS)
def test_divergence_is_symmetric_and_bounded(left: dict[str, int], right: dict[str, int]) -> None:
    value = jensen_shannon(left, right)
    assert value is not None and -1e-12 <= value <= 1 + 1e-12
    assert jensen_shannon(right, left) == pytest.approx(value, abs=1e-12)
    assert jensen_shannon(left, {key: 3 * count for key, count in left.items()}) == pytest.approx(0, abs=1e-12)


def test_report_by_hand() -> None:
    tokenizer = train_tokenizer(["red", "shirt"] * 5, 100)
    report = compare_queries({"red shirt": 1, "red": 1}, {"red": 3, "shirt é red": 1}, tokenizer)
    assert report["length_words"] == {
        "true": {"mean": 1.5, "histogram": {"1": 0.5, "2": 0.5}},
        "synthetic": {"mean": 1.5, "histogram": {"1": 0.75, "3": 0.25}},
    }
    # Shares by length (1/2, 1/2, 0) against (3/4, 0, 1/4); their middle is (5/8, 1/4, 1/8).
    expected = (0.5 * math.log2(0.8) + 0.5 * math.log2(2) + 0.75 * math.log2(1.2) + 0.25 * math.log2(2)) / 2
    assert report["length_jensen_shannon"] == pytest.approx(expected)
    assert report["out_of_vocabulary_share"] == {"true": 0.0, "synthetic": pytest.approx(1 / 6)}


def test_of_no_query_nothing_is_said() -> None:
    report = compare_queries({"red": 1}, {}, train_tokenizer(["red"] * 5, 100))
    assert report["token_jensen_shannon"] is None
    assert report["length_words"]["synthetic"] == {"mean": None, "histogram": {}}
    assert report["out_of_vocabulary_share"] == {"true": 0.0, "synthetic": None}
