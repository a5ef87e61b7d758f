"""The shapes of things: one drawing a kind, varied by a seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from sensorium.data.world import living, made
from sensorium.data.world.pen import Pen, Points, Shape, Vary, turned

N_SHAPES = 64  # shape seeds run below this


@lru_cache(maxsize=16 * N_SHAPES)
def shape(kind: str, shape_seed: int) -> Shape:
    """The shape of a kind of thing; every seed another one, half of them mirrored."""
    rng = np.random.default_rng(shape_seed)
    mirrored, stretch = bool(rng.random() < 0.5), float(rng.uniform(0.92, 1.08))

    def vary(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    pen = Pen()
    _DRAWINGS[kind](pen, vary)
    return pen.shape(mirrored, stretch)


def outline(kind: str, shape_seed: int, rotation: float) -> tuple[Shape, Points]:
    """A shape and its points, turned: (n, 2), moved and scaled so that its outline spans 0..1 both ways."""
    drawing = shape(kind, shape_seed)
    points = turned(drawing.points, rotation)
    low, span = _bounds(drawing, points)
    return drawing, (points - low) / span


def proportions(kind: str, shape_seed: int, rotation: float) -> tuple[float, float]:
    """Width and height of the turned shape, the longer one 1."""
    drawing = shape(kind, shape_seed)
    _, span = _bounds(drawing, turned(drawing.points, rotation))
    width, height = (span / span.max()).tolist()
    return width, height


def _bounds(drawing: Shape, points: Points) -> tuple[Points, Points]:
    drawn = points[: drawing.n_outline]
    low = drawn.min(axis=0)
    return low, drawn.max(axis=0) - low


_DRAWINGS: dict[str, Callable[[Pen, Vary], None]] = {
    "apple": living.apple,
    "ball": made.ball,
    "cat": living.cat,
    "dog": living.dog,
    "fish": living.fish,
    "bird": living.bird,
    "tree": living.tree,
    "flower": living.flower,
    "house": made.house,
    "car": made.car,
    "boat": made.boat,
    "star": made.star,
    "cup": made.cup,
    "hat": made.hat,
    "key": made.key,
    "umbrella": made.umbrella,
}
# The most a thing is turned either way, in degrees: what stands on its own foot leans less.
LEAN: dict[str, float] = dict.fromkeys(_DRAWINGS, 20.0) | {"house": 10.0, "tree": 12.0, "car": 14.0}
