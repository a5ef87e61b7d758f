"""Where things may stand in a picture of the generated world, and what they and its sky look like as numbers.

Classical vision on pictures of 64x64: what differs from the empty scene falls into regions, those of a stricter level
lying within those of a laxer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sensorium.data.world.render import render
from sensorium.data.world.scene import HORIZON, Box, Scene
from sensorium.data.world.things import GROUNDS

Floats = NDArray[np.float32]
Sky = tuple[str, str]  # weather, time
Pixel = TypeVar("Pixel", np.bool_, np.int64)

SIDE = 64  # of the square that pictures are read at
# How far from the empty scene, of 255, and whether what is too thin is left out first: the lax levels keep the parts of
# a thing together, the strict ones keep neighbours apart.
_LEVELS = ((14, False), (20, False), (32, False), (32, True), (48, True), (68, True), (92, True))
_LONGER = (9, 32)  # pixels of a region that may be a thing
_GRID = 16  # a region is seen as so many cells squared
_SHADES = 6  # of red, green and blue in a histogram
_SKY = int(0.95 * HORIZON * SIDE)  # rows that are sky for sure
_GROUND = int(0.6 * SIDE)  # rows from here on are ground for sure
_FALLING = ("rain", "snow", "storm")  # the weathers with drops or flakes before the ground
_N_EMPTY = 7  # empty scenes that a backdrop is the median of: clouds, drops and flakes vanish


@dataclass(frozen=True, slots=True)
class Region:
    """Neighbouring pixels that differ from the empty scene; `parent` is the laxer region around it, if any."""

    mask: NDArray[np.bool_]  # (SIDE, SIDE)
    top: int
    left: int
    bottom: int
    right: int
    parent: int | None

    @property
    def box(self) -> Box:
        """The bounds: x0, y0, x1, y1 in 0..1."""
        return self.left / SIDE, self.top / SIDE, self.right / SIDE, self.bottom / SIDE


def strangeness(picture: Floats, sky: Sky | None) -> Floats:
    """How far each pixel is from the empty scene: (SIDE, SIDE), about 0..255.

    Nothing is strange in the sky itself, nor what may be the empty scene seen through a drop or a flake.
    """
    apart = picture - _backdrop(picture, sky)
    strange = _strength(apart)
    if sky is not None and sky[0] in _FALLING:
        to_drop = picture - apart - _drop(sky)
        share = (apart * -to_drop).sum(axis=2) / np.maximum(np.square(to_drop).sum(axis=2), 1)
        strange = np.minimum(strange, _strength(apart + np.clip(share, 0, 1)[:, :, None] * to_drop))
    if sky is not None:
        strange[:_SKY] = 0
    return strange


def _strength(apart: Floats) -> Floats:
    """How strong a difference of colours is: in red, green or blue, or of one of them against another."""
    hues = apart - np.roll(apart, 1, axis=2)
    strength: Floats = np.maximum(_largest(np.abs(apart)), _largest(np.abs(hues)))
    return strength


def regions(strange: Floats) -> list[Region]:
    """The regions of every level that a thing would fit, parents before their children."""
    opened = _opened(strange)
    labels = _labelled(np.stack([(opened if thick else strange) > level for level, thick in _LEVELS]))
    found: list[Region] = []
    numbers: dict[int, int] = {}  # label: the region's place in the list
    for level, plane in enumerate(labels):
        inside: dict[int, int] = {}
        for label, size in zip(*np.unique(plane[plane >= 0], return_counts=True), strict=True):
            if size < _LONGER[0]:
                continue
            mask = plane == label
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
            if not _LONGER[0] <= max(bottom - top, right - left) <= _LONGER[1]:
                continue
            around = int(labels[level - 1].flat[int(label) % plane.size]) if level else -1
            inside[int(label)] = len(found)
            found.append(Region(mask, top, left, bottom, right, numbers.get(around)))
        numbers = inside
    return found


def shape_features(picture: Floats, strange: Floats, region: Region) -> Floats:
    """A region on a square grid: its outline, and how much lighter and how different each cell is from its median.

    The colour itself is left out, so that shapes of any colour are alike.
    """
    rows = slice(max(region.top - 1, 0), region.bottom + 1)
    columns = slice(max(region.left - 1, 0), region.right + 1)
    mask = region.mask[rows, columns]
    outline = np.where(_grown(mask), np.minimum(strange[rows, columns] / 60, 1), 0)
    contrast = picture[rows, columns] - np.median(picture[region.mask], axis=0)
    light = contrast @ np.array([0.3, 0.59, 0.11], dtype=np.float32)
    planes = np.stack([outline, outline * light / 128, outline * _largest(np.abs(contrast)) / 128])
    height, width = region.bottom - region.top + 2, region.right - region.left + 2
    side = max(height, width)
    down = _cells((region.top + region.bottom) / 2, side)[:, rows]
    across = _cells((region.left + region.right) / 2, side)[:, columns]
    grid = down @ np.clip(planes, -1, 1) @ across.T  # (3, _GRID, _GRID)
    features: Floats = np.concatenate([grid.ravel(), [side / 32, height / side, width / side]]).astype(np.float32)
    return features


def colour_features(picture: Floats, region: Region) -> Floats:
    """The histogram of a region's colours."""
    return _histogram(picture[region.mask])


