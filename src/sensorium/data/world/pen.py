"""Outlines as arrays of points, and the pen that makes a shape of them.

A shape lives on a plane of its own, about -1..1 each way, y downward; `sprites` turns it and fits it into a box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, radians, sin

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (n, 2): x, y
Vary = Callable[[float, float], float]  # a number between two, drawn from the shape's seed

_EDGE = 0.06  # how wide the dark rim around the body is


@dataclass(frozen=True, slots=True)
class Patch:
    """One filled polygon of a shape: which ink, and which of the shape's points, from start up to stop."""

    ink: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Shape:
    """A drawing in order: first what lies behind, then the body (which takes the texture), then the details.

    `points` is (n, 2); those of the texture come last and are no part of the outline.
    """

    points: Points
    n_outline: int
    back: tuple[Patch, ...]
    body: tuple[Patch, ...]
    front: tuple[Patch, ...]
    stripes: tuple[Patch, ...]
    dots: tuple[Patch, ...]


class Pen:
    """Collects polygons behind, in and before the body, and closes them into a `Shape`."""

    def __init__(self) -> None:
        self._back: list[tuple[str, Points]] = []
        self._edges: list[tuple[str, Points]] = []
        self._bodies: list[tuple[str, Points]] = []
        self._front: list[tuple[str, Points]] = []

    def back(self, ink: str, *outlines: Points) -> None:
        """Fill outlines that lie behind the body."""
        self._back += [(ink, outline) for outline in outlines]

    def body(self, *outlines: Points, edge: float = _EDGE) -> None:
        """Fill outlines in the thing's colour, with a darker rim around all of them together."""
        for outline in outlines:
            self._edges.append(("edge", outline))
            self._bodies.append(("body", inset(outline, edge)))

    def hoop(self, x: float, y: float, radius: float, width: float) -> None:
        """A ring of the body, of that outer radius and width; what is behind shows through."""
        self._edges.append(("edge", ring(x, y, radius, width)))
        self._bodies.append(("body", ring(x, y, radius - _EDGE, width - 2 * _EDGE)))

    def front(self, ink: str, *outlines: Points) -> None:
        """Fill outlines that lie before the body."""
        self._front += [(ink, outline) for outline in outlines]

    def shape(self, mirrored: bool, stretch: float) -> Shape:
        """All of it as one shape: mirrored or not, its width multiplied by `stretch`."""
        scale = np.array([-stretch if mirrored else stretch, 1.0])
        drawn = [self._back, [*self._edges, *self._bodies], self._front]
        points: list[Points] = []
        counted = 0
        layers: list[tuple[Patch, ...]] = []
        for layer in [*drawn, _stripes(), _dots()]:
            patches = []
            for ink, outline in layer:
                points.append(outline)
                patches.append(Patch(ink, counted, counted + len(outline)))
                counted += len(outline)
            layers.append(tuple(patches))
        n_outline = sum(len(outline) for layer in drawn for _, outline in layer)
        return Shape(np.concatenate(points) * scale, n_outline, *layers)


def polygon(*corners: tuple[float, float]) -> Points:
    """The corners as an outline."""
    return np.array(corners, dtype=np.float64)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Points:
    """An upright rectangle."""
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def ellipse(x: float, y: float, radius_x: float, radius_y: float, turn: float = 0.0) -> Points:
    """An ellipse about (x, y), turned by that many degrees."""
    steps = 28 if max(radius_x, radius_y) > 0.3 else 12
    angles = np.arange(steps) * (2 * pi / steps)
    flat = np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], axis=1)
    return moved(turned(flat, turn), x, y)


def disc(x: float, y: float, radius: float) -> Points:
    """A circle about (x, y)."""
    return ellipse(x, y, radius, radius)


def sector(x: float, y: float, radius: float, start: float, end: float, squash: float = 1.0) -> Points:
    """The arc of a circle from one angle to another (degrees, clockwise from the right), closed by a straight line."""
    angles = np.radians(np.linspace(start, end, 16))
    return np.stack([x + radius * np.cos(angles), y + radius * squash * np.sin(angles)], axis=1)


