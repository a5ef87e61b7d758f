"""What is in a picture, exactly: drawn from a generator, before any pixel is.

A scene is plain data. Things never overlap, and their boxes are the bounds of what `render` draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sensorium.data.world import handwriting, sprites
from sensorium.data.world.splits import check_split, pairs, side
from sensorium.data.world.things import (
    BACKGROUNDS,
    COLOURS,
    GROUNDS,
    KINDS,
    MAX_COUNT,
    MAX_DIGITS,
    PLACES,
    SIZES,
    TEXTURES,
    THEMES,
    TIMES,
    WEATHERS,
)
from sensorium.errors import ConfigError

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in 0..1 of the picture's width and height

HORIZON = 0.44  # the tops of things under a sky stay below it
STEADY_SHAPE = 0  # the shape seed of things that always look alike
_EDGE = 0.02  # between a thing and the picture's edge
_GAP = 0.03  # between two things
_TRIES = 40
_COUNT_SHARES = (0.34, 0.24, 0.18, 0.12, 0.12)  # of groups of one, two, ... things


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing in a picture: `box` is exactly what is drawn, `rotation` is in degrees, clockwise."""

    kind: str
    colour: str
    size: str
    box: Box
    rotation: float
    texture: str
    shape_seed: int

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box: x, y in 0..1."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2

    @property
    def place(self) -> str:
        """In which ninth of the picture the centre lies, one of `PLACES`."""
        return PLACES[3 * self.third(1) + self.third(0)]

    def third(self, axis: int) -> int:
        """In which third of the picture's width (axis 0) or height (1) the centre lies: 0, 1 or 2."""
        return min(int(self.centre[axis] * 3), 2)