def sky_features(picture: Floats) -> Floats:
    """The histogram of where the sky would be, and the colour of every fourth row of the whole."""
    rows = np.median(picture, axis=1).reshape(-1, 4, 3).mean(axis=1) / 510
    features: Floats = np.concatenate([_histogram(picture[:_SKY].reshape(-1, 3)), rows.ravel()]).astype(np.float32)
    return features


def _backdrop(picture: Floats, sky: Sky | None) -> Floats:
    """The empty scene: paper has the colour of the rim, where nothing lies; a sky has the ground that fits best."""
    if sky is None:
        rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        return np.broadcast_to(np.median(rim, axis=0), picture.shape)
    fits: list[tuple[float, Floats]] = []
    for empty in _empty_scenes(sky):
        shift = np.clip(np.median((picture - empty)[_GROUND:], axis=(0, 1)), -24, 24)
        misfit = np.minimum(np.abs(picture - empty - shift)[_SKY:], 60).mean()
        fits.append((float(misfit), empty + shift))
    return min(fits, key=lambda fit: fit[0])[1]


@cache
def _empty_scenes(sky: Sky) -> tuple[Floats, ...]:
    """One picture for each ground, without its clouds, drops and flakes."""
    return tuple(np.median(each, axis=0) for each in _rendered(sky))


@cache
def _drop(sky: Sky) -> Floats:
    """The colour of what falls from a sky: where a scene differs most from its backdrop."""
    apart = np.stack([each - np.median(each, axis=0) for each in _rendered(sky)])[:, :, _GROUND:].reshape(-1, 3)
    pictures = np.stack(_rendered(sky))[:, :, _GROUND:].reshape(-1, 3)
    drop: Floats = pictures[np.square(apart).sum(axis=1).argmax()]
    return drop


def _rendered(sky: Sky) -> list[Floats]:
    return [
        np.array([render(Scene((), *sky, (), ground, seed), SIDE) for seed in range(_N_EMPTY)], dtype=np.float32)
        for ground in GROUNDS
    ]


def _labelled(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(level, SIDE, SIDE): the largest index of each pixel's connected component, -1 outside."""
    labels = np.where(masks, np.arange(masks.size).reshape(masks.shape), -1)
    while True:
        grown = np.where(masks, _grown(labels), -1)
        jumped = np.where(masks, grown.ravel()[grown], -1)  # a label is an index: its pixel may know a larger one
        if np.array_equal(jumped, labels):
            return labels
        labels = jumped


def _opened(strange: Floats) -> Floats:
    """Without what is too thin to hold a square of 2x2 pixels: the morphological opening."""
    low = np.minimum(strange[1:], strange[:-1])
    low = np.pad(np.minimum(low[:, 1:], low[:, :-1]), 1)
    high = np.maximum(low[1:], low[:-1])
    opened: Floats = np.maximum(high[:, 1:], high[:, :-1])
    return opened


def _grown(image: NDArray[Pixel]) -> NDArray[Pixel]:
    """The largest of each pixel and its eight neighbours."""
    for axis in (-2, -1):
        near = image.copy()
        here, there = [slice(None)] * image.ndim, [slice(None)] * image.ndim
        here[axis], there[axis] = slice(1, None), slice(None, -1)
        near[tuple(here)] = np.maximum(near[tuple(here)], image[tuple(there)])
        near[tuple(there)] = np.maximum(near[tuple(there)], image[tuple(here)])
        image = near
    return image


def _largest(values: Floats) -> Floats:
    """The largest of the three colours of each pixel; faster than `max` over so short an axis."""
    largest: Floats = np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])
    return largest


def _cells(centre: float, side: float) -> Floats:
    """(_GRID, SIDE): how much each pixel of a line counts in each cell of a stretch of that centre and length."""
    step = side / _GRID
    middles = centre - side / 2 + (np.arange(_GRID) + 0.5) * step
    weights = np.maximum(1 - np.abs(np.arange(SIDE) + 0.5 - middles[:, None]) / max(step, 1), 0)
    cells: Floats = (weights / max(step, 1)).astype(np.float32)
    return cells


def _histogram(colours: Floats) -> Floats:
    """The root of the share of each shade of (n, 3) colours, each spread over its neighbours: (_SHADES ** 3,)."""
    near = np.maximum(1 - np.abs(colours[:, :, None] * ((_SHADES - 1) / 255) - np.arange(_SHADES)), 0)
    red_green = (near[:, 0, :, None] * near[:, 1, None, :]).reshape(len(colours), -1)
    histogram: Floats = np.sqrt((red_green.T @ near[:, 2]).ravel() / len(colours)).astype(np.float32)
    return histogram
