"""The shop that ships with the project: drawn products, a simulated click log and graded judgments, from a seed alone.

``smar demo`` runs the whole pipeline on it, so that a newcomer sees what SMAR is for in minutes, without a download. Colour
and pattern of a visual product are mostly left out of its title, so only the picture shows them, while two thirds of the
fashion queries name them; books, drives, bulbs and their like are told apart by words, and their pictures say nothing. An item
has three pictures: the whole product, a close look, and its carton, which hides colour and pattern. The carton comes first
with every third item, where a model that sees one picture alone (``prepare.max_views=1``) is left with the words.

The log has a real one's habits (position bias, chance clicks, queries that recur by Zipf's law beside ones seen once) and
faults (a crawler, duplicates, blank queries, items that left the shop, missing and broken pictures), each rare enough that
preparation accepts it.

A simulation proves that the pipeline works, not that the method does: its shoppers want exactly what the pictures show.
Its figures are for comparing one change of the code with another, no more.
"""

import datetime
import functools
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smar_core.data.demo_pictures import COLOURS, Pattern, View, draw_product
from smar_core.errors import UserError

NUM_DAYS = 60
RESULTS_PER_SESSION = 10
MIN_ITEMS = 32

_FIRST_DAY = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)
_VISUAL_SHARE = 0.7
_TITLE_NAMES_COLOUR = 0.2
_TITLE_NAMES_PATTERN = 0.1
_FRESH_QUERY_SHARE = 0.15  # of the sessions; their queries mostly occur once
_SESSIONS_PER_ITEM = 10 / 3
_POOL_PER_ITEM = 1.0
_CRAWLER_EVENTS = 300
_NO_IMAGE_EVERY, _BROKEN_IMAGE_ITEM, _BROKEN_VIEW_ITEM = 97, 13, 29
_CARTON_FIRST_EVERY = 3

# Chance of a click on an item that was looked at, by how well it meets the query's wishes, and of looking at a position.
_CLICK_CHANCE: Mapping[int, float] = {3: 0.5, 2: 0.07, 1: 0.02, 0: 0.005}
_LOOK_CHANCE = tuple(1 / (1 + 0.15 * place) for place in range(RESULTS_PER_SESSION))

_PATTERN_WEIGHTS: Mapping[Pattern, float] = {"plain": 0.4, "striped": 0.22, "dotted": 0.19, "checked": 0.19}
_BRANDS = ("Norvik", "Lumela", "Tarnholt", "Pellow", "Ostrey", "Quindle", "Vashti", "Brackwell", "Cindrel", "Mirrowe")
_LINES = ("Harbour", "Meadow", "Aspen", "Coastal", "Everyday", "Weekend", "Studio", "Heritage", "Summit", "Willow")
_AUDIENCES = ("Women", "Men", "Kids")


@dataclass(frozen=True, eq=False)
class _Range:
    """A kind of product.

    Attributes:
        shape: What its picture shows.
        category: Path "A > B > C".
        words: What it is called: the first by the merchant, all of them by shoppers.
        specs: Attributes beside brand, each with its values, which stand in the title and may be asked for.
    """

    shape: str
    category: str
    words: tuple[str, ...]
    specs: Mapping[str, tuple[str, ...]]
    is_visual: bool = False