def band(x: float, y: float, radius: float, width: float, start: float, end: float) -> Points:
    """A part of a ring: outer radius, width, and the angles it runs between, in degrees."""
    angles = np.radians(np.linspace(start, end, 16 if abs(end - start) < 270 else 28))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return moved(np.concatenate([circle * radius, circle[::-1] * (radius - width)]), x, y)


def ring(x: float, y: float, radius: float, width: float) -> Points:
    """A whole ring, as one outline that goes around outside and back inside."""
    return band(x, y, radius, width, 0, 360)


def stroke(x0: float, y0: float, x1: float, y1: float, width: float) -> Points:
    """A straight stroke of that width."""
    along = np.array([x1 - x0, y1 - y0])
    across = np.array([-along[1], along[0]]) * (width / 2 / float(np.hypot(*along)))
    start, end = np.array([x0, y0]), np.array([x1, y1])
    return np.stack([start + across, end + across, end - across, start - across])


def smooth(*corners: tuple[float, float]) -> Points:
    """A closed curve through the corners (Catmull-Rom), six points to each."""
    knots = np.array(corners)
    before, after, beyond = (np.roll(knots, shift, axis=0) for shift in (1, -1, -2))
    t = (np.arange(6) / 6)[None, :, None]  # (1, step, 1)
    a, b, c, d = (part[:, None, :] for part in (before, knots, after, beyond))  # (knot, 1, 2)
    curve = b + (c - a) * t / 2 + (a - 2.5 * b + 2 * c - d / 2) * t**2 + (1.5 * (b - c) + (d - a) / 2) * t**3
    points: Points = curve.reshape(-1, 2)
    return points


def rays(n: int, inner: float, outer: float, turn: float = -90.0) -> Points:
    """A star about the origin with n points."""
    angles = np.radians(turn) + np.arange(2 * n) * (pi / n)
    radii = np.where(np.arange(2 * n) % 2 == 0, outer, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def turned(points: Points, degrees: float) -> Points:
    """The points turned clockwise about the origin."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    turn: Points = points @ np.array([[c, s], [-s, c]])
    return turn


def moved(points: Points, x: float, y: float) -> Points:
    """The points moved by (x, y)."""
    there: Points = points + np.array([x, y])
    return there


def inset(outline: Points, by: float) -> Points:
    """The outline moved inward by that much, corners kept (mitred, within reason)."""
    ahead = np.roll(outline, -1, axis=0) - outline
    ahead = ahead / np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-9)[:, None]
    behind = np.roll(ahead, 1, axis=0)
    normals = np.stack([-(ahead + behind)[:, 1], (ahead + behind)[:, 0]], axis=1)
    normals = normals / np.maximum(np.square(normals).sum(1) / 2, 0.15)[:, None]
    x, y = outline[:, 0], outline[:, 1]
    clockwise = float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) > 0
    inner: Points = outline + normals * (by if clockwise else -by)
    return inner


def scallops(corners: Sequence[tuple[float, float]], depth: float) -> list[tuple[float, float]]:
    """A line of points from corner to corner, hollowed upward by `depth` between each two."""
    points: list[tuple[float, float]] = []
    for (x0, y0), (x1, y1) in pairwise(corners):
        for t in (0.0, 0.2, 0.4, 0.6, 0.8):
            points.append((x0 + (x1 - x0) * t, y0 + (y1 - y0) * t - depth * 4 * t * (1 - t)))
    return [*points, corners[-1]]


def _stripes() -> list[tuple[str, Points]]:
    return [("texture", stroke(x - 0.45, 1.5, x + 0.45, -1.5, 0.2)) for x in np.arange(-1.5, 1.6, 0.5)]


def _dots() -> list[tuple[str, Points]]:
    return [
        ("texture", disc(0.46 * column + (0.23 if row % 2 else 0.0), 0.4 * row, 0.13))
        for row in range(-2, 3)
        for column in range(-3, 3)
    ]
