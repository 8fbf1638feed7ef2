from collections import Counter

import pyarrow as pa
import pytest

from smar_core.data.matched import QueryProfile, draw_matched
from smar_core.data.substrings import ITEM_WORDS, ItemWords, Substring, WordIndex

SHIRT = ItemWords.of("1", "Red Cotton Shirt", "Puma", "Apparel > Shirt")
TWIN = ItemWords.of("2", "Cotton Shirt", "Puma", "Apparel > Shirt")


def index_of(*items: ItemWords) -> WordIndex:
    return WordIndex([pa.Table.from_pylist([vars(item)], ITEM_WORDS) for item in items])


def draw(
    item: ItemWords, profile: QueryProfile, *others: ItemWords, draws: range = range(600), seed: int = 0
) -> list[Substring | None]:
    return list(draw_matched(item, draws, index_of(item, *others), profile, seed=seed, max_items=1))


def profile(lengths: dict[int, float], **fields: float) -> QueryProfile:
    return QueryProfile(lengths, {"title": 0.0, "brand": 0.0, "category": 0.0, "none": 0.0} | fields)


def test_a_profile_by_hand() -> None:
    """A query of two items counts once; a word in title and category counts as the title's; five words count as three."""
    mug = ItemWords.of("3", "Blue Mug", "Acme", "Home")
    pairs = [("shirt", SHIRT), ("shirt", mug), ("cheap puma", SHIRT), ("a mug for my home", mug)]
    found = QueryProfile.of(pairs, max_words=3)
    assert found.lengths == pytest.approx({1: 1 / 3, 2: 1 / 3, 3: 1 / 3})
    assert found.fields == pytest.approx({"title": 1.5 / 8, "brand": 1 / 8, "category": 1 / 8, "none": 4.5 / 8})


def test_of_no_query_nothing_is_drawn() -> None:
    nothing = QueryProfile.of([], max_words=3)
    assert nothing == QueryProfile({}, {"title": 0.0, "brand": 0.0, "category": 0.0, "none": 0.0})
    assert draw(SHIRT, nothing, draws=range(2)) == [None, None]


def test_lengths_are_those_of_the_profile() -> None:
    lengths = Counter(q.num_words for q in draw(SHIRT, profile({1: 0.2, 2: 0.7, 4: 0.1}, title=1.0)))
    assert {n: count / 600 for n, count in lengths.items()} == pytest.approx({1: 0.2, 2: 0.7, 4: 0.1}, abs=0.06)


@pytest.mark.parametrize(
    ("field", "queries"),
    [
        ("title", {"red cotton", "cotton shirt"}),
        ("brand", {"shirt puma", "puma apparel"}),
        ("category", {"puma apparel", "apparel shirt"}),
    ],
)
def test_runs_lie_in_the_field_as_far_as_they_can(field: str, queries: set[str]) -> None:
    """The category's "shirt" is the title's word, as it would be in a true query."""
    assert {q.query for q in draw(SHIRT, profile({2: 1.0}, **{field: 1.0}))} == queries


def test_what_fits_too_many_items_is_not_drawn() -> None:
    drawn = draw(SHIRT, profile({1: 0.5, 2: 0.5}, title=1.0), TWIN)
    assert {q.query for q in drawn if q} == {"red", "red cotton"} and None not in drawn
    assert draw(TWIN, profile({1: 0.5, 2: 0.5}, title=1.0), SHIRT, draws=range(3)) == [None, None, None]


def test_provenance_and_seed() -> None:
    by_title = profile({2: 1.0}, title=1.0)
    drawn = draw(SHIRT, by_title, draws=range(10, 40))
    assert [q.draw for q in drawn] == list(range(10, 40))
    assert all(q.query.split() == list(SHIRT.words[q.start_word : q.start_word + 2]) and q.fields == "title" for q in drawn)
    assert draw(SHIRT, by_title, draws=range(10, 40)) == drawn
    assert [q.query for q in draw(SHIRT, by_title, seed=1)] != [q.query for q in draw(SHIRT, by_title)]
    assert [q.query for q in draw(SHIRT, by_title, draws=range(30))] != [q.query for q in drawn]
