"""Whether a catalogue's categories can teach a gate what is visual, seen before hours of training and not after."""

from collections.abc import Iterator

from smar_core.categories import category_parts, is_under
from smar_core.config import GateConfig
from smar_core.data.fields import find_columns, text_values
from smar_core.data.files import find_data_files, read_columns, read_file
from smar_core.data.sources import Sources
from smar_core.errors import UserError
from smar_core.text import clean_text

_NAMES_SHOWN = 20


def check_visual_categories(sources: Sources, config: GateConfig) -> None:
    """See whether a gate that learns categories can tell visual items from others; ``train_gate`` looks at the clicks on them.

    Reads the category column alone.

    Raises:
        UserError: No item, or every one, is under ``gate.visual_categories``, of which a learned gate is to learn.
    """
    if config.mode != "learned" or config.supervision != "category":
        return
    categories = set(_categories(sources))
    num_visual = sum(is_under(category, config.visual_categories) for category in categories)
    if 0 < num_visual < len(categories):
        return
    names = sorted({category_parts(category)[0] for category in categories if category_parts(category)})
    shown = (
        f"the catalogue's top categories are {', '.join(names[:_NAMES_SHOWN])}" if names else "the catalogue has no categories"
    )
    raise UserError(
        f"{'no' if num_visual == 0 else 'every'} item is under gate.visual_categories={list(config.visual_categories)}; {shown}",
        "set gate.visual_categories to some of them, or gate.supervision=utility, which needs no categories"
        if names
        else "add a column 'category' or name it with --map category=COLUMN, or set gate.supervision=utility, which needs none",
    )


def _categories(sources: Sources) -> Iterator[str]:
    """Yield the distinct categories of each batch of the catalogue; "" for items without one."""
    for file in find_data_files(sources.items):
        columns = find_columns("items", file.name, read_columns(file), sources.column_map)
        if "category" not in columns:
            yield ""
            continue
        for _, batch in read_file(file, {"category": columns["category"]}):
            for category in text_values(batch.column("category")).unique().to_pylist():
                yield clean_text(category)
