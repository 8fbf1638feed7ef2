"""Product pictures of the demo shop, drawn with Pillow: a silhouette filled with a colour and a pattern, or packed in a carton.

Shapes are data: primitives in a square of 100 x 100 units, y downwards. A picture is drawn four times too large and scaled
down, which is all the anti-aliasing that 64 px need. It takes about 3 ms. No photograph, no text, no light: a small
model has to learn colour and pattern from these within two minutes.
"""

import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

SIDE_PX = 64
_SCALE = 4
_CANVAS_PX = SIDE_PX * _SCALE
_UNIT_PX = _CANVAS_PX / 100

Rgb = tuple[int, int, int]
Pattern = Literal["plain", "striped", "dotted", "checked"]
View = Literal["front", "close", "packed"]

COLOURS: Mapping[str, Rgb] = {
    "red": (208, 36, 44),
    "blue": (38, 84, 190),
    "green": (40, 140, 72),
    "yellow": (242, 204, 48),
    "black": (34, 34, 38),
    "white": (250, 250, 248),
    "pink": (240, 138, 176),
    "orange": (238, 122, 30),
    "purple": (122, 60, 158),
    "brown": (126, 80, 46),
}
"""The colours that a picture shows and a query may name."""

_BACKGROUNDS: tuple[Rgb, ...] = ((226, 230, 234), (234, 228, 220), (222, 232, 226), (232, 226, 234))
_GENERIC: tuple[Rgb, ...] = ((196, 200, 204), (182, 176, 168), (150, 164, 172))
_CARTON: Rgb = (198, 164, 122)
_CARTON_CORNERS = ((6.0, 10.0), (94.0, 94.0))
_SHRINK: Mapping[View, tuple[float, float]] = {"front": (0.84, 0.96), "close": (1.4, 1.6), "packed": (0.5, 0.6)}


@dataclass(frozen=True)
class _Mark:
    """One primitive of a shape.

    Attributes:
        kind: "polygon" (its corners), "line" (its points), or "ellipse" and "box" (two opposite corners).
        points: In units of the 100 x 100 square.
        ink: "fabric" takes the product's pattern, "shade" a darker tone of its colour, else a fixed colour.
        width: Of a line, in units.
    """

    kind: Literal["polygon", "ellipse", "box", "line"]
    points: tuple[tuple[float, float], ...]
    ink: Literal["fabric", "shade"] | Rgb = "fabric"
    width: float = 1.5