_AUDIENCE = {"audience": _AUDIENCES}
_RANGES: tuple[_Range, ...] = (
    _Range("t-shirt", "Apparel > Tops > T-Shirts", ("T-Shirt", "tee"), _AUDIENCE, True),
    _Range("shirt", "Apparel > Tops > Shirts", ("Shirt",), _AUDIENCE, True),
    _Range("dress", "Apparel > Dresses > Dresses", ("Dress",), {"audience": ("Women", "Kids")}, True),
    _Range("sneakers", "Footwear > Shoes > Sneakers", ("Sneakers", "trainers"), _AUDIENCE, True),
    _Range("boots", "Footwear > Shoes > Boots", ("Boots",), _AUDIENCE, True),
    _Range("handbag", "Accessories > Bags > Handbags", ("Handbag", "purse"), {"audience": ("Women",)}, True),
    _Range("backpack", "Accessories > Bags > Backpacks", ("Backpack",), _AUDIENCE, True),
    _Range("hat", "Accessories > Headwear > Hats", ("Hat",), _AUDIENCE, True),
    _Range(
        "mug",
        "Home > Kitchen > Mugs",
        ("Mug", "coffee cup"),
        {"material": ("Stoneware", "Porcelain", "Enamel", "Glass"), "volume": ("250 ml", "350 ml", "450 ml", "600 ml")},
    ),
    _Range(
        "bulb",
        "Home > Lighting > Bulbs",
        ("LED Bulb", "light bulb"),
        {"fitting": ("E27", "E14", "GU10", "B22"), "power": ("4 W", "6 W", "9 W", "12 W", "15 W")},
    ),
    _Range(
        "drive",
        "Electronics > Storage > Drives",
        ("SSD", "drive"),
        {"capacity": ("250 GB", "500 GB", "1 TB", "2 TB", "4 TB"), "port": ("USB-C", "SATA", "NVMe")},
    ),
    _Range(
        "cable",
        "Electronics > Accessories > Cables",
        ("Cable", "lead"),
        {"plug": ("USB-C", "HDMI", "Micro USB", "Ethernet"), "length": ("0.5 m", "1 m", "2 m", "3 m", "5 m")},
    ),
    _Range(
        "book",
        "Books > Fiction > Paperbacks",
        ("Paperback", "book"),
        {
            "mood": ("Silent", "Distant", "Golden", "Broken", "Hidden", "Winter", "Burning", "Gentle"),
            "subject": ("Harbour", "Orchard", "River", "Garden", "Mountain", "Letter", "Daughter", "Island"),
        },
    ),
    _Range(
        "coffee",
        "Grocery > Drinks > Coffee",
        ("Ground Coffee", "coffee"),
        {"roast": ("Light Roast", "Medium Roast", "Dark Roast"), "weight": ("250 g", "500 g", "1 kg")},
    ),
)

_PHRASES: Mapping[str, tuple[str, ...]] = {
    "Women": ("women", "ladies"),
    "Men": ("men", "mens"),
    "Kids": ("kids", "children"),
    "striped": ("striped", "stripes"),
    "dotted": ("dotted", "polka dot"),
    "checked": ("checked", "gingham"),
}
"""What shoppers write for a value, where that is not the value itself."""


@dataclass(frozen=True, eq=False)
class _Product:
    item_id: str
    range: _Range
    title: str
    brand: str
    values: Mapping[str, str]  # every attribute that can be wished for, the visible ones included
    pattern: Pattern
    appeal: float


@dataclass(frozen=True)
class _Search:
    """What a shopper types, and what is wanted by it."""

    query: str
    range: _Range
    wishes: tuple[tuple[str, str], ...]


def write_demo(folder: Path, num_items: int = 1500, seed: int = 0) -> None:
    """Write items.parquet, clicks.parquet and judgments.parquet; equal arguments give equal bytes.

    Args:
        folder: Made if need be; files of these names in it are replaced.
        num_items: Products; the log grows with them, to about 33 rows each.
        seed: Of everything random.

    Raises:
        UserError: ``num_items`` is below ``MIN_ITEMS``.
    """
    if num_items < MIN_ITEMS:
        raise UserError(f"num_items is {num_items}, too few for two products of each kind", f"choose at least {MIN_ITEMS}")
    folder.mkdir(parents=True, exist_ok=True)
    products = _make_products(num_items, random.Random(f"products/{seed}"))
    items = _items_table(products, random.Random(f"pictures/{seed}"))
    shop = _Shop(products)
    pool = _make_pool(products, random.Random(f"queries/{seed}"))
    clicks = _clicks_table(shop, pool, random.Random(f"clicks/{seed}"))
    for name, table in (("items", items), ("clicks", clicks), ("judgments", _judgments_table(shop, pool))):
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def _make_products(num_items: int, rng: random.Random) -> list[_Product]:
    visual = itertools.cycle([r for r in _RANGES if r.is_visual])
    other = itertools.cycle([r for r in _RANGES if not r.is_visual])
    num_visual = round(num_items * _VISUAL_SHARE)
    ranges = [next(visual) for _ in range(num_visual)] + [next(other) for _ in range(num_items - num_visual)]
    rng.shuffle(ranges)
    return [_make_product(f"d{number:05d}", range_, rng) for number, range_ in enumerate(ranges, start=1)]


