"""Which items are visual: prefixes of the category path."""

from collections.abc import Sequence


def category_parts(category: str) -> tuple[str, ...]:
    """Split a path "A > B > C" into its names.

    >>> category_parts("Apparel > Topwear >  Tshirts ")
    ('Apparel', 'Topwear', 'Tshirts')
    """
    return tuple(part.strip() for part in category.split(">") if part.strip())


def is_under(category: str, prefixes: Sequence[str]) -> bool:
    """Return whether a category path starts with one of the prefixes, compared name by name, ignoring case.

    >>> is_under("Apparel > Topwear", ["apparel"]), is_under("Apparel Care > Brushes", ["Apparel"])
    (True, False)
    """
    parts = tuple(part.casefold() for part in category_parts(category))
    for prefix in prefixes:
        wanted = tuple(part.casefold() for part in category_parts(prefix))
        if wanted and parts[: len(wanted)] == wanted:
            return True
    return False
