import os
import subprocess
import sys

from smar_core.data.tokenizer import SPECIAL_TOKENS, train_tokenizer

TEXTS = [f"{colour} {kind}" for colour in ("red", "blue", "dark-blue") for kind in ("shirt", "shirts", "shoe", "shoes")] * 3


def test_special_tokens_come_first() -> None:
    tokenizer = train_tokenizer(TEXTS, 100)
    assert [tokenizer.id_to_token(number) for number in range(4)] == list(SPECIAL_TOKENS)
    assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))


def test_common_words_are_tokens_and_nothing_is_added() -> None:
    tokenizer = train_tokenizer(TEXTS, 100)
    assert tokenizer.encode("red shirt").tokens == ["red", "shirt"]
    assert tokenizer.encode("dark-blue shoes").tokens == ["dark", "-", "blue", "shoes"]
    assert tokenizer.encode("").tokens == []


def test_unseen_words_are_pieces_and_unseen_characters_unknown() -> None:
    tokenizer = train_tokenizer(TEXTS, 100)
    assert "".join(t.removeprefix("##") for t in tokenizer.encode("redshoe").tokens) == "redshoe"
    assert tokenizer.encode("xyz").tokens == ["[UNK]"]


def test_case_and_accents_are_left_alone() -> None:
    tokenizer = train_tokenizer(["café", "cafe", "Cafe"] * 5, 100)
    assert [tokenizer.encode(word).tokens for word in ("café", "cafe", "Cafe")] == [["café"], ["cafe"], ["Cafe"]]


def test_every_han_character_is_a_word() -> None:
    tokenizer = train_tokenizer(["红色连衣裙", "红色 nike 鞋", "シャツ 白"] * 5, 100)
    assert tokenizer.encode("红裙nike鞋").tokens == ["红", "裙", "nike", "鞋"]
    assert tokenizer.encode("白シャツ").tokens == ["白", "シャツ"]


def test_the_vocabulary_is_never_larger_than_asked_for() -> None:
    han = ["".join(chr(0x4E00 + number * 7 % 900) for number in range(start, start + 5)) for start in range(800)]
    tokenizer = train_tokenizer(han + ["红色"] * 50, 64)
    assert tokenizer.get_vocab_size() <= 64
    assert tokenizer.encode("红色").tokens == ["红", "色"]


def test_the_order_of_texts_does_not_matter() -> None:
    assert train_tokenizer(reversed(TEXTS), 80).to_str() == train_tokenizer(TEXTS, 80).to_str()


def test_every_process_learns_the_same() -> None:
    """HF's trainer alone gives another vocabulary in every process, because it numbers symbols by a hash map's order."""
    program = (
        "import hashlib, random; from smar_core.data.tokenizer import train_tokenizer\n"
        "r = random.Random(0)\n"
        "texts = [' '.join(''.join(r.choices('abcdefgh红', k=r.randint(1, 6))) for _ in range(4)) for _ in range(300)]\n"
        "print(hashlib.sha256(train_tokenizer(texts, 200).to_str().encode()).hexdigest())"
    )
    digests = set()
    for seed in ("0", "1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        digests.add(result.stdout)
    assert len(digests) == 1
