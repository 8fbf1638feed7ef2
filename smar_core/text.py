"""The one normalisation of text: what a query and an item's text look like everywhere.

``normalise_query`` serves the click log, the judgments, synthetic queries and search alike, so that the same words never
miss each other. It keeps punctuation (the tokenizer splits it) and accents (they carry meaning in many languages).
"""

import hashlib
import unicodedata


def clean_text(text: str | None) -> str:
    """Return text as NFKC without control or format characters and with single spaces.

    >>> clean_text("  Blue\\u00a0shirt\\x07\\n ")
    'Blue shirt'
    """
    if not text:
        return ""
    normal = unicodedata.normalize("NFKC", text)
    kept = "".join(" " if c.isspace() else c for c in normal if c.isspace() or unicodedata.category(c) not in _DROPPED)
    return " ".join(kept.split())


_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def normalise_query(query: str | None) -> str:
    """Return a query as NFKC, lower case, with single spaces; blank becomes the empty string.

    >>> normalise_query("  Women  WHITE\\tKurta ")
    'women white kurta'
    """
    return clean_text(clean_text(query).lower())


def query_id(query: str) -> str:
    """Return the id of a normalised query: 'q' and 16 hex digits of its SHA-256, free of spaces for TREC files.

    >>> query_id("black tie")
    'q2d57633d63b4df20'
    """
    return "q" + hashlib.sha256(query.encode()).hexdigest()[:16]


def item_text(title: str, brand: str, category: str) -> str:
    """Return the text that the item towers and the tokenizer read: title, brand, category path, normalised.

    >>> item_text("Cat T-shirt", "Puma", "Apparel > Topwear")
    'cat t-shirt puma apparel topwear'
    """
    return normalise_query(" ".join((title, brand, category.replace(">", " "))))
