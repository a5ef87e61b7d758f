"""What is in a picture of the generated world, read by classical vision: a judge that shares nothing with any model.

Regions that differ from the empty scene are compared with things that the world's own renderer drew, by kernel ridge
regression (Saunders et al., 1998). It is fitted at the first reading, in seconds, to the same drawings every time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sensorium.data.world.render import render
from sensorium.data.world.scene import Box, Group, Scene, draw_scene
from sensorium.data.world.splits import pairs
from sensorium.data.world.talk import lexicon
from sensorium.data.world.things import COLOURS, KINDS, PLACES, TIMES, WEATHERS
from sensorium.errors import DataError
from sensorium.evaluation.picture_shapes import (
    SIDE,
    Floats,
    Region,
    Sky,
    colour_features,
    regions,
    shape_features,
    sky_features,
    strangeness,
)
from sensorium.evaluation.world_metrics import overlap

Name = TypeVar("Name", str, tuple[str, str])

_MIN_SIDE = 16
_COLOURS = tuple(COLOURS)
_SKIES: tuple[Sky | None, ...] = (None, *((weather, time) for weather in WEATHERS for time in TIMES))
_NO_THING = len(KINDS)  # the class of regions that are a part of a thing, two things at once, or drops of rain
_LENIENCE = 0.2  # what stands out is a thing, even an ill-drawn one, unless it looks rather like none
_N_SCENES = 600
_SKIPPED = 0.6  # of their regions: those of neighbouring levels are much the same
_WHOLE, _PART = 0.72, 0.6  # a region is a thing from this IoU on, and none below that


@dataclass(frozen=True, slots=True)
class ReadThing:
    """A thing that was found: `box` is x0, y0, x1, y1 in 0..1 of the picture's width and height."""

    kind: str
    colour: str
    box: Box

    @property
    def place(self) -> str:
        """In which ninth of the picture the middle of the box lies, one of `PLACES`."""
        x0, y0, x1, y1 = self.box
        return PLACES[3 * min(int((y0 + y1) * 1.5), 2) + min(int((x0 + x1) * 1.5), 2)]


@dataclass(frozen=True, slots=True)
class PictureReading:
    """All that was found in a picture; `weather` and `time` are None on paper."""

    things: tuple[ReadThing, ...]
    weather: str | None
    time: str | None


def read_picture(pixels: NDArray[np.uint8]) -> PictureReading:
    """What is in a picture.

    Args:
        pixels: (height, width, 3) uint8, RGB, of any size from 16x16; it is read at 64x64, the size it is fitted to.

    Raises:
        DataError: another shape or type.
    """
    picture = _as_read(pixels)
    judges = _fitted()
    sky = _SKIES[int(judges.skies.scores([sky_features(picture)])[0].argmax())]
    weather, time = sky or (None, None)
    strange = strangeness(picture, sky)
    found = regions(strange)
    if not found:
        return PictureReading((), weather, time)
    scores = judges.kinds.scores([shape_features(picture, strange, region) for region in found])
    things = []
    for index in _chosen(found, scores[:, :_NO_THING].max(axis=1) - scores[:, _NO_THING] + _LENIENCE):
        region = found[index]
        colour = int(judges.colours.scores([colour_features(picture, region)])[0].argmax())
        things.append(ReadThing(KINDS[int(scores[index, :_NO_THING].argmax())], _COLOURS[colour], region.box))
    return PictureReading(tuple(things), weather, time)


def picture_score(reading: PictureReading, facts: Mapping[str, Any]) -> dict[str, float]:
    """How much of what was asked for is in the picture, each 0..1.

    Args:
        reading: what was found.
        facts: `things` ([count, colour, kind], ...), `weather`, `time` (None on paper), and, where asked for,
            `places` ([place, colour, kind], ...), each of one thing.

    Returns:
        Of what the facts hold: `count` (as many things as asked), `colour`, `kind` and `thing` (a colour and kind
        together): the shared ones among those asked or found, whichever are more; `place` (the share of the places
        that hold their thing), `weather`, `time`. Always: `share`, the mean of these; `f1`, as `attribute_f1` has it;
        and `right`, 1 where things, weather and time are all as asked and nothing else is there.
    """
    asked: Counter[tuple[str, str]] = Counter()
    for count, colour, kind in facts.get("things") or ():
        asked[colour, kind] += count
    found = Counter((thing.colour, thing.kind) for thing in reading.things)
    scores: dict[str, float] = {}
    if asked:
        scores["count"] = float(found.total() == asked.total())
        scores["colour"] = _shared(_by(found, 0), _by(asked, 0))
        scores["kind"] = _shared(_by(found, 1), _by(asked, 1))
        scores["thing"] = _shared(found, asked)
    if facts.get("places"):
        there = Counter((thing.place, thing.colour, thing.kind) for thing in reading.things)
        places = Counter((place, colour, kind) for place, colour, kind in facts["places"])
        scores["place"] = (there & places).total() / places.total()
    sky = {"weather": reading.weather, "time": reading.time}
    scores |= {name: float(value == facts[name]) for name, value in sky.items() if facts.get(name)}
    right = float(found == asked and all(value == facts.get(name) for name, value in sky.items()))
    share = sum(scores.values()) / len(scores) if scores else right
    return scores | {"share": share, "f1": _f1(found, sky, facts), "right": right}


