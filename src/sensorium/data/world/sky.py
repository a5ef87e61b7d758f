"""Skies: the weather and the time of day above a ground, told apart at a glance."""

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from sensorium.data.world.things import GROUNDS

Colour = tuple[int, int, int]

_SUN: Colour = (255, 208, 40)
_GLOW: Colour = (255, 232, 150)
_MOON: Colour = (250, 244, 208)
_BOLT: Colour = (255, 240, 90)
_HORIZON = {"street": 0.52, "meadow": 0.52, "sand": 0.52, "hills": 0.56}  # where the ground begins

# The sky at the top and at the horizon.
_AIR: dict[tuple[str, str], tuple[Colour, Colour]] = {
    ("sunny", "day"): ((64, 150, 240), (176, 220, 252)),
    ("cloudy", "day"): ((150, 172, 196), (206, 216, 226)),
    ("rain", "day"): ((108, 122, 142), (168, 178, 190)),
    ("snow", "day"): ((186, 198, 212), (228, 234, 240)),
    ("storm", "day"): ((66, 66, 88), (128, 126, 138)),
    ("sunny", "night"): ((8, 14, 58), (44, 58, 122)),
    ("cloudy", "night"): ((20, 26, 54), (52, 60, 90)),
    ("rain", "night"): ((18, 24, 38), (44, 54, 74)),
    ("snow", "night"): ((30, 38, 66), (82, 92, 122)),
    ("storm", "night"): ((12, 8, 24), (44, 34, 60)),
}
_CLOUDS: dict[tuple[str, str], Colour] = {
    ("sunny", "day"): (252, 254, 255),
    ("cloudy", "day"): (240, 243, 247),
    ("rain", "day"): (92, 102, 120),
    ("snow", "day"): (160, 172, 190),
    ("storm", "day"): (46, 44, 60),
    ("sunny", "night"): (60, 72, 120),
    ("cloudy", "night"): (104, 112, 138),
    ("rain", "night"): (66, 76, 96),
    ("snow", "night"): (112, 122, 148),
    ("storm", "night"): (50, 42, 66),
}


def draw_sky(size: tuple[int, int], weather: str, time: str, ground: str, rng: np.random.Generator) -> Image.Image:
    """The empty scene under that sky, as a picture of `size` (width, height); `rng` draws clouds, stars and drops."""
    picture = _air_and_ground(size, weather, time, ground).copy()
    draw = ImageDraw.Draw(picture)
    height = size[1]
    if weather == "sunny":
        (_draw_sun if time == "day" else _draw_clear_night)(draw, size, rng)
    elif weather == "cloudy" and time == "night":
        _draw_moon(draw, size, rng)
    _draw_clouds(draw, size, weather, time, rng)
    if weather == "storm":
        _draw_bolt(draw, size, rng)
    if weather in ("rain", "storm"):
        _draw_rain(draw, size, time, rng, slant=0.25 if weather == "rain" else 0.7)
    elif weather == "snow":
        for x, y, radius in _spread(rng, 46, size):
            r = (0.009 + 0.012 * radius) * height
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))
    return picture