def _mirrored(*left: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """Complete the left half of an outline, given from top to bottom, by its mirror image."""
    return left + tuple((100 - x, y) for x, y in reversed(left))


_SOLE: Rgb = (244, 242, 236)
_METAL: Rgb = (176, 180, 186)
_DARK: Rgb = (70, 74, 80)
_CREAM: Rgb = (240, 230, 206)

_SHAPES: Mapping[str, tuple[_Mark, ...]] = {
    "t-shirt": (
        _Mark("polygon", _mirrored((41, 15), (24, 21), (5, 42), (17, 54), (26, 46), (26, 90))),
        _Mark("line", ((41, 15), (45, 22), (50, 24), (55, 22), (59, 15)), "shade", 3),
        _Mark("line", ((5, 42), (17, 54)), "shade", 2),
        _Mark("line", ((95, 42), (83, 54)), "shade", 2),
    ),
    "shirt": (
        _Mark("polygon", _mirrored((41, 12), (26, 18), (14, 40), (6, 78), (17, 82), (27, 48), (27, 92))),
        _Mark("line", ((50, 20), (50, 92)), "shade", 2),
        _Mark("polygon", ((39, 10), (50, 20), (44, 29), (33, 15)), "shade"),
        _Mark("polygon", ((61, 10), (50, 20), (56, 29), (67, 15)), "shade"),
        *(_Mark("ellipse", ((52, y), (55, y + 3)), _SOLE) for y in (34, 48, 62, 76)),
    ),
    "dress": (
        _Mark("polygon", _mirrored((38, 8), (34, 8), (31, 26), (38, 46), (16, 92))),
        _Mark("line", ((38, 8), (42, 22), (50, 27), (58, 22), (62, 8)), "shade", 2.5),
        _Mark("line", ((37, 46), (63, 46)), "shade", 4),
    ),
    "sneakers": (
        _Mark("polygon", ((8, 36), (30, 32), (48, 46), (70, 54), (92, 60), (95, 72), (6, 72))),
        _Mark("polygon", ((5, 70), (96, 70), (94, 80), (8, 80)), _SOLE),
        _Mark("line", ((40, 40), (33, 50)), _SOLE, 3),
        _Mark("line", ((49, 46), (42, 56)), _SOLE, 3),
        _Mark("line", ((58, 50), (52, 60)), _SOLE, 3),
        _Mark("line", ((8, 36), (30, 32)), "shade", 4),
    ),
    "boots": (
        _Mark("polygon", ((26, 10), (58, 10), (58, 52), (88, 64), (92, 80), (24, 80))),
        _Mark("polygon", ((22, 80), (93, 80), (93, 86), (46, 86), (44, 92), (22, 92)), _DARK),
        _Mark("line", ((26, 14), (58, 14)), "shade", 5),
        _Mark("line", ((58, 30), (50, 34)), _SOLE, 2),
        _Mark("line", ((58, 40), (50, 44)), _SOLE, 2),
    ),
    "handbag": (
        _Mark("line", ((30, 46), (34, 22), (50, 13), (66, 22), (70, 46)), "shade", 5),
        _Mark("polygon", _mirrored((18, 42), (10, 86))),
        _Mark("polygon", ((18, 42), (82, 42), (76, 58), (24, 58)), "shade"),
        _Mark("box", ((46, 54), (54, 62)), _METAL),
    ),
    "backpack": (
        _Mark("line", ((40, 16), (42, 7), (58, 7), (60, 16)), "shade", 4),
        _Mark("polygon", _mirrored((40, 12), (27, 20), (20, 38), (20, 84), (26, 92))),
        _Mark("box", ((30, 54), (70, 84)), "shade"),
        _Mark("line", ((30, 62), (70, 62)), _METAL, 2),
        _Mark("line", ((25, 34), (75, 34)), "shade", 2),
    ),
    "hat": (
        _Mark("ellipse", ((4, 60), (96, 82))),
        _Mark("polygon", _mirrored((36, 20), (28, 30), (24, 68))),
        _Mark("box", ((25, 56), (75, 66)), "shade"),
    ),
    "mug": (
        _Mark("line", ((68, 36), (84, 38), (86, 56), (68, 62)), "shade", 6),
        _Mark("box", ((24, 26), (70, 82))),
        _Mark("ellipse", ((24, 20), (70, 32)), "shade"),
    ),
    "cable": (
        _Mark("line", ((14, 70), (24, 30), (48, 26), (52, 60), (74, 72), (84, 34)), _DARK, 5),
        _Mark("box", ((8, 68), (21, 84)), _METAL),
        _Mark("box", ((78, 20), (91, 36)), _METAL),
    ),
    "drive": (
        _Mark("box", ((18, 26), (82, 76)), _DARK),
        _Mark("box", ((26, 34), (74, 58))),
        _Mark("ellipse", ((72, 66), (77, 71)), (96, 196, 120)),
    ),
    "book": (
        _Mark("box", ((26, 14), (78, 88)), _CREAM),
        _Mark("box", ((22, 12), (74, 86))),
        _Mark("line", ((29, 12), (29, 86)), "shade", 2),
        _Mark("box", ((38, 26), (66, 40)), _CREAM),
    ),
    "bulb": (
        _Mark("ellipse", ((26, 10), (74, 60)), (250, 240, 196)),
        _Mark("polygon", _mirrored((34, 48), (40, 66)), (250, 240, 196)),
        _Mark("box", ((40, 66), (60, 86)), _METAL),
        _Mark("line", ((40, 73), (60, 73)), _DARK, 1.5),
        _Mark("line", ((40, 80), (60, 80)), _DARK, 1.5),
    ),
    "coffee": (
        _Mark("polygon", _mirrored((30, 14), (26, 24), (26, 88))),
        _Mark("box", ((28, 14), (72, 22)), "shade"),
        _Mark("ellipse", ((38, 42), (62, 66)), _CREAM),
    ),
}

SHAPES = tuple(_SHAPES)
"""Names of what can be drawn."""


def draw_product(
    shape: str, colour: str | None, pattern: Pattern, rng: random.Random, *, view: View = "front", image_format: str = "JPEG"
) -> bytes:
    """Draw one product from one point of view.

    Args:
        shape: One of ``SHAPES``.
        colour: One of ``COLOURS``; None takes a grey that says nothing about the product.
        pattern: Of the fabric.
        rng: Source of tint, stripe direction, place and size; the picture is a function of it and of the other arguments.
        view: The whole product; a close look at its middle; or its carton, which shows its shape alone.
        image_format: "JPEG" or "PNG".

    Returns:
        The encoded picture, RGB, ``SIDE_PX`` wide and high.
    """
    is_packed = view == "packed"
    base = _jitter(_CARTON if is_packed else COLOURS[colour] if colour else rng.choice(_GENERIC), rng)
    fabric = Image.new("RGB", (_CANVAS_PX, _CANVAS_PX), _darken(base, 0.7)) if is_packed else _draw_fabric(base, pattern, rng)
    background = rng.choice(_BACKGROUNDS)
    shrink, shift_x, shift_y = rng.uniform(*_SHRINK[view]), rng.uniform(-3, 3), rng.uniform(-3, 3)

    picture = Image.new("RGB", (_CANVAS_PX, _CANVAS_PX), background)
    outline = _darken(base if sum(base) < sum(background) - 60 else background, 0.55)
    if is_packed:
        carton = _Mark("box", _CARTON_CORNERS)
        picture.paste(base, mask=_draw_mask(carton, [(x * _UNIT_PX, y * _UNIT_PX) for x, y in carton.points]))
    for mark in _SHAPES[shape]:
        points = [
            (((x - 50) * shrink + 50 + shift_x) * _UNIT_PX, ((y - 50) * shrink + 50 + shift_y) * _UNIT_PX) for x, y in mark.points
        ]
        mask = _draw_mask(mark, points)
        if mark.ink == "fabric" or is_packed:
            _draw_edge(picture, mark, points, outline)
            picture.paste(fabric, mask=mask)
        else:
            picture.paste(_darken(base, 0.72) if mark.ink == "shade" else mark.ink, mask=mask)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    buffer = io.BytesIO()
    picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX).save(buffer, image_format, quality=90)
    return buffer.getvalue()


