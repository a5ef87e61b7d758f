"""Drawings of what grows and lives."""

from __future__ import annotations

import numpy as np

from sensorium.data.world.pen import Pen, Vary, band, disc, ellipse, moved, polygon, rectangle, smooth, stroke, turned


def apple(pen: Pen, vary: Vary) -> None:
    """A dented round with a stem and a leaf."""
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


def cat(pen: Pen, vary: Vary) -> None:
    """Sitting, face on, its tail around the corner."""
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


def dog(pen: Pen, vary: Vary) -> None:
    """Standing, from the side, with a collar."""
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


def fish(pen: Pen, vary: Vary) -> None:
    """From the side."""
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


def bird(pen: Pen, vary: Vary) -> None:
    """Standing, from the side."""
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


def tree(pen: Pen, vary: Vary) -> None:
    """A round crown or a conifer."""
    width = vary(0.13, 0.18)
    pen.back("wood", polygon((-width, 0.1), (width, 0.1), (width * 1.5, 1.1), (-width * 1.5, 1.1)))
    if vary(0, 1) < 0.4:  # a conifer: three tiers
        wide = vary(0.62, 0.76)
        tiers = ((0.62, wide, -0.02), (0.2, wide * 0.82, -0.42), (-0.24, wide * 0.62, -1.04))
        pen.body(*(polygon((-half, low), (half, low), (0.12, top), (-0.12, top)) for low, half, top in tiers))
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


def flower(pen: Pen, vary: Vary) -> None:
    """Petals on a stem with two leaves."""
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
