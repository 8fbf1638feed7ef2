"""A WordPiece tokenizer, learned from item texts and training queries.

The trainer of HF ``tokenizers`` numbers symbols in the order of a hash map, which is another one in every process, and
breaks ties by number; given the whole alphabet in a fixed order beforehand, it has nothing left to number by chance. What it
learned is then put into a fresh tokenizer, because the alphabet went in as special tokens. Text is expected as
``normalise_query`` leaves it: the tokenizer itself neither lower-cases nor strips accents, and adds no special token. Chinese
characters (Han, also in Japanese) are words of their own; kana and Hangul are left to the pieces.
"""

from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from tokenizers import decoders as token_decoders

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
MIN_FREQUENCY = 2
_CONTINUED = "##"
_LARGEST_ALPHABET_SHARE = 0.5


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a tokenizer.

    Args:
        texts: Normalised texts; their order does not matter.
        vocab_size: Largest vocabulary, special tokens counted.

    Returns:
        A tokenizer with "[PAD]" as token 0; the same for the same texts, in every process.
    """
    words = _count_words(texts)
    alphabet = _choose_alphabet(words, int(vocab_size * _LARGEST_ALPHABET_SHARE))
    known = [word for word in sorted(words) if alphabet.issuperset(_symbols(word))]
    learner = _assemble({token: number for number, token in enumerate(SPECIAL_TOKENS)})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=[*SPECIAL_TOKENS, *sorted(alphabet)],
        continuing_subword_prefix=_CONTINUED,
        show_progress=False,
    )
    learner.train_from_iterator((" ".join([word] * words[word]) for word in known), trainer)
    tokenizer = _assemble(learner.get_vocab(with_added_tokens=True))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _assemble(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix=_CONTINUED))
    tokenizer.pre_tokenizer = _split_words()
    tokenizer.decoder = token_decoders.WordPiece(prefix=_CONTINUED)
    return tokenizer


def _split_words() -> pre_tokenizers.PreTokenizer:
    """At blanks and punctuation, and around every Han character."""
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"), pre_tokenizers.BertPreTokenizer()])


def _count_words(texts: Iterable[str]) -> Counter[str]:
    splitter, words = _split_words(), Counter[str]()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    return words


def _symbols(word: str) -> list[str]:
    return [word[0], *(_CONTINUED + c for c in word[1:])]


def _choose_alphabet(words: Counter[str], max_size: int) -> set[str]:
    """Return the commonest symbols, of which a catalogue in Chinese has more than a small vocabulary can hold."""
    counts = Counter[str]()
    for word, count in words.items():
        for symbol in _symbols(word):
            counts[symbol] += count
    return set(sorted(counts, key=lambda symbol: (-counts[symbol], symbol))[:max_size])