def _jitter(colour: Rgb, rng: random.Random) -> Rgb:
    red, green, blue = (max(0, min(255, part + rng.randint(-9, 9))) for part in colour)
    return red, green, blue


def _darken(colour: Rgb, factor: float) -> Rgb:
    red, green, blue = (round(part * factor) for part in colour)
    return red, green, blue


def _draw_fabric(base: Rgb, pattern: Pattern, rng: random.Random) -> Image.Image:
    """Return a canvas full of the pattern; its second colour is white, or dark where the first is bright."""
    fabric = Image.new("RGB", (_CANVAS_PX, _CANVAS_PX), base)
    second: Rgb = (250, 250, 248) if sum(base) < 560 else (92, 92, 104)
    draw = ImageDraw.Draw(fabric)
    period = round(_CANVAS_PX / rng.uniform(6.0, 7.5))
    if pattern == "striped":
        is_vertical = rng.random() < 0.3
        for start in range(0, _CANVAS_PX, period):
            end = start + period * 2 // 5
            draw.rectangle((start, 0, end, _CANVAS_PX) if is_vertical else (0, start, _CANVAS_PX, end), second)
    elif pattern == "dotted":
        radius = period * 0.3
        for row, y in enumerate(range(0, _CANVAS_PX + period, period)):
            for x in range(period // 2 * (row % 2), _CANVAS_PX + period, period):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), second)
    elif pattern == "checked":
        half = Image.blend(fabric, Image.new("RGB", fabric.size, second), 0.5)
        for start in range(0, _CANVAS_PX, period):
            for box in ((start, 0, start + period // 2, _CANVAS_PX), (0, start, _CANVAS_PX, start + period // 2)):
                fabric.paste(half.crop(box), box[:2])
        for x in range(0, _CANVAS_PX, period):
            for y in range(0, _CANVAS_PX, period):
                draw.rectangle((x, y, x + period // 2, y + period // 2), second)
    return fabric


def _draw_mask(mark: _Mark, points: list[tuple[float, float]]) -> Image.Image:
    mask = Image.new("L", (_CANVAS_PX, _CANVAS_PX), 0)
    draw = ImageDraw.Draw(mask)
    if mark.kind == "polygon":
        draw.polygon(points, 255)
    elif mark.kind == "line":
        draw.line(points, 255, round(mark.width * _UNIT_PX), joint="curve")
    elif mark.kind == "ellipse":
        draw.ellipse((*points[0], *points[1]), 255)
    else:
        draw.rounded_rectangle((*points[0], *points[1]), 2 * _UNIT_PX, 255)
    return mask


def _draw_edge(picture: Image.Image, mark: _Mark, points: list[tuple[float, float]], outline: Rgb) -> None:
    """Draw a fine contour under the fabric, so that a white dress stands out from a pale background."""
    draw = ImageDraw.Draw(picture)
    width = round(3 * _UNIT_PX)
    if mark.kind == "polygon":
        draw.line([*points, points[0], points[1]], outline, width, joint="curve")
    elif mark.kind == "ellipse":
        draw.ellipse(
            (points[0][0] - width / 2, points[0][1] - width / 2, points[1][0] + width / 2, points[1][1] + width / 2), outline
        )
