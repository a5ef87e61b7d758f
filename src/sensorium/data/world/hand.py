"""The assistant's own hand: how it draws what is asked for, where the pictures that it is shown are of every style.

Things are plain, upright, each kind always of the same shape and of few sizes, and their middles lie on the corners
of a grid of eight by eight squares; which corners, and what lies behind, is left to chance, but a single thing leaves
room beside it, and one more thing stands where it has the most. A codec with a code for each square then writes a
thing in one way, wherever it stands, and a small model learns it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sensorium.data.world import sprites
from sensorium.data.world.scene import HORIZON, STEADY_SHAPE, Box, Scene, Thing, apart
from sensorium.errors import ConfigError

_Middles = tuple[float, ...]

_LARGE, _SMALL, _TINY = 0.40, 0.24, 0.15  # the longer side of a thing, of the picture's
_CORNERS = 8  # squares along a side


def _corners(*numbers: int) -> _Middles:
    return tuple(number / _CORNERS for number in numbers)


_INNER = _corners(*range(1, _CORNERS))
_HALVES, _THIRDS = _corners(2, 6), _corners(1, 4, 7)


def in_own_hand(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same things and sky, drawn as the assistant draws; `rng` chooses which thing stands where.

    Raises:
        ConfigError: more than nine things, or six under a sky.
    """
    count = len(scene.things)
    if not count:
        return scene
    side, rows, columns = _layout(count, under_sky=scene.weather is not None)
    cells = rng.choice(len(rows) * len(columns), count, replace=False).tolist()
    middles = ((columns[cell % len(columns)], rows[cell // len(columns)]) for cell in cells)
    things = (_drawn(thing, side, *middle) for thing, middle in zip(scene.things, middles, strict=True))
    return replace(scene, things=tuple(things))


def one_more(scene: Scene, colour: str, kind: str) -> Scene | None:
    """The scene with one more thing, drawn as the assistant draws, where there is most room; None if there is none."""
    top = HORIZON if scene.weather is not None else 0.0
    others = [thing.box for thing in scene.things]
    for side in (_LARGE, _SMALL):  # as large as there is room for
        boxes = [_box(kind, side, column, row) for row in _INNER for column in _INNER]
        free = [box for box in boxes if _inside(box, top) and all(apart(box, other) for other in others)]
        if free:
            box = max(free, key=lambda box: min((_gap(box, other) for other in others), default=0.0))
            thing = Thing(kind, colour, _size(side), box, 0.0, "plain", STEADY_SHAPE)
            return replace(scene, things=(*scene.things, thing))
    return None


def _gap(one: Box, other: Box) -> float:
    """The distance between two boxes that do not touch."""
    across, down = (max(one[axis] - other[axis + 2], other[axis] - one[axis + 2], 0.0) for axis in (0, 1))
    return math.hypot(across, down)


def _layout(count: int, *, under_sky: bool) -> tuple[float, _Middles, _Middles]:
    """How large so many things are, and the rows and columns that their middles may lie on, enough for all."""
    most = 6 if under_sky else 9
    if count > most:
        raise ConfigError(f"{count} things to draw: there is room for {most}")
    if under_sky and count > 3:
        return _TINY, _corners(5, 7), _THIRDS
    if under_sky:
        return (_LARGE, _corners(6), _HALVES) if count < 3 else (_SMALL, _corners(6), _THIRDS)
    if count == 1:
        return _LARGE, _corners(4), _HALVES
    return (_LARGE, _HALVES, _HALVES) if count < 5 else (_SMALL, _THIRDS, _THIRDS)


def _drawn(thing: Thing, side: float, x: float, y: float) -> Thing:
    return replace(
        thing,
        size=_size(side),
        box=_box(thing.kind, side, x, y),
        rotation=0.0,
        texture="plain",
        shape_seed=STEADY_SHAPE,
    )


def _size(side: float) -> str:
    return "large" if side == _LARGE else "small"


def _inside(box: Box, top: float) -> bool:
    x0, y0, x1, y1 = box
    return x0 >= 0 and top < y0 and x1 <= 1 and y1 <= 1


def _box(kind: str, side: float, x: float, y: float) -> Box:
    width, height = (side * share for share in sprites.proportions(kind, STEADY_SHAPE, 0.0))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