def _make_product(item_id: str, range_: _Range, rng: random.Random) -> _Product:
    brand = rng.choice(_BRANDS)
    specs = {name: rng.choice(choices) for name, choices in range_.specs.items()}
    if not range_.is_visual:
        title = " ".join((brand, *specs.values(), range_.words[0]))
        return _Product(item_id, range_, title, brand, specs | {"brand": brand}, "plain", rng.lognormvariate(0, 0.4))
    colour = rng.choice(tuple(COLOURS))
    pattern = rng.choices(tuple(_PATTERN_WEIGHTS), tuple(_PATTERN_WEIGHTS.values()))[0]
    words = [brand, specs["audience"], rng.choice(_LINES)]
    if rng.random() < _TITLE_NAMES_COLOUR:
        words.append(colour.title())
    if pattern != "plain" and rng.random() < _TITLE_NAMES_PATTERN:
        words.append(pattern.title())
    title = " ".join((*words, range_.words[0]))
    values = {"colour": colour, "pattern": pattern, "brand": brand} | specs
    return _Product(item_id, range_, title, brand, values, pattern, rng.lognormvariate(0, 0.4))


def _items_table(products: Sequence[_Product], rng: random.Random) -> pa.Table:
    return pa.table(
        {
            "item_id": pa.array([p.item_id for p in products], pa.string()),
            "title": pa.array([p.title for p in products], pa.string()),
            "brand": pa.array([p.brand for p in products], pa.string()),
            "category": pa.array([p.range.category for p in products], pa.string()),
            "image": pa.array([_pictures(n, p, rng) for n, p in enumerate(products)], pa.list_(pa.binary())),
        }
    )