@dataclass(frozen=True, slots=True)
class Group:
    """Some equal things: how many, and what they share. None leaves the choice to `draw_scene`."""

    count: int
    colour: str
    kind: str
    size: str | None = None
    texture: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a picture shows: things, or a sky, or both, or handwritten digits from left to right.

    `writing` numbers the handwriting of each digit; `seed` draws what has no name: clouds, drops, the paper's grain.
    """

    things: tuple[Thing, ...]
    weather: str | None
    time: str | None
    digits: tuple[int, ...]
    background: str
    seed: int
    writing: tuple[int, ...] = ()

    def groups(self) -> tuple[Group, ...]:
        """The things counted: equal kind, colour, size and texture make a group, in the order of their first thing."""
        found = Counter((thing.colour, thing.kind, thing.size, thing.texture) for thing in self.things)
        return tuple(Group(count, *shared) for shared, count in found.items())

    def facts(self) -> dict[str, Any]:
        """The whole truth as plain data for JSON."""
        return asdict(self)


def combination(scene: Scene) -> str:
    """What a scene shows, as one key: equal for two scenes of the same content, wherever their things stand."""
    counts = Counter(f"{thing.colour} {thing.kind}" for thing in scene.things)
    words = [f"{count} {what}" for what, count in sorted(counts.items())]
    if scene.weather is not None:
        words.append(f"{scene.weather} {scene.time}")
    if scene.digits:
        words.append("".join(str(digit) for digit in scene.digits))
    return ", ".join(words)


def draw_scene(
    rng: np.random.Generator,
    *,
    split: str,
    theme: str = "things",
    groups: Sequence[Group] | None = None,
    weather: str | None = None,
    time: str | None = None,
    digits: Sequence[int] | None = None,
) -> Scene:
    """A scene of the split, drawn from the generator; what is given is kept, the rest is drawn.

    Args:
        rng: the only source of chance.
        split: "train" or "validation"; every colour and kind, handwriting and seed drawn is on its side.
        theme: "things" on paper, a "sky" over empty ground, "mixed" (both), or "digits".
        groups: the things that must be there; at most nine, fewer when large.
        weather: for a sky; None draws it.
        time: for a sky; None draws it.
        digits: one to three, for the theme "digits".

    Raises:
        ConfigError: an unknown name, an unfit theme, a group held out from the split, or too many things to fit.
    """
    check_split(split)
    _check_theme(theme, groups, weather, time, digits)
    seed = draw_seed(rng, split)
    if theme == "digits":
        return _draw_digits(rng, split, seed, digits)
    has_sky = theme in ("sky", "mixed")
    wanted: Sequence[Group] = ()
    if theme != "sky":
        wanted = _draw_groups(rng, split, 3 if has_sky else 6) if groups is None else groups
        _check_groups(wanted, split)
    return Scene(
        things=place_things(rng, wanted, top=HORIZON if has_sky else 0.0),
        weather=weather or _pick(rng, WEATHERS) if has_sky else None,
        time=time or _pick(rng, TIMES) if has_sky else None,
        digits=(),
        background=_pick(rng, tuple(GROUNDS if has_sky else BACKGROUNDS)),
        seed=seed,
    )


def draw_seed(rng: np.random.Generator, split: str) -> int:
    """A seed for a scene of the split: another sky never shows again what this split drew."""
    while True:
        seed = int(rng.integers(2**31))
        if side(f"scene {seed}") == split:
            return seed


def place_things(
    rng: np.random.Generator,
    groups: Sequence[Group],
    *,
    beside: Sequence[Thing] = (),
    top: float = 0.0,
) -> tuple[Thing, ...]:
    """New things for the groups, overlapping neither each other nor those they stand beside.

    Args:
        rng: the only source of chance.
        groups: what to place; those that leave their size open become small where large ones would not fit.
        beside: things that are already there; they are not returned.
        top: nothing is placed above this share of the height.

    Raises:
        ConfigError: they do not fit.
    """
    total = sum(group.count for group in groups) + len(beside)
    for attempt in range(_TRIES):
        sizes = [group.size or _draw_size(rng, total, attempt) for group in groups]
        things = _try_to_place(rng, groups, sizes, beside, top, tight=attempt / _TRIES)
        if things is not None:
            return things
    raise ConfigError(f"no room for {total} things without overlap: give fewer, or small ones")


def _try_to_place(
    rng: np.random.Generator,
    groups: Sequence[Group],
    sizes: Sequence[str],
    beside: Sequence[Thing],
    top: float,
    tight: float,
) -> tuple[Thing, ...] | None:
    """The things where there was room for all, or None; the tighter (0..1), the smaller and the closer together."""
    boxes = [thing.box for thing in beside]
    placed: dict[int, list[Thing]] = {}
    # The large ones first: small ones find room between them.
    for index in sorted(range(len(groups)), key=lambda index: sizes[index]):
        placed[index] = []
        for _ in range(groups[index].count):
            thing = _placed(rng, groups[index], sizes[index], boxes, top, tight)
            if thing is None:
                return None
            boxes.append(thing.box)
            placed[index].append(thing)
        if groups[index].texture is None:
            texture = _pick(rng, TEXTURES)
            placed[index] = [replace(thing, texture=texture) for thing in placed[index]]
    return tuple(thing for index in range(len(groups)) for thing in placed[index])


def _placed(
    rng: np.random.Generator, group: Group, size: str, taken: Sequence[Box], top: float, tight: float
) -> Thing | None:
    shape_seed = int(rng.integers(sprites.N_SHAPES))
    rotation = round((2 * rng.random() - 1) * sprites.LEAN[group.kind], 2)
    low, high = SIZES[size]
    longer = low + (high - low) * rng.random() * (1 - tight)
    width, height = sprites.proportions(group.kind, shape_seed, rotation)
    box = _free_box(rng, width * longer, height * longer, taken, top, packed=tight > 0.2)
    if box is None:
        return None
    return Thing(group.kind, group.colour, size, box, rotation, group.texture or "plain", shape_seed)


def _free_box(
    rng: np.random.Generator, width: float, height: float, taken: Sequence[Box], top: float, packed: bool
) -> Box | None:
    room_x, room_y = 1 - 2 * _EDGE - width, 1 - 2 * _EDGE - top - height
    places = rng.random((_TRIES, 2)).tolist()
    for x, y in sorted(places) if packed else places:  # from the left when room is scarce
        x0, y0 = _EDGE + x * room_x, _EDGE + top + y * room_y
        box = (x0, y0, x0 + width, y0 + height)
        if all(apart(box, other) for other in taken):
            return box
    return None


def apart(a: Box, b: Box) -> bool:
    """Whether there is a gap between two boxes, wide enough to tell two things from one."""
    return a[2] + _GAP <= b[0] or b[2] + _GAP <= a[0] or a[3] + _GAP <= b[1] or b[3] + _GAP <= a[1]


def _draw_size(rng: np.random.Generator, total: int, attempt: int) -> str:
    return "large" if total <= 4 and attempt < _TRIES // 2 and rng.random() < 0.5 else "small"


def _draw_groups(rng: np.random.Generator, split: str, most: int) -> tuple[Group, ...]:
    """One to three groups of different colour or kind, at most `most` things together."""
    n_groups = int(rng.choice(3, p=(0.4, 0.35, 0.25))) + 1
    choice = pairs(split)
    groups: list[Group] = []
    for index in rng.choice(len(choice), n_groups, replace=False).tolist():
        left = most - sum(group.count for group in groups) - (n_groups - len(groups) - 1)
        count = 1 + int(rng.choice(MAX_COUNT, p=_COUNT_SHARES))
        groups.append(Group(min(count, left), *choice[index]))
    return tuple(groups)


def _draw_digits(rng: np.random.Generator, split: str, seed: int, digits: Sequence[int] | None) -> Scene:
    if digits is None:
        digits = rng.integers(10, size=1 + int(rng.integers(MAX_DIGITS))).tolist()
    choices = [handwriting.samples(split, digit) for digit in digits]
    return Scene(
        things=(),
        weather=None,
        time=None,
        digits=tuple(digits),
        background=_pick(rng, tuple(BACKGROUNDS)),
        seed=seed,
        writing=tuple(choice[int(rng.integers(len(choice)))] for choice in choices),
    )


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _check_theme(
    theme: str,
    groups: Sequence[Group] | None,
    weather: str | None,
    time: str | None,
    digits: Sequence[int] | None,
) -> None:
    _check_name("theme", theme, THEMES)
    if weather is not None:
        _check_name("weather", weather, WEATHERS)
    if time is not None:
        _check_name("time", time, TIMES)
    if theme not in ("things", "mixed") and groups is not None:
        raise ConfigError(f"groups do not go with theme {theme!r}: give theme 'things' or 'mixed'")
    if theme not in ("sky", "mixed") and (weather or time):
        raise ConfigError(f"weather and time do not go with theme {theme!r}: give theme 'sky' or 'mixed'")
    if digits is not None and (theme != "digits" or not 1 <= len(digits) <= MAX_DIGITS):
        raise ConfigError(f"{len(digits)} digits with theme {theme!r}: give 1 to {MAX_DIGITS}, with theme 'digits'")


def _check_groups(groups: Sequence[Group], split: str) -> None:
    for group in groups:
        _check_name("kind", group.kind, KINDS)
        _check_name("colour", group.colour, tuple(COLOURS))
        if group.size is not None:
            _check_name("size", group.size, tuple(SIZES))
        if group.texture is not None:
            _check_name("texture", group.texture, TEXTURES)
        if not 1 <= group.count <= MAX_COUNT:
            raise ConfigError(f"a group of {group.count} things: give 1 to {MAX_COUNT}")
        if (group.colour, group.kind) not in pairs(split):
            raise ConfigError(
                f"{group.colour} {group.kind} is held out from split {split!r}: choose among pairs({split!r})"
            )


def _check_name(what: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ConfigError(f"{what} is {name!r}: give one of {', '.join(names)}")
