"""Scenes as pixels: drawn several times as large, then averaged, so that every edge is smooth."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from sensorium.data.world import handwriting, sprites
from sensorium.data.world.pen import Patch
from sensorium.data.world.scene import Box, Scene, Thing
from sensorium.data.world.sky import draw_sky
from sensorium.data.world.things import BACKGROUNDS, COLOURS
from sensorium.errors import ConfigError

Colour = tuple[int, int, int]

_SIDES = (16, 2048)
_DETAILS: dict[str, Colour] = {
    "ink": (38, 36, 44),
    "white": (252, 252, 252),
    "wood": (108, 84, 66),
    "leaf": (78, 140, 84),
    "glass": (190, 220, 236),
    "gold": (244, 190, 70),
    "rose": (238, 170, 176),
    "brick": (156, 92, 84),
    "metal": (196, 200, 206),
    "centre": (250, 226, 120),
    "drink": (112, 78, 60),
}
_FINE = 1024  # pixels along a side that boxes of digits are measured in
_INKS: tuple[Colour, ...] = ((24, 26, 40), (30, 50, 110), (90, 28, 40), (20, 76, 60), (70, 60, 56))


def render(scene: Scene, size: int | tuple[int, int]) -> NDArray[np.uint8]:
    """The picture of a scene.

    Args:
        scene: what to draw; equal scenes give equal pixels.
        size: the side of a square, or (width, height), in pixels, each within 16..2048.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        ConfigError: the size is out of range; a digit without scikit-learn.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if not all(_SIDES[0] <= side <= _SIDES[1] for side in (width, height)):
        raise ConfigError(f"a picture of {width}x{height} pixels: give sides within {_SIDES[0]}..{_SIDES[1]}")
    fineness = 4 if max(width, height) <= 160 else 3 if max(width, height) <= 400 else 2
    canvas = _background(scene, (width * fineness, height * fineness))
    for thing in scene.things:
        _draw_thing(canvas, thing)
    if scene.digits:
        _draw_digits(canvas, scene)
    return np.array(canvas.reduce(fineness))


