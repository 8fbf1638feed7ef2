import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from smar_core.digest import digest_file, digest_files, digest_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_order_of_keys_does_not_matter(value: dict) -> None:
    assert digest_json(dict(reversed(value.items()))) == digest_json(value)


def test_different_values_have_different_digests() -> None:
    values = [1, "1", 1.5, None, True, [], {}, [1], [[1]], {"1": 1}, "é", "e\u0301"]
    assert len({digest_json(value) for value in values}) == len(values)


def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc" * 100_000)
    assert digest_file(tmp_path / "f") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_names_count_and_their_order_does_not() -> None:
    assert digest_files({"a": "1", "b": "2"}) == digest_files({"b": "2", "a": "1"})
    assert digest_files({"a": "1", "b": "2"}) != digest_files({"a": "2", "b": "1"})
