"""The shapes of things: one drawing a kind, varied by a seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from sensorium.data.world.pen import (
    Pen,
    Points,
    Shape,
    band,
    disc,
    ellipse,
    moved,
    polygon,
    rays,
    rectangle,
    scallops,
    sector,
    smooth,
    stroke,
    turned,
)

N_SHAPES = 256  # shape seeds run below this

Vary = Callable[[float, float], float]  # a number between two, drawn from the shape's seed


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


def _apple(pen: Pen, vary: Vary) -> None:
    angles = np.radians(np.arange(0, 360, 10))
    dent = vary(0.2, 0.34)
    from_top, from_bottom = np.abs(np.sin((angles + np.pi / 2) / 2)), np.abs(np.sin((angles - np.pi / 2) / 2))
    radius = 0.86 - dent * np.exp(-((from_top / 0.2) ** 2)) - 0.1 * np.exp(-((from_bottom / 0.18) ** 2))
    taper = 1 - vary(0.02, 0.14) * np.maximum(np.sin(angles), 0)
    pen.body(np.stack([radius * np.cos(angles) * taper, radius * np.sin(angles)], axis=1))
    lean = vary(-0.12, 0.2)
    pen.front("wood", polygon((-0.06, -0.5), (0.06, -0.5), (0.07 + lean, -1.05), (-0.05 + lean, -1.05)))
    pen.front(
        "leaf", moved(turned(smooth((0.0, 0.0), (0.3, -0.17), (0.62, 0.0), (0.3, 0.15)), vary(-35, -5)), 0.05, -0.68)
    )
    pen.front("light", ellipse(-0.4, -0.28, 0.12, 0.22, 25))


def _ball(pen: Pen, vary: Vary) -> None:
    pen.body(disc(0, 0, 1))
    x, y, start = vary(-0.3, 0.3), vary(-0.4, -0.2), vary(0, 60)
    for index in range(3):
        slice_ = sector(0, 0, 0.94, start + 120 * index, start + 120 * index + vary(52, 62))
        pen.front("white", np.concatenate([[(x, y)], slice_]))
    pen.front("edge", disc(x, y, 0.2))
    pen.front("white", disc(x, y, 0.13))


def _cat(pen: Pen, vary: Vary) -> None:
    ear, belly = vary(0.0, 0.12), vary(0.52, 0.64)
    tail = vary(0.0, 0.15)
    pen.body(
        smooth(
            (0.3, 0.78),
            (0.72, 0.72),
            (0.86, 0.3),
            (0.8 + tail, 0.0),
            (0.96 + tail, -0.08),
            (1.08, 0.32),
            (0.9, 0.95),
            (0.35, 1.0),
        ),
        smooth(
            (-0.28, -0.3),
            (0.28, -0.3),
            (belly - 0.1, 0.35),
            (belly, 0.92),
            (0.3, 1.0),
            (-0.3, 1.0),
            (-belly, 0.92),
            (-belly + 0.1, 0.35),
        ),
        polygon((-0.5, -0.42), (-0.54, -1.06 - ear), (-0.08, -0.78)),
        polygon((0.5, -0.42), (0.08, -0.78), (0.54, -1.06 - ear)),
        ellipse(0, -0.42, 0.56, 0.46),
    )
    pen.front("rose", polygon((-0.42, -0.72), (-0.46, -0.96 - ear), (-0.22, -0.8)))
    pen.front("rose", polygon((0.42, -0.72), (0.46, -0.96 - ear), (0.22, -0.8)))
    pen.front("white", ellipse(0, 0.5, 0.24, 0.34))
    for x in (-0.23, 0.23):
        pen.front("white", ellipse(x, -0.48, 0.14, 0.16))
        pen.front("ink", ellipse(x, -0.48, 0.075, 0.14))
        pen.front("edge", stroke(x * 0.75, 0.72, x * 0.75, 0.96, 0.06))
    pen.front("ink", polygon((-0.08, -0.28), (0.08, -0.28), (0, -0.18)))
    for y in (-0.24, -0.12):
        pen.front("ink", stroke(-0.24, y, -0.66, y * 1.3 + 0.06, 0.04), stroke(0.24, y, 0.66, y * 1.3 + 0.06, 0.04))


def _dog(pen: Pen, vary: Vary) -> None:
    leg, tail, body = vary(0.24, 0.3), vary(-0.75, -0.45), vary(0.0, 0.08)
    pen.back("shade", rectangle(-0.62, 0.3, -0.62 + leg * 0.8, 0.92), rectangle(0.3, 0.3, 0.3 + leg * 0.8, 0.92))
    pen.body(
        polygon((-0.74, 0.1), (-1.12, tail), (-0.98, tail - 0.1), (-0.58, -0.1)),
        rectangle(-0.86, 0.2, -0.86 + leg, 1.0),
        rectangle(0.1, 0.2, 0.1 + leg, 1.0),
        smooth(
            (-0.8, -0.12),
            (-0.2, -0.1 + body),
            (0.3, -0.16),
            (0.52, 0.1),
            (0.42, 0.46),
            (-0.2, 0.4),
            (-0.8, 0.48),
            (-0.94, 0.2),
        ),
        smooth(
            (0.2, -0.6),
            (0.5, -0.92),
            (0.78, -0.76),
            (1.16, -0.58),
            (1.18, -0.32),
            (0.8, -0.22),
            (0.56, 0.12),
            (0.16, 0.02),
        ),
    )
    pen.front("edge", smooth((0.3, -0.84), (0.46, -0.8), (0.5, -0.4), (0.36, -0.06), (0.16, -0.2), (0.16, -0.6)))
    pen.front("ink", ellipse(1.16, -0.52, 0.12, 0.11))
    pen.front("white", disc(0.72, -0.6, 0.12))
    pen.front("ink", disc(0.74, -0.59, 0.07))
    pen.front("ink", stroke(0.86, -0.33, 1.12, -0.33, 0.05))
    pen.front("gold", stroke(0.2, 0.06, 0.54, 0.16, 0.12))


def _fish(pen: Pen, vary: Vary) -> None:
    height, fin = vary(0.48, 0.62), vary(0.4, 0.55)
    pen.body(
        polygon((-0.5, 0.0), (-1.1, -fin), (-0.96, 0.0), (-1.1, fin)),
        smooth((-0.2, -height + 0.12), (0.0, -height - 0.26), (-0.5, -height - 0.1), (-0.42, -0.2)),
        polygon((0.1, height - 0.1), (-0.3, height + 0.24), (-0.2, height - 0.16)),
        smooth(
            (1.0, 0.0),
            (0.62, -height * 0.8),
            (0.08, -height),
            (-0.5, -height * 0.45),
            (-0.72, 0),
            (-0.5, height * 0.45),
            (0.08, height),
            (0.62, height * 0.8),
        ),
    )
    pen.front("edge", band(0.18, 0.0, 0.46, 0.07, -50, 50))
    pen.front("shade", polygon((0.2, 0.08), (-0.26, 0.02), (-0.2, 0.32)))
    pen.front("white", disc(0.66, -0.16, 0.15))
    pen.front("ink", disc(0.69, -0.15, 0.085))
    pen.front("edge", stroke(0.78, 0.2, 0.98, 0.12, 0.06))
    for y in (-0.22, 0.22):
        pen.front("shade", stroke(-0.92, y * fin * 2, -0.66, y * 0.3, 0.06))


def _bird(pen: Pen, vary: Vary) -> None:
    tail, wing = vary(-0.25, 0.1), vary(-10, 12)
    for x in (-0.12, 0.14):
        pen.back("ink", stroke(x, 0.5, x, 1.0, 0.07), stroke(x - 0.06, 0.97, x + 0.2, 0.97, 0.07))
    pen.back("gold", polygon((0.8, -0.58), (1.24, -0.42), (0.78, -0.26)))
    pen.body(
        polygon((-0.5, 0.1), (-1.16, tail - 0.14), (-1.22, tail + 0.12), (-0.5, 0.42)),
        smooth(
            (-0.72, 0.08),
            (-0.3, -0.2),
            (0.1, -0.24),
            (0.5, -0.4),
            (0.74, -0.1),
            (0.56, 0.42),
            (0.1, 0.66),
            (-0.42, 0.5),
        ),
        disc(0.5, -0.46, 0.42),
    )
    pen.front("light", ellipse(0.34, 0.24, 0.2, 0.28, 25))
    pen.front(
        "edge",
        turned(smooth((0.3, -0.06), (0.12, 0.3), (-0.3, 0.36), (-0.8, 0.32), (-0.4, 0.04), (0.0, -0.18)), wing),
    )
    pen.front(
        "shade",
        turned(smooth((0.2, -0.02), (0.06, 0.23), (-0.3, 0.28), (-0.62, 0.28), (-0.3, 0.06), (0.0, -0.1)), wing),
    )
    pen.front("white", disc(0.6, -0.54, 0.13))
    pen.front("ink", disc(0.63, -0.53, 0.08))


def _tree(pen: Pen, vary: Vary) -> None:
    width = vary(0.13, 0.18)
    pen.back("wood", polygon((-width, 0.1), (width, 0.1), (width * 1.5, 1.1), (-width * 1.5, 1.1)))
    if vary(0, 1) < 0.4:  # a conifer: three tiers
        wide = vary(0.62, 0.76)
        tiers = ((0.62, wide, -0.02), (0.2, wide * 0.82, -0.42), (-0.24, wide * 0.62, -1.1))
        pen.body(
            *(
                polygon((-half, low), (half, low), (0.16 if top > -1 else 0, top), (-0.16 if top > -1 else 0, top))
                for low, half, top in tiers
            )
        )
        pen.front(
            "shade",
            *(
                polygon((half * 0.9, low - 0.06), (half * 0.15, low - 0.06), (half * 0.3, low - 0.28))
                for low, half, _ in tiers
            ),
        )
        return
    wide = vary(0.44, 0.54)
    pen.back("wood", stroke(0, 0.5, 0.3, 0.1, 0.12))
    pen.body(
        disc(-wide, -0.12, 0.42),
        disc(wide, -0.12, 0.42),
        disc(-0.3, -0.6, 0.42),
        disc(0.3, -0.62, 0.42),
        ellipse(0, -0.2, 0.6, 0.5),
    )
    pen.front("shade", band(-wide, -0.12, 0.3, 0.09, 30, 140), band(wide, -0.12, 0.3, 0.09, 40, 150))
    pen.front("light", band(-0.28, -0.62, 0.3, 0.1, 190, 290))


def _flower(pen: Pen, vary: Vary) -> None:
    n_petals, long = int(vary(5, 7.99)), vary(0.3, 0.36)
    bend = vary(-0.12, 0.12)
    pen.back("leaf", polygon((-0.05, -0.3), (0.05, -0.3), (0.06 + bend, 1.1), (-0.06 + bend, 1.1)))
    pen.back("leaf", smooth((bend, 1.0), (0.2 + bend, 0.6), (0.56, 0.42), (0.44, 0.8)))
    pen.back("leaf", smooth((bend, 1.02), (-0.24 + bend, 0.72), (-0.52, 0.62), (-0.36, 0.9)))
    turn = vary(0, 72)
    wide = 1.5 / n_petals
    petals = [turned(ellipse(0.4, 0, long, wide), turn + 360 * index / n_petals) for index in range(n_petals)]
    pen.body(*(moved(petal, 0, -0.38) for petal in petals))
    pen.front("edge", disc(0, -0.38, 0.26))
    pen.front("centre", disc(0, -0.38, 0.2))


def _house(pen: Pen, vary: Vary) -> None:
    wall, eaves, chimney = vary(0.7, 0.8), vary(0.92, 1.02), vary(0.3, 0.5)
    roof = vary(-1.0, -0.86)
    pen.back("brick", rectangle(chimney, roof - 0.06, chimney + 0.22, -0.2))
    pen.body(rectangle(-wall, -0.2, wall, 0.95))
    pen.front("edge", polygon((-eaves, -0.1), (0, roof), (eaves, -0.1)))
    pen.front("shade", polygon((-eaves + 0.2, -0.17), (0, roof + 0.12), (eaves - 0.2, -0.17)))
    door = vary(-0.1, 0.1)
    pen.front("edge", rectangle(door - 0.19, 0.34, door + 0.19, 0.95))
    pen.front("wood", rectangle(door - 0.14, 0.4, door + 0.14, 0.95))
    for x in (-wall + 0.1, wall - 0.4):
        pen.front("white", rectangle(x, 0.08, x + 0.3, 0.42))
        pen.front("glass", rectangle(x + 0.04, 0.12, x + 0.26, 0.38))
        pen.front("white", rectangle(x + 0.13, 0.08, x + 0.17, 0.42), rectangle(x, 0.23, x + 0.3, 0.27))


def _car(pen: Pen, vary: Vary) -> None:
    front, roof, back = vary(0.4, 0.58), vary(-0.62, -0.5), vary(-0.86, -0.7)
    pen.body(
        polygon(
            (back, -0.02),
            (back + 0.24, roof),
            (front - 0.3, roof),
            (front, -0.02),
            (front - 0.1, 0.1),
            (back + 0.1, 0.1),
        ),
        smooth(
            (-1.08, 0.0),
            (-0.6, -0.1),
            (0.3, -0.1),
            (0.9, -0.02),
            (1.1, 0.16),
            (1.08, 0.42),
            (0.5, 0.46),
            (-0.5, 0.46),
            (-1.08, 0.42),
        ),
    )
    middle = (back + front) / 2 - 0.05
    pen.front(
        "glass",
        polygon((back + 0.16, -0.04), (back + 0.3, roof + 0.1), (middle - 0.05, roof + 0.1), (middle - 0.05, -0.04)),
    )
    pen.front(
        "glass",
        polygon((middle + 0.05, -0.04), (middle + 0.05, roof + 0.1), (front - 0.34, roof + 0.1), (front - 0.14, -0.04)),
    )
    pen.front("gold", ellipse(1.0, 0.16, 0.09, 0.1))
    pen.front("brick", rectangle(-1.08, 0.08, -0.98, 0.24))
    pen.front("edge", stroke(middle, 0.0, middle, 0.38, 0.04))
    wheel = vary(0.26, 0.32)
    for x in (-0.58, 0.58):
        pen.front("ink", disc(x, 0.46, wheel))
        pen.front("metal", disc(x, 0.46, wheel * 0.5))


def _boat(pen: Pen, vary: Vary) -> None:
    mast, bow = vary(-0.06, 0.1), vary(0.9, 1.08)
    pen.back("wood", stroke(mast, 0.4, mast, -1.12, 0.09))
    pen.body(polygon((-0.96, 0.36), (bow, 0.36), (bow - 0.4, 0.92), (-0.66, 0.92)))
    pen.body(polygon((mast + 0.1, -1.0), (0.9 + mast, 0.2), (mast + 0.1, 0.2)))
    pen.front("edge", polygon((mast - 0.1, -0.82), (mast - 0.1, 0.2), (-0.76, 0.2)))
    pen.front("white", polygon((mast - 0.15, -0.62), (mast - 0.15, 0.15), (-0.64, 0.15)))
    pen.front("white", polygon((-0.84, 0.5), (bow - 0.13, 0.5), (bow - 0.2, 0.6), (-0.79, 0.6)))


def _star(pen: Pen, vary: Vary) -> None:
    pen.body(rays(5, vary(0.42, 0.5), 1.0), edge=0.07)
    pen.front("light", turned(rays(5, 0.2, 0.42), vary(-4, 4)))


def _cup(pen: Pen, vary: Vary) -> None:
    wide, foot = vary(0.62, 0.72), vary(0.44, 0.6)
    grip = vary(0.34, 0.42)
    handle = wide - 0.1
    for ink, radius, width in (("edge", grip, 0.24), ("body", grip - 0.06, 0.12)):
        pen.back(ink, band(handle, 0.12, radius, width, -90, 90))
    pen.body(np.concatenate([sector(0, 0.78, foot, 0, 180, 0.3), polygon((-wide, -0.6), (wide, -0.6))]))
    pen.front("edge", ellipse(0, -0.6, wide, 0.2))
    pen.front("white", ellipse(0, -0.6, wide - 0.07, 0.14))
    pen.front("drink", ellipse(0, -0.56, wide - 0.16, 0.09))
    pen.front("light", polygon((-wide + 0.16, -0.3), (-wide + 0.26, -0.28), (-foot + 0.18, 0.6), (-foot + 0.12, 0.56)))


def _hat(pen: Pen, vary: Vary) -> None:
    if vary(0, 1) < 0.5:  # a top hat
        top, waist = vary(0.52, 0.62), vary(0.46, 0.54)
        crown = polygon((-top, -0.72), (top, -0.72), (waist, 0.5), (-waist, 0.5))
        pen.body(ellipse(0, 0.5, 1.08, 0.24), crown, edge=0.07)
        pen.front("edge", ellipse(0, -0.72, top, 0.14))
        pen.front("light", ellipse(0, -0.72, top - 0.06, 0.09))
        pen.front("ink", polygon((-waist - 0.02, 0.18), (waist + 0.02, 0.18), (waist, 0.46), (-waist, 0.46)))
        return
    high, waist = vary(-0.66, -0.5), vary(0.5, 0.6)  # a sun hat
    crown = smooth(
        (-waist, 0.42),
        (-waist + 0.06, -0.2),
        (-0.26, high),
        (0, high + 0.08),
        (0.26, high),
        (waist - 0.06, -0.2),
        (waist, 0.42),
        (0, 0.5),
    )
    pen.body(smooth((-1.14, 0.42), (-0.6, 0.3), (0.6, 0.3), (1.14, 0.42), (0.66, 0.68), (-0.66, 0.68)), crown)
    pen.front(
        "ink", smooth((-waist, 0.14), (0, 0.24), (waist, 0.14), (waist + 0.02, 0.4), (0, 0.5), (-waist - 0.02, 0.4))
    )


def _key(pen: Pen, vary: Vary) -> None:
    bow, tooth = vary(0.36, 0.42), vary(0.26, 0.34)
    ends = 2.2 - bow
    pen.body(
        rectangle(-1.1 + 2 * bow - 0.08, -0.11, -1.1 + ends, 0.11),
        rectangle(-1.1 + ends - 0.2, 0.0, -1.1 + ends, tooth + 0.12),
        rectangle(-1.1 + ends - 0.56, 0.0, -1.1 + ends - 0.38, tooth),
        edge=0.045,
    )
    pen.hoop(-1.1 + bow, 0, bow, bow * 0.58)


def _umbrella(pen: Pen, vary: Vary) -> None:
    half, high = 1.0, vary(0.76, 0.9)
    pen.back("ink", stroke(0, -0.98, 0, 0.76, 0.09), band(-0.18, 0.74, 0.225, 0.09, 0, 180))
    rim = [(half, 0.02), (0.34, 0.02), (-0.34, 0.02), (-half, 0.02)]
    dome = sector(0, 0.02, half, 180, 360, high)
    pen.body(np.concatenate([dome, np.array(scallops(rim, 0.12)[1:-1])]))
    for x in (-0.34, 0.34):
        pen.front("edge", stroke(x, -0.02, 0, 0.06 - high, 0.06))
    pen.front("light", polygon((-0.8, -0.2), (-0.56, -0.48), (-0.46, -0.42), (-0.66, -0.14)))


_DRAWINGS: dict[str, Callable[[Pen, Vary], None]] = {
    "apple": _apple,
    "ball": _ball,
    "cat": _cat,
    "dog": _dog,
    "fish": _fish,
    "bird": _bird,
    "tree": _tree,
    "flower": _flower,
    "house": _house,
    "car": _car,
    "boat": _boat,
    "star": _star,
    "cup": _cup,
    "hat": _hat,
    "key": _key,
    "umbrella": _umbrella,
}
# The most a thing is turned either way, in degrees: what stands on its own foot leans less.
LEAN: dict[str, float] = dict.fromkeys(_DRAWINGS, 20.0) | {"house": 10.0, "tree": 12.0, "car": 14.0}