def _background(scene: Scene, size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(scene.seed)
    if scene.weather is not None and scene.time is not None:
        return draw_sky(size, scene.weather, scene.time, scene.background, rng)
    return _draw_paper(size, BACKGROUNDS[scene.background], rng)


def _draw_paper(size: tuple[int, int], base: Colour, rng: np.random.Generator) -> Image.Image:
    """Pale paper: plain, lit from one corner, with large soft spots, or ruled."""
    width, height = size
    red, green, blue = base
    dim = int(rng.integers(3, 12))
    darker = (red - dim, green - dim, blue - dim)
    pattern = int(rng.integers(4))
    picture = Image.new("RGB", size, base)
    draw = ImageDraw.Draw(picture)
    if pattern == 1:
        corners = np.array([[base, darker], [darker, darker]], dtype=np.uint8)
        return Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)
    if pattern == 2:
        for x, y, reach in rng.random((5, 3)).tolist():
            r = (0.1 + 0.2 * reach) * height
            draw.ellipse((x * width - r, y * height - r, x * width + r, y * height + r), fill=darker)
    elif pattern == 3:
        step = height * int(rng.integers(8, 16)) // 100
        for y in range(step // 2, height, step):
            draw.line((0, y, width, y), fill=darker, width=max(height // 100, 1))
    return picture


def _draw_thing(canvas: Image.Image, thing: Thing) -> None:
    width, height = canvas.size
    x0, y0, x1, y1 = thing.box
    drawing, points = sprites.outline(thing.kind, thing.shape_seed, thing.rotation)
    # A polygon's points are the middles of pixels: half a pixel in from the edges of the box.
    scale = np.array([(x1 - x0) * width - 1, (y1 - y0) * height - 1])
    flat: list[float] = (points * scale + (x0 * width, y0 * height)).ravel().tolist()
    inks = _palette(thing.colour, thing.shape_seed)
    draw = ImageDraw.Draw(canvas)
    for patch in (*drawing.back, *drawing.body):
        draw.polygon(flat[2 * patch.start : 2 * patch.stop], fill=inks[patch.ink])
    if thing.texture != "plain":
        texture = drawing.stripes if thing.texture == "striped" else drawing.dots
        _draw_texture(canvas, flat, thing, drawing.body, texture, inks["texture"])
    for patch in drawing.front:
        draw.polygon(flat[2 * patch.start : 2 * patch.stop], fill=inks[patch.ink])


def _draw_texture(
    canvas: Image.Image,
    flat: list[float],
    thing: Thing,
    body: tuple[Patch, ...],
    texture: tuple[Patch, ...],
    ink: Colour,
) -> None:
    """Lay stripes or dots over the body of a thing, and over nothing else."""
    width, height = canvas.size
    left, top = int(thing.box[0] * width), int(thing.box[1] * height)
    size = int(thing.box[2] * width) + 1 - left, int(thing.box[3] * height) + 1 - top
    near = (np.array(flat).reshape(-1, 2) - (left, top)).ravel().tolist()
    body_mask, texture_mask = Image.new("L", size), Image.new("L", size)
    for mask, patches in ((body_mask, body), (texture_mask, texture)):
        draw = ImageDraw.Draw(mask)
        for patch in patches:
            draw.polygon(near[2 * patch.start : 2 * patch.stop], fill=0 if patch.ink == "edge" else 255)
    canvas.paste(ink, (left, top), ImageChops.multiply(body_mask, texture_mask))


@lru_cache(maxsize=4096)
def _palette(colour: str, shape_seed: int) -> dict[str, Colour]:
    light = 0.93 + 0.14 * (shape_seed * 37 % 64) / 63
    body = (
        _mixed(COLOURS[colour], (0, 0, 0), 1 - light)
        if light < 1
        else _mixed(COLOURS[colour], (255, 255, 255), light - 1)
    )
    return _DETAILS | {
        "body": body,
        "edge": _mixed(body, (20, 10, 20), 0.4),
        "shade": _mixed(body, (20, 10, 20), 0.2),
        "light": _mixed(body, (255, 255, 255), 0.45),
        "texture": _mixed(body, (255, 255, 255), 0.62),
    }


def _mixed(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _draw_digits(canvas: Image.Image, scene: Scene) -> None:
    """Write the digits in a row, each in its own handwriting, in one ink."""
    ink, squares = _writing(scene, canvas.size)
    for number, (x, y, side) in zip(scene.writing, squares, strict=True):
        page = Image.fromarray(np.pad(handwriting.writing(number), 1)).resize((side, side), Image.Resampling.BICUBIC)
        canvas.paste(ink, (x, y), page.point(_SHARPEN))


def digit_boxes(scene: Scene) -> tuple[Box, ...]:
    """Where each handwritten digit of a square picture stands, from left to right."""
    _, squares = _writing(scene, (_FINE, _FINE))
    return tuple(
        (max(x, 0) / _FINE, max(y, 0) / _FINE, min(x + side, _FINE) / _FINE, min(y + side, _FINE) / _FINE)
        for x, y, side in squares
    )


def _writing(scene: Scene, size: tuple[int, int]) -> tuple[Colour, list[tuple[int, int, int]]]:
    """The ink of the digits, and the square of each: left, top and side in pixels."""
    rng = np.random.default_rng((scene.seed, 1))
    ink = _INKS[int(rng.integers(len(_INKS)))]
    width, height = size
    cell = min(width / len(scene.digits), height * 0.8)
    start = (width - cell * len(scene.digits)) / 2
    squares = []
    for index, (grow, x, y) in enumerate(rng.random((len(scene.digits), 3))):
        side = round(cell * (1.0 + 0.2 * grow))
        free_x, free_y = cell - side, height - side
        squares.append((round(start + index * cell + x * free_x), round((0.3 + 0.4 * y) * free_y), side))
    return ink, squares


# A handwriting of 8x8 shades, enlarged, is a blur: a steeper slope makes strokes of it again, faint ones too.
_SHARPEN = [max(0, min(255, round((value - 40) * 2.2))) for value in range(256)]