def _pictures(number: int, product: _Product, rng: random.Random) -> list[bytes] | None:
    """Return an item's three pictures; a few items have a broken one, nothing but a broken one, or none."""
    if number % _NO_IMAGE_EVERY == _NO_IMAGE_EVERY - 1:
        return None
    views: tuple[View, ...] = ("packed", "front", "close") if number % _CARTON_FIRST_EVERY == 0 else ("front", "close", "packed")
    shape, colour = product.range.shape, product.values.get("colour")
    image_format = "PNG" if number % 5 == 0 else "JPEG"
    pictures = [draw_product(shape, colour, product.pattern, rng, view=view, image_format=image_format) for view in views]
    broken = pictures[1][: len(pictures[1]) // 3]
    if number == _BROKEN_IMAGE_ITEM:
        return [broken]
    return [pictures[0], broken, pictures[2]] if number == _BROKEN_VIEW_ITEM else pictures


def _make_pool(products: Sequence[_Product], rng: random.Random) -> dict[str, _Search]:
    """Return the searches that recur, the most frequent first."""
    searches = (_make_search(products, rng) for _ in range(round(len(products) * _POOL_PER_ITEM)))
    return {search.query: search for search in searches}


def _make_search(products: Sequence[_Product], rng: random.Random) -> _Search:
    """Draw a search that at least one product fulfils: some of that product's attributes, in a shopper's words."""
    product = rng.choice(products)
    chances = {"brand": 0.12, "audience": 0.2, "colour": 0.75, "pattern": 0.4 if product.pattern != "plain" else 0.03}
    wished = {name for name in product.values if rng.random() < chances.get(name, 0.7)}
    order = ("brand", "audience", "colour", "pattern", *(name for name in product.range.specs if name != "audience"))
    wishes = tuple((name, product.values[name]) for name in order if name in wished)
    words = [_phrase(value, rng) for _, value in wishes]
    words.append(rng.choices(product.range.words, (3, 1)[: len(product.range.words)])[0])
    if len(words) > 1 and rng.random() < 0.1:
        words.append(words.pop(0))  # "shirt red" beside "red shirt"
    return _Search(" ".join(words).lower(), product.range, wishes)


def _phrase(value: str, rng: random.Random) -> str:
    return rng.choices(_PHRASES[value], (3, 1))[0] if value in _PHRASES else value


def _grade(search: _Search, product: _Product) -> int:
    """Return 3 when every wish is met, 2 when all but one of two or more are, 1 for the kind of product alone, else 0."""
    if product.range is not search.range:
        return 0
    num_missed = sum(product.values[name] != value for name, value in search.wishes)
    if num_missed == 0:
        return 3
    return 2 if num_missed == 1 and len(search.wishes) > 1 else 1


class _Shop:
    """Answers searches as a shop's engine that sees every attribute would, now and then beside the point."""

    def __init__(self, products: Sequence[_Product]) -> None:
        self.products = products
        self.graded = functools.cache(self._graded)

    def _graded(self, search: _Search) -> dict[int, list[_Product]]:
        """Return the products of grade 1 and more by grade, in the catalogue's order."""
        found: dict[int, list[_Product]] = {3: [], 2: [], 1: []}
        for product in self.products:
            grade = _grade(search, product)
            if grade:
                found[grade].append(product)
        return found

    def answer(self, search: _Search, rng: random.Random) -> list[tuple[_Product, int]]:
        """Return a page of distinct products with their grades, best guess first."""
        page: dict[_Product, int] = {}
        for grade, most in ((3, 5), (2, 7), (1, RESULTS_PER_SESSION - 1)):
            candidates = self.graded(search)[grade]
            # A power of a uniform number by the inverse weight: the largest ones are a weighted sample without replacement.
            keys = [(rng.random() ** (1 / p.appeal), n) for n, p in enumerate(candidates)]
            for _, n in sorted(keys, reverse=True)[: most - len(page)]:
                page[candidates[n]] = grade
        while len(page) < RESULTS_PER_SESSION:
            product = rng.choice(self.products)
            page.setdefault(product, _grade(search, product))
        return sorted(page.items(), key=lambda entry: rng.uniform(0, 2.5) - entry[1])


@dataclass(frozen=True)
class _Event:
    timestamp: datetime.datetime
    session_id: str
    query: str
    item_id: str
    position: int
    clicked: bool


def _clicks_table(shop: _Shop, pool: Mapping[str, _Search], rng: random.Random) -> pa.Table:
    num_sessions = round(len(shop.products) * _SESSIONS_PER_ITEM)
    searches = list(pool.values())
    weights = [1 / (rank + 25) for rank in range(len(searches))]
    starts = sorted(_session_start(rng) for _ in range(num_sessions))
    events: list[_Event] = []
    for number, start in enumerate(starts):
        is_fresh = rng.random() < _FRESH_QUERY_SHARE
        search = _make_search(shop.products, rng) if is_fresh else rng.choices(searches, weights)[0]
        events += _session(f"s{number:06d}", start, search, shop, rng)
    events += _crawl(shop.products, rng)
    events += [rng.choice(events) for _ in range(len(events) // 250)]
    events.sort(key=lambda e: (e.timestamp, e.session_id, e.position))
    schema = pa.schema(
        [
            ("timestamp", pa.timestamp("us", tz="UTC")),
            ("session_id", pa.string()),
            ("query", pa.string()),
            ("item_id", pa.string()),
            ("position", pa.int64()),
            ("clicked", pa.bool_()),
        ]
    )
    return pa.table({name: [getattr(e, name) for e in events] for name in schema.names}, schema=schema)


def _session_start(rng: random.Random) -> datetime.datetime:
    """Draw a moment of the sixty days; most people shop in the evening."""
    hour = rng.triangular(0, 24, 19.5)
    return _FIRST_DAY + datetime.timedelta(days=rng.randrange(NUM_DAYS), seconds=int(hour * 3600))


def _session(session_id: str, start: datetime.datetime, search: _Search, shop: _Shop, rng: random.Random) -> Iterator[_Event]:
    """Yield a page of results for a search, and which of them were clicked."""
    query = _type(search.query, rng)
    for place, (product, grade) in enumerate(shop.answer(search, rng)):
        item_id = f"gone{product.item_id}" if rng.random() < 0.001 else product.item_id
        clicked = rng.random() < _LOOK_CHANCE[place] * _CLICK_CHANCE[grade]
        timestamp = start + datetime.timedelta(seconds=4 * place)
        yield _Event(timestamp, session_id, query, item_id, place + 1, clicked)


def _type(query: str, rng: random.Random) -> str:
    """Return a query as it was typed: mostly as it is, else in capitals, with stray spaces, or blank."""
    kind = rng.random()
    if kind < 0.004:
        return "  "
    if kind < 0.03:
        return query.upper()
    return f" {query.replace(' ', '  ')}" if kind < 0.05 else query


def _crawl(products: Sequence[_Product], rng: random.Random) -> Iterator[_Event]:
    """Yield one session that clicks nearly everything."""
    start = _FIRST_DAY + datetime.timedelta(days=NUM_DAYS // 3, hours=3)
    for number, product in enumerate(itertools.islice(itertools.cycle(products), _CRAWLER_EVENTS)):
        timestamp = start + datetime.timedelta(seconds=2 * number)
        yield _Event(timestamp, "s-crawler", "new in", product.item_id, number % 50 + 1, rng.random() < 0.97)


def _judgments_table(shop: _Shop, pool: Mapping[str, _Search]) -> pa.Table:
    """Grade every recurring search: 3 = meets every wish, 2 = all but one of them."""
    rows = [
        (query, product.item_id, grade)
        for query, search in sorted(pool.items())
        for grade in (3, 2)
        for product in shop.graded(search)[grade]
    ]
    schema = pa.schema([("query", pa.string()), ("item_id", pa.string()), ("grade", pa.int64())])
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], schema=schema)