@lru_cache(maxsize=64)
def _air_and_ground(size: tuple[int, int], weather: str, time: str, ground: str) -> Image.Image:
    height = size[1]
    top, low = (np.array(colour, dtype=np.float64) for colour in _AIR[weather, time])
    share = np.linspace(0, 1, height)[:, None] / _HORIZON[ground]
    column = np.clip(top + (low - top) * share, 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(column[:, None, :]).resize(size)
    _draw_ground(ImageDraw.Draw(picture), size, ground, _ground_colour(weather, time, ground))
    return picture


def _ground_colour(weather: str, time: str, ground: str) -> Colour:
    base = (246, 248, 252) if weather == "snow" else GROUNDS[ground]
    light = {"sunny": 1.0, "cloudy": 0.95, "rain": 0.86, "snow": 1.0, "storm": 0.76}[weather]
    if time == "day":
        return _shaded(base, light)
    red, green, blue = _shaded(base, 0.6 * light)
    return red, green, min(255, blue + 16)


def _draw_ground(draw: ImageDraw.ImageDraw, size: tuple[int, int], ground: str, colour: Colour) -> None:
    width, height = size
    start = _HORIZON[ground] * height
    dark = _shaded(colour, 0.9)
    if ground == "hills":
        draw.ellipse((-0.3 * width, start - 0.12 * height, 0.66 * width, 1.2 * height), fill=dark)
        draw.ellipse((0.4 * width, start - 0.08 * height, 1.4 * width, 1.2 * height), fill=_shaded(colour, 0.95))
        start += 0.06 * height
    draw.rectangle((0, start, width, height), fill=colour)
    if ground == "street":
        draw.rectangle((0, start, width, start + 0.02 * height), fill=dark)
    elif ground == "sand":
        for y, x in ((0.62, 0.1), (0.74, 0.5), (0.88, 0.2), (0.8, 0.8)):
            draw.line((x * width, y * height, (x + 0.14) * width, y * height), fill=dark, width=max(height // 90, 1))
    elif ground == "meadow":
        for y, x in ((0.6, 0.2), (0.66, 0.7), (0.78, 0.4), (0.86, 0.86), (0.92, 0.12)):
            for lean in (-0.015, 0.0, 0.015):
                tip = ((x + lean) * width, (y - 0.03) * height)
                draw.line((x * width, y * height, *tip), fill=dark, width=max(height // 110, 1))


def _draw_sun(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    width, height = size
    where_x, where_y, turn = rng.random(3).tolist()
    x, y, r = (0.16 + 0.68 * where_x) * width, (0.16 + 0.1 * where_y) * height, 0.095 * height
    for index in range(12):
        angle = (index + turn) * pi / 6
        points = [
            (x + cos(angle + side) * reach * r, y + sin(angle + side) * reach * r)
            for side, reach in ((-0.12, 1.2), (0.0, 1.75), (0.12, 1.2))
        ]
        draw.polygon(points, fill=_SUN)
    draw.ellipse((x - 1.12 * r, y - 1.12 * r, x + 1.12 * r, y + 1.12 * r), fill=_GLOW)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=_SUN)


def _draw_clear_night(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    height = size[1]
    for x, y, radius in _spread(rng, 26, size):
        y *= 0.42
        r = (0.006 + 0.01 * radius) * height
        draw.polygon([(x - r, y), (x, y - 2 * r), (x + r, y), (x, y + 2 * r)], fill=(255, 250, 225))
        draw.polygon([(x, y - r), (x - 2 * r, y), (x, y + r), (x + 2 * r, y)], fill=(255, 250, 225))
    _draw_moon(draw, size, rng)


def _draw_moon(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    width, height = size
    where_x, where_y, phase, side = rng.random(4).tolist()
    x, y, r = (0.18 + 0.64 * where_x) * width, (0.15 + 0.09 * where_y) * height, 0.095 * height
    outer_reach = r if side < 0.5 else -r
    inner_reach = outer_reach * (0.6 - 1.6 * phase**2)  # from a crescent to a full moon
    angles = [index * pi / 14 for index in range(15)]
    outer = [(x + outer_reach * sin(angle), y - r * cos(angle)) for angle in angles]
    inner = [(x + inner_reach * sin(angle), y - r * cos(angle)) for angle in reversed(angles)]
    draw.polygon(outer + inner, fill=_MOON)


def _draw_clouds(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], weather: str, time: str, rng: np.random.Generator
) -> None:
    width, height = size
    colour = _CLOUDS[weather, time]
    n_clouds = {"sunny": int(rng.integers(2)) * (time == "day"), "cloudy": 4}.get(weather, 5)
    scale = 0.6 if weather == "sunny" else 1.0
    places = rng.random((n_clouds, 4)).tolist()
    for index, (where_x, where_y, wide, puff) in enumerate(places):
        x = (index + 0.2 + 0.6 * where_x) / n_clouds * width
        low, reach = (0.1, 0.22) if weather in ("sunny", "cloudy") else (0.04, 0.1)
        y = (low + reach * where_y) * height
        r = (0.075 + 0.03 * wide) * height * scale
        _draw_cloud(draw, x, y + r, r, puff, colour)


def _draw_cloud(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, puff: float, colour: Colour) -> None:
    puffs = ((-1.5, 0.15, 0.75), (-0.6 - 0.3 * puff, -0.4, 1.0), (0.5, -0.2 - 0.5 * puff, 1.05), (1.5, 0.2, 0.7))
    for shade, lift in ((_shaded(colour, 0.86), 0.14), (colour, 0.0)):
        for dx, dy, size in puffs:
            reach = size * r
            centre_x, centre_y = x + dx * r, y + (dy + lift) * r
            draw.ellipse((centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach), fill=shade)


def _draw_bolt(draw: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    width, height = size
    for where in rng.random(1 + int(rng.integers(2))).tolist():
        x, y, reach = (0.12 + 0.7 * where) * width, 0.2 * height, 0.34 * height
        corners = ((0.1, 0), (-0.16, 0.52), (0.02, 0.5), (-0.1, 1.0), (0.3, 0.36), (0.12, 0.38), (0.34, 0))
        draw.polygon([(x + dx * reach, y + dy * reach) for dx, dy in corners], fill=_BOLT)


def _draw_rain(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], time: str, rng: np.random.Generator, slant: float
) -> None:
    height = size[1]
    colour = (74, 120, 190) if time == "day" else (130, 165, 215)
    for x, y, long in _spread(rng, 44, size):
        y = 0.22 * height + 0.78 * y
        fall = (0.05 + 0.035 * long) * height
        draw.line((x, y, x - slant * fall, y + fall), fill=colour, width=max(round(height * 0.012), 1))


def _spread(rng: np.random.Generator, n: int, size: tuple[int, int]) -> list[tuple[float, float, float]]:
    """Points all over a picture, none too far from its neighbours, each with a number in 0..1."""
    width, height = size
    columns = round(n**0.5)
    cells = np.arange(n)
    offsets = rng.random((n, 3))
    x = (cells % columns + offsets[:, 0]) * (width / columns)
    y = (cells // columns + offsets[:, 1]) * (height / (n / columns))
    return list(zip(x.tolist(), y.tolist(), offsets[:, 2].tolist(), strict=True))


def _shaded(colour: Colour, light: float) -> Colour:
    red, green, blue = colour
    return round(red * light), round(green * light), round(blue * light)
