"""Drawings of what people make, and a star."""

from __future__ import annotations

import numpy as np

from sensorium.data.world.pen import (
    Pen,
    Vary,
    band,
    disc,
    ellipse,
    polygon,
    rays,
    rectangle,
    scallops,
    sector,
    smooth,
    stroke,
    turned,
)


def ball(pen: Pen, vary: Vary) -> None:
    """A beach ball: three white slices."""
    pen.body(disc(0, 0, 1))
    x, y, start = vary(-0.3, 0.3), vary(-0.4, -0.2), vary(0, 60)
    for index in range(3):
        slice_ = sector(0, 0, 0.94, start + 120 * index, start + 120 * index + vary(52, 62))
        pen.front("white", np.concatenate([[(x, y)], slice_]))
    pen.front("edge", disc(x, y, 0.2))
    pen.front("white", disc(x, y, 0.13))


def house(pen: Pen, vary: Vary) -> None:
    """A front with a door, two windows and a chimney."""
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


def car(pen: Pen, vary: Vary) -> None:
    """A saloon from the side."""
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


def boat(pen: Pen, vary: Vary) -> None:
    """A sailing boat."""
    mast, bow = vary(-0.06, 0.1), vary(0.9, 1.08)
    pen.back("wood", stroke(mast, 0.4, mast, -1.12, 0.09))
    pen.body(polygon((-0.96, 0.36), (bow, 0.36), (bow - 0.4, 0.92), (-0.66, 0.92)))
    pen.body(polygon((mast + 0.1, -1.0), (0.9 + mast, 0.2), (mast + 0.1, 0.2)))
    pen.front("edge", polygon((mast - 0.1, -0.82), (mast - 0.1, 0.2), (-0.76, 0.2)))
    pen.front("white", polygon((mast - 0.15, -0.62), (mast - 0.15, 0.15), (-0.64, 0.15)))
    pen.front("white", polygon((-0.84, 0.5), (bow - 0.13, 0.5), (bow - 0.2, 0.6), (-0.79, 0.6)))


def star(pen: Pen, vary: Vary) -> None:
    """Five points."""
    pen.body(rays(5, vary(0.42, 0.5), 1.0), edge=0.07)
    pen.front("light", turned(rays(5, 0.2, 0.42), vary(-4, 4)))


def cup(pen: Pen, vary: Vary) -> None:
    """A mug of something hot."""
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


def hat(pen: Pen, vary: Vary) -> None:
    """A top hat or a sun hat."""
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


def key(pen: Pen, vary: Vary) -> None:
    """A key with two teeth; one sees through its bow."""
    bow, tooth = vary(0.44, 0.5), vary(0.34, 0.42)
    left, right = -1.0 + 2 * bow - 0.1, 1.0
    pen.body(
        rectangle(left, -0.15, right, 0.15),
        rectangle(right - 0.24, 0.0, right, tooth + 0.14),
        rectangle(right - 0.64, 0.0, right - 0.42, tooth),
        edge=0.05,
    )
    pen.hoop(-1.0 + bow, 0, bow, bow * 0.6)


def umbrella(pen: Pen, vary: Vary) -> None:
    """Open, with a crook."""
    half, high = 1.0, vary(0.76, 0.9)
    pen.back("ink", stroke(0, -0.98, 0, 0.76, 0.09), band(-0.18, 0.74, 0.225, 0.09, 0, 180))
    rim = [(half, 0.02), (0.34, 0.02), (-0.34, 0.02), (-half, 0.02)]
    dome = sector(0, 0.02, half, 180, 360, high)
    pen.body(np.concatenate([dome, np.array(scallops(rim, 0.12)[1:-1])]))
    for x in (-0.34, 0.34):
        pen.front("edge", stroke(x, -0.02, 0, 0.06 - high, 0.06))
    pen.front("light", polygon((-0.8, -0.2), (-0.56, -0.48), (-0.46, -0.42), (-0.66, -0.14)))