def _by(things: Counter[tuple[str, str]], part: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for thing, count in things.items():
        counts[thing[part]] += count
    return counts


def _shared(found: Counter[Name], asked: Counter[Name]) -> float:
    return (found & asked).total() / max(found.total(), asked.total())


def _f1(found: Counter[tuple[str, str]], sky: Mapping[str, str | None], facts: Mapping[str, Any]) -> float:
    things = [(count, colour, kind) for (colour, kind), count in found.items()]
    read, true = lexicon.truth({"things": things, **sky}), lexicon.truth(facts)
    return 2 * len(read & true) / (len(read) + len(true)) if read or true else 1.0


def _as_read(pixels: NDArray[np.uint8]) -> Floats:
    """The picture as (SIDE, SIDE, 3), 0..255."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise DataError(f"a picture of shape {pixels.shape} and type {pixels.dtype}: give (height, width, 3) of uint8")
    if min(pixels.shape[:2]) < _MIN_SIDE:
        raise DataError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels: give sides of {_MIN_SIDE} or more")
    if pixels.shape[:2] != (SIDE, SIDE):
        pixels = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return pixels.astype(np.float32)


def _chosen(found: list[Region], values: Floats) -> list[int]:
    """The regions to take for things: of nested ones either the outer or those within, whichever are worth more."""
    best = [0.0] * len(found)
    taken: list[list[int]] = [[] for _ in found]
    chosen: list[int] = []
    for index in reversed(range(len(found))):  # children come after their parents
        if values[index] > best[index]:
            best[index], taken[index] = float(values[index]), [index]
        parent = found[index].parent
        if parent is None:
            chosen += taken[index]
        else:
            best[parent] += best[index]
            taken[parent] += taken[index]
    return sorted(chosen)


class _Lessons:
    """Examples to fit a judge to: the features of each, and its class."""

    def __init__(self) -> None:
        self.features: list[Floats] = []
        self.classes: list[int] = []

    def add(self, features: Floats, class_: int) -> None:
        self.features.append(features)
        self.classes.append(class_)


class _Judge:
    """Kernel ridge regression of classes on features, with a Gaussian kernel as wide as the examples lie apart."""

    def __init__(self, lessons: _Lessons, n_classes: int, ridge: float = 0.05) -> None:
        self._examples = np.array(lessons.features)  # (n, feature)
        apart = _apart(self._examples, self._examples)
        self._width = float(np.median(apart))
        kernel = np.exp(-apart / self._width) + ridge * np.eye(len(apart), dtype=np.float32)
        self._weights = np.linalg.solve(kernel, np.eye(n_classes, dtype=np.float32)[lessons.classes])  # (n, class)

    def scores(self, features: list[Floats]) -> Floats:
        """(n, class): about 1 for the class of each, about 0 for the others."""
        scores: Floats = np.exp(-_apart(np.array(features), self._examples) / self._width) @ self._weights
        return scores


def _apart(some: Floats, others: Floats) -> Floats:
    """(n, m): the squared distances between rows."""
    squares = np.square(some).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    apart: Floats = np.maximum(squares - 2 * some @ others.T, 0)
    return apart


@dataclass(frozen=True, slots=True)
class _Judges:
    kinds: _Judge
    colours: _Judge
    skies: _Judge


@cache
def _fitted() -> _Judges:
    """The judges of all that a picture shows, fitted to scenes of both splits: a judge may know every pair."""
    kinds, colours, skies = _Lessons(), _Lessons(), _Lessons()
    for index in range(_N_SCENES):
        rng = np.random.default_rng((97, index))
        scene = _scene(rng, index)
        picture = _worn(render(scene, SIDE), rng)
        sky = None if scene.weather is None or scene.time is None else (scene.weather, scene.time)
        skies.add(sky_features(picture), _SKIES.index(sky))
        strange = strangeness(picture, sky)
        for region in regions(strange):
            if rng.random() < _SKIPPED:
                continue
            near, thing = max(
                ((overlap(region.box, thing.box), thing) for thing in scene.things),
                key=lambda pair: pair[0],
                default=(0.0, None),
            )
            if thing is not None and near >= _WHOLE:
                kinds.add(shape_features(picture, strange, region), KINDS.index(thing.kind))
                colours.add(colour_features(picture, region), _COLOURS.index(thing.colour))
            elif near < _PART:
                kinds.add(shape_features(picture, strange, region), _NO_THING)
    return _Judges(_Judge(kinds, len(KINDS) + 1), _Judge(colours, len(COLOURS)), _Judge(skies, len(_SKIES)))


def _scene(rng: np.random.Generator, index: int) -> Scene:
    """Things of all colours and kinds, each by itself, on paper or below a sky, and at times a sky alone."""
    split = "validation" if index % 8 == 0 else "train"
    theme = ("things", "mixed", "things", "mixed", "sky")[index % 5]
    if theme == "sky":
        return draw_scene(rng, split=split, theme=theme)
    n_things = int(rng.integers(3, 7)) if theme == "things" else int(rng.integers(2, 4))
    choice = pairs(split)
    groups = [Group(1, *choice[at]) for at in rng.choice(len(choice), n_things, replace=False)]
    return draw_scene(rng, split=split, theme=theme, groups=groups)


def _worn(pixels: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
    """A picture as it is, or as one that went through a lossy codec: blurred, or coarser, and noisy."""
    wear = int(rng.integers(3))
    if wear == 0:
        return pixels.astype(np.float32)
    image = Image.fromarray(pixels)
    if wear == 1:
        image = image.filter(ImageFilter.GaussianBlur(0.3 + 0.9 * rng.random()))
    else:
        coarse = int(rng.integers(SIDE // 2, SIDE - 8))
        image = image.resize((coarse, coarse), Image.Resampling.BILINEAR)
        image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 3, pixels.shape)
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.float32)
