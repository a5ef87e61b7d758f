"""Pictures to change: what stays keeps its place, and a sketch says last what is new or gone.

Facts of `edit` and `edit_freely`: those of a caption of the picture after, `edit` (the sort of change) and `before`
(those of the picture before).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from sensorium.data.world.hand import in_own_hand, one_more
from sensorium.data.world.scene import Group, Scene
from sensorium.data.world.splits import pairs
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.captions import scene_facts
from sensorium.data.world.talk.making import asked_and_drawn
from sensorium.data.world.talk.places import sketch, thing_sketch
from sensorium.data.world.talk.questions import single_things
from sensorium.data.world.talk.setting import REQUESTS, Maker, Phrases, Setting, shown
from sensorium.data.world.talk.types import Language, Seen, Talk, Turn
from sensorium.data.world.things import COLOURS, TIMES, WEATHERS

RECOLOUR = Phrases(
    en=(
        "make the {thing} {colour}.",
        "paint the {thing} {colour}.",
        "turn the {thing} {colour}.",
        "colour the {thing} {colour}.",
    ),
    zh=("把{thing}变成{colour}。", "把{thing}涂成{colour}。", "让{thing}变成{colour}。", "把{thing}改成{colour}。"),
    openings=REQUESTS,
)
REMOVE = Phrases(
    en=("remove the {thing}.", "take away the {thing}.", "delete the {thing}.", "take the {thing} out of the picture."),
    zh=("去掉{thing}。", "拿走{thing}。", "删除{thing}。", "把{thing}从图里去掉。"),
    openings=REQUESTS,
)
REMOVE_ONE = Phrases(
    en=("remove one {thing}.", "take away one {thing}.", "delete one {thing}.", "take one {thing} out of the picture."),
    zh=("去掉{one}。", "拿走{one}。", "删除{one}。", "从图里去掉{one}。"),
    openings=REQUESTS,
)
ADD = Phrases(
    en=(
        "add {what}.",
        "put {what} into the picture.",
        "draw {what} too.",
        "put {what} in too.",
        "paint {what} as well.",
        "let there be {what} too.",
    ),
    zh=(
        "加上{what}。",
        "再画{what}。",
        "在图里放{what}。",
        "再加{what}。",
        "添上{what}。",
        "在画里加{what}。",
        "多画{what}。",
    ),
    openings=REQUESTS,
)
RESKY = Phrases(
    en=("make it {what}.", "change it into {what}.", "turn it into {what}.", "let it be {what}."),
    zh=("变成{what}。", "改成{what}。", "让它变成{what}。", "换成{what}。"),
    openings=REQUESTS,
)
_WHEN = {"day": "by day", "night": "at night"}  # what English puts for {when}
RETIME = Phrases(
    en=("make it {time}.", "change it to {time}.", "turn it to {time}.", "let it be {time}.", "show it {when}."),
    zh=("变成{time}。", "改成{time}。", "让它变成{time}。", "换成{time}。", "画成{time}。"),
    openings=REQUESTS,
)
SAME_PLACE = Phrases(
    en=("the same place {when}.", "the same picture {when}.", "this place {when}.", "the same view {when}."),
    zh=(
        "同一个地方，{time}。",
        "同样的地方，{time}。",
        "这个地方的{time}。",
        "同一幅画，{time}。",
        "同一个地方的{time}。",
    ),
    openings={
        "en": ("{}", "Now {}", "Please show {}", "Now show me {}", "Paint {}", "Draw {}", "And {}", "Show me {}"),
        "zh": ("{}", "现在画{}", "请画{}", "给我看{}", "画{}", "再画{}"),
    },
)
REWEATHER = Phrases(
    en=(
        "change the weather to {weather}.",
        "make the weather {weather}.",
        "turn the weather to {weather}.",
        "let the weather be {weather}.",
    ),
    zh=("把天气变成{weather}。", "把天气改成{weather}。", "让天气变成{weather}。", "天气换成{weather}。"),
    openings=REQUESTS,
)


def edit(setting: Setting, *, kind: str = "edit", freely: bool = False) -> Talk:
    """A picture, of any style or drawn by the assistant, a change to make, and the picture after it.

    Args:
        setting: the chance.
        kind: the name of the talk.
        freely: whether what is added may have any colour, what changes is known by its colour among others of its kind,
            and what goes is one of several, or all that are alike.
    """
    edits = _FREE_EDITS if freely else _EDITS
    sort = setting.pick(tuple(edits))
    own = setting.chance(0.6)
    while True:
        if sort == "sky" and setting.chance(0.3):
            before = setting.scene("sky")
        else:
            theme = "mixed" if sort == "sky" or setting.chance(0.3) else "things"
            before = setting.scene(theme, edits[sort].groups(setting))
        if own:
            before = in_own_hand(before, setting.rng)
        changed = edits[sort].change(setting, before)
        if changed is not None:
            break
    text, after = changed
    asked: tuple[Turn, ...]
    if own and setting.chance(0.5):
        asked = (*asked_and_drawn(setting, before), Turn("user", (text,)))
    else:
        asked = (Turn("user", setting.arranged(*shown(before, text))),)
    answer = Turn("assistant", (_change(before, after, setting.language), Seen(after)))
    return Talk(
        kind, setting.language, (*asked, answer), {"edit": sort, "before": scene_facts(before), **scene_facts(after)}
    )


def _change(before: Scene, after: Scene, language: Language) -> str:
    """A sketch of what stays, and last what is new or gone; of all that is there under another sky."""
    stays = [thing for thing in after.things if thing in before.things]
    changes = [thing_sketch(thing, language) for thing in after.things if thing not in stays]
    if not changes:
        changes = [thing_sketch(thing, language, gone=True) for thing in before.things if thing not in stays]
    return sketch(replace(after, things=tuple(stays)), language, *changes)


def _few(setting: Setting) -> list[Group]:
    return [Group(1, *pair, size="small") for pair in setting.pairs(1 + setting.dice.randrange(2))]


def _of_one_kind(setting: Setting) -> list[Group]:
    """Two things of one kind, in different colours where the split has it in two; of two kinds where it has not."""
    _, kind = setting.pick(pairs(setting.split))
    alike = [Group(1, colour, each, size="small") for colour, each in pairs(setting.split) if each == kind]
    return setting.dice.sample(alike, 2) if len(alike) > 1 else _few(setting)


def _some_alike(setting: Setting) -> list[Group]:
    """Two equal things, at times with another, or two of one kind."""
    if setting.chance(0.5):
        return _of_one_kind(setting)
    (one, *others) = setting.pairs(1 + setting.chance(0.6))
    return [Group(2, *one, size="small"), *(Group(1, *other, size="small") for other in others)]


def _recolour(setting: Setting, scene: Scene, *, by_colour: bool = False) -> tuple[str, Scene] | None:
    thing = setting.pick(scene.things if by_colour else single_things(scene))
    colours = [colour for colour in COLOURS if colour != thing.colour]
    if setting.split == "train":
        colours = [colour for colour in colours if (colour, thing.kind) in pairs("train")]
    colour = setting.pick(colours)
    things = tuple(replace(other, colour=colour) if other is thing else other for other in scene.things)
    name = lexicon.coloured(thing.colour if by_colour else "", thing.kind, setting.language)
    text = setting.say(RECOLOUR, thing=name, colour=lexicon.colour_word(colour, setting.language))
    return text, replace(scene, things=things)


def _remove(setting: Setting, scene: Scene) -> tuple[str, Scene] | None:
    if len(scene.things) < 2:
        return None
    thing = setting.pick(single_things(scene))
    left = tuple(other for other in scene.things if other is not thing)
    return setting.say(REMOVE, thing=lexicon.noun(thing.kind, setting.language)), replace(scene, things=left)


def _remove_alike(setting: Setting, scene: Scene) -> tuple[str, Scene] | None:
    """All things of a colour and kind, or the last of them, counted from the left."""
    if len(scene.things) < 2:
        return None
    language, thing = setting.language, setting.pick(scene.things)
    pair = (thing.colour, thing.kind)
    alike = sorted((other for other in scene.things if (other.colour, other.kind) == pair), key=lambda each: each.box)
    if len(alike) > 1 and (len(alike) == len(scene.things) or setting.chance(0.6)):
        gone = alike[-1:]
        one = lexicon.counted(1, *pair, language)
        text = setting.say(REMOVE_ONE, thing=lexicon.coloured(*pair, language), one=one)
    else:
        gone = alike
        text = setting.say(REMOVE, thing=lexicon.coloured(*pair, language, len(alike)))
    return text, replace(scene, things=tuple(other for other in scene.things if other not in gone))


def _add(setting: Setting, scene: Scene, *, open_colour: bool = False) -> tuple[str, Scene] | None:
    (pair,) = setting.pairs(1)
    if any(thing.kind == pair[1] for thing in scene.things):
        return None
    after = one_more(scene, *pair)
    if after is None:
        return None
    colour, kind = pair
    return setting.say(ADD, what=lexicon.counted(1, "" if open_colour else colour, kind, setting.language)), after


def _resky(setting: Setting, scene: Scene) -> tuple[str, Scene] | None:
    """Another weather at another time, or one of the two alone."""
    if scene.weather is None or scene.time is None:
        return None
    language = setting.language
    weather, time = setting.pick(WEATHERS), setting.pick(TIMES)
    if setting.chance(0.5):
        text = setting.say(RESKY, what=lexicon.caption((), weather, time, language))
    elif setting.chance(0.6):
        weather = scene.weather
        phrases = setting.pick((RETIME, SAME_PLACE))
        text = setting.say(phrases, time=lexicon.time_word(time, language), when=_WHEN[time])
    else:
        time = scene.time
        text = setting.say(REWEATHER, weather=lexicon.weather_word(weather, language))
    if (weather, time) == (scene.weather, scene.time):
        return None
    return text, replace(scene, weather=weather, time=time)


class _Edit(NamedTuple):
    """A sort of change: what is there before it, and what is asked for and comes of it; None where it cannot be."""

    groups: Callable[[Setting], list[Group]]
    change: Callable[[Setting, Scene], tuple[str, Scene] | None]


_EDITS = {
    "colour": _Edit(_few, _recolour),
    "remove": _Edit(_few, _remove),
    "add": _Edit(_few, _add),
    "sky": _Edit(_few, _resky),
}
_FREE_EDITS = {
    "colour": _Edit(_of_one_kind, partial(_recolour, by_colour=True)),
    "remove": _Edit(_some_alike, _remove_alike),
    "add": _Edit(_few, partial(_add, open_colour=True)),
}
EDITED: dict[str, Maker] = {"edit": edit, "edit_freely": partial(edit, kind="edit_freely", freely=True)}
