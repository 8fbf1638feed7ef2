import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smar_core.data.substrings import ITEM_WORDS, Allocation, ItemWords, Substring, WordIndex, draw_substrings

SHIRT = ItemWords.of("1", "Red Shirt", "Puma", "Apparel > Shirts")
WORD = st.sampled_from("abcde")


def index_of(*items: ItemWords) -> WordIndex:
    return WordIndex([pa.Table.from_pylist([vars(item)], ITEM_WORDS) for item in items])


def draw(item: ItemWords, index: WordIndex, num_draws: int = 200, **options: int) -> list[Substring | None]:
    return list(
        draw_substrings(
            item, range(num_draws), index, **({"seed": 0, "max_words": 3, "max_items": 1, "max_redraws": 8} | options)
        )
    )


def test_queries_are_runs_of_words_with_their_place() -> None:
    drawn = draw(SHIRT, index_of(SHIRT))
    assert {q.num_words for q in drawn} == {1, 2, 3}
    for number, query in enumerate(drawn):
        words = SHIRT.words[query.start_word : query.start_word + query.num_words]
        assert (query.query, query.draw, query.num_redraws) == (" ".join(words), number, 0)
    assert {q.query for q in drawn if q.num_words == 1} == {"red", "shirt"}
    assert {q.query: q.fields for q in drawn if q.num_words == 2} == {
        "red shirt": "title",
        "shirt puma": "title+brand",
        "puma apparel": "brand+category",
        "apparel shirts": "category",
    }


def test_lengths_are_even() -> None:
    lengths = [q.num_words for q in draw(SHIRT, index_of(SHIRT), 3000)]
    assert all(abs(lengths.count(n) - 1000) < 120 for n in (1, 2, 3))


def test_an_item_and_a_seed_decide_alone() -> None:
    other = ItemWords.of("2", "Blue Mug", "Acme", "Home")
    assert draw(SHIRT, index_of(SHIRT)) == draw(SHIRT, index_of(other, SHIRT))
    assert draw(SHIRT, index_of(SHIRT), 5) == draw(SHIRT, index_of(SHIRT), 50)[:5]
    assert draw(SHIRT, index_of(SHIRT)) != draw(SHIRT, index_of(SHIRT), seed=1)


def test_what_fits_too_many_items_is_redrawn_or_given_up() -> None:
    twin = ItemWords.of("2", "Shirt", "Puma", "Apparel > Shirts")
    drawn = draw(SHIRT, index_of(SHIRT, twin))
    assert {q.query for q in drawn if q} <= {"red", "red shirt", "red shirt puma"}
    assert any(q.num_redraws > 0 for q in drawn if q)
    hopeless = draw(twin, index_of(SHIRT, twin), max_redraws=2)
    assert hopeless == [None] * 200
    assert None not in draw(twin, index_of(SHIRT, twin), max_items=2)


def test_an_item_without_a_title_gives_no_single_word() -> None:
    bare = ItemWords("1", ("puma", "shirts"), 0, 1)
    assert {q.query for q in draw(bare, index_of(bare), max_redraws=20)} == {"puma shirts"}


@given(
    st.lists(st.lists(WORD, min_size=1, max_size=6), min_size=1, max_size=12),
    st.sets(WORD | st.just("z"), min_size=1),
    st.integers(0, 4),
)
def test_index_against_counting(texts: list[list[str]], words: set[str], limit: int) -> None:
    index = index_of(*(ItemWords(str(n), tuple(text), len(text), 0) for n, text in enumerate(texts)))
    count = sum(words <= set(text) for text in texts)
    assert index.fits_more_than(frozenset(words), limit) == (count > limit)
    assert index.num_items == len(texts)


def test_no_more_answers_than_fit_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smar_core.data.substrings.MAX_ANSWERS", 3)
    index = index_of(ItemWords("1", ("a", "b"), 2, 0), ItemWords("2", ("a",), 1, 0))
    for _ in range(2):
        answers = {limit: index.fits_more_than(frozenset("a"), limit) for limit in range(8)}
        assert answers == {limit: limit < 2 for limit in range(8)}
        assert len(index._answers) <= 3


@given(st.integers(0, 500), st.sets(st.text(min_size=1), max_size=40), st.integers(0, 3))
def test_a_total_is_spread_evenly(total: int, item_ids: set[str], seed: int) -> None:
    allocation = Allocation.spread(total, sorted(item_ids), seed)
    counts = [allocation.queries_of(item_id) for item_id in item_ids]
    assert sum(counts) == (total if item_ids else 0)
    assert not counts or max(counts) - min(counts) <= 1


def test_the_remainder_depends_on_the_seed() -> None:
    ids = [str(n) for n in range(50)]
    chosen = [tuple(Allocation.spread(10, ids, seed).queries_of(i) for i in ids) for seed in range(5)]
    assert all(a != b for a, b in itertools.combinations(chosen, 2))


@pytest.mark.parametrize("category", ["", "Apparel", "A > B > C"])
def test_fields_cover_the_text(category: str) -> None:
    item = ItemWords.of("1", "Red Shirt", "", category)
    assert item.fields_of(0, len(item.words)) == ("title+category" if category else "title")
