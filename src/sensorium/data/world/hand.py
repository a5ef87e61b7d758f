"""The assistant's own hand: how it draws what is asked for, where the pictures that it is shown are of every style.

Things are plain, upright, always of the same shape and as large as there is room for, each in the middle of a cell of
a grid; which cells, and what lies behind, is left to chance. So a small model has one way to learn, and draws it well.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sensorium.data.world import sprites
from sensorium.data.world.scene import HORIZON, STEADY_SHAPE, Scene, Thing

_LARGE, _SMALL, _CELL = 0.40, 0.26, 0.80  # of the picture's side; and of a cell's, at most


def in_own_hand(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same things and sky, drawn as the assistant draws; `rng` chooses which thing stands in which cell."""
    count = len(scene.things)
    if not count:
        return scene
    top = HORIZON if scene.weather is not None else 0.0
    rows, columns = _grid(count, under_sky=scene.weather is not None)
    side = min(_LARGE if columns < 3 else _SMALL, _CELL * (1 - top) / rows)
    cells = rng.choice(rows * columns, count, replace=False).tolist()
    middles = [((cell % columns + 0.5) / columns, top + (cell // columns + 0.5) / rows * (1 - top)) for cell in cells]
    things = (_drawn(thing, side, *middle) for thing, middle in zip(scene.things, middles, strict=True))
    return replace(scene, things=tuple(things))


def _grid(count: int, *, under_sky: bool) -> tuple[int, int]:
    """Rows and columns of cells, enough for so many things."""
    if under_sky:
        return (1, 2) if count < 3 else (math.ceil(count / 3), 3)
    side = math.ceil(math.sqrt(count))
    return side, side


def _drawn(thing: Thing, side: float, x: float, y: float) -> Thing:
    width, height = (side * share for share in sprites.proportions(thing.kind, STEADY_SHAPE, 0.0))
    return replace(
        thing,
        size="large" if side == _LARGE else "small",
        box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        rotation=0.0,
        texture="plain",
        shape_seed=STEADY_SHAPE,
    )
