"""Where things are, in location tokens: a box `key 1<loc03><loc10><loc20><loc31>`, or a point `key 1<loc12><loc30>`.

A token names one of 64 bins of the picture's width or height. Several boxes stand from left to right, the sky's last;
in `detect` how many they are comes first, `two: key 1<loc…>; key 2<loc…>`, and those of one kind are numbered, as they
are in a `survey`: each has a name of its own.

`ground` names all that a picture shows, more fully than `detect`: things with their colours, each handwritten digit,
and the sky as a whole: `red apple<loc03><loc10><loc20><loc31>; rainy night<loc00><loc00><loc63><loc63>`.

`outline` boxes all things by their bare kinds. A `sketch` says what is to be drawn and where, the sky first; in
`look` a picture is answered with the sketch that it could be drawn by. A `survey` is what one finds who goes over a
picture from left to right before being asked about it, each box in front of what stands there, and once more behind
its name.

Facts of `detect`, `ground` and `outline`: `boxes` (a list of [name, x0, y0, x1, y1] in 0..1),
`answer`. Of `look` and `survey`: `answer`. Of `point`: `kind`, `point` ([x, y]), `box` ([x0, y0, x1, y1]), `answer`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from sensorium.data.world.hand import in_own_hand
from sensorium.data.world.render import digit_boxes
from sensorium.data.world.scene import Box, Scene, Thing
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.questions import absent_pair, single_things
from sensorium.data.world.talk.setting import REQUESTS, Phrases, Setting, shown
from sensorium.data.world.talk.types import LANGUAGES, Language, Talk
from sensorium.data.world.talk.words import NOUNS

BINS = 64
_MOST = 5  # boxes in an answer
_MOST_OF_A_KIND = 20  # that are read by their numbers
_NONE = {"en": "none", "zh": "没有"}

DETECT = Phrases(
    en=(
        "detect the {things}.",
        "find the {things}.",
        "locate the {things}.",
        "draw boxes around the {things}.",
        "put a box around each of the {things}.",
        "mark the {things} with boxes.",
        "give the boxes of the {things}.",
        "find all the {things} in the picture.",
        "box the {things}.",
        "show with boxes where the {things} are.",
    ),
    zh=(
        "检测{things}。",
        "找出{things}。",
        "定位{things}。",
        "框出{things}。",
        "把{things}框出来。",
        "用方框标出{things}。",
        "给出{things}的方框。",
        "找出图里所有的{things}。",
        "把所有{things}都框出来。",
        "用方框指出{things}在哪里。",
    ),
    openings=REQUESTS,
)
EVERYTHING = {"en": "things", "zh": "东西"}
POINT = Phrases(
    en=(
        "point to the {thing}.",
        "point at the {thing}.",
        "show me the {thing} with a point.",
        "put a point on the {thing}.",
        "mark the {thing} with a point.",
        "give a point on the {thing}.",
        "click on the {thing}.",
        "touch the {thing}.",
        "tap on the {thing}.",
        "set a point in the middle of the {thing}.",
    ),
    zh=(
        "指出{thing}。",
        "指一下{thing}。",
        "用一个点标出{thing}。",
        "在{thing}上点一下。",
        "点一下{thing}。",
        "给出{thing}上的一个点。",
        "点击{thing}。",
        "碰一下{thing}。",
        "用点指出{thing}。",
        "在{thing}中间放一个点。",
    ),
    openings=REQUESTS,
)
GROUND = Phrases(
    en=(
        "name everything with its box.",
        "say what is where, with boxes.",
        "box and name all that you see.",
        "give every thing its name and its box.",
        "name and locate all that is in the picture.",
    ),
    zh=(
        "说出所有内容和它们的方框。",
        "用方框说明什么在哪里。",
        "把看到的都框出来并说出名字。",
        "给出每样东西的名字和方框。",
        "说出并定位图里的一切。",
    ),
    openings=REQUESTS,
)
LOOK = Phrases(
    en=(
        "sketch this picture in words.",
        "say how this picture is laid out.",
        "write down the layout of this picture.",
        "give a sketch of this picture in words.",
        "lay out this picture in words.",
    ),
    zh=(
        "用文字给这张图打草稿。",
        "说说这张图的布局。",
        "写下这张图的布局。",
        "给出这张图的文字草稿。",
        "用文字描出这张图的布局。",
    ),
    openings=REQUESTS,
)
SURVEY = Phrases(
    en=(
        "go over this picture from left to right.",
        "look over this picture.",
        "list what is where in this picture.",
        "survey this picture.",
        "go through this picture, one thing at a time.",
    ),
    zh=(
        "从左到右看一遍这张图。",
        "把这张图看一遍。",
        "列出这张图里什么在哪里。",
        "逐个看看这张图里的东西。",
        "一样一样地看这张图。",
    ),
    openings=REQUESTS,
)
_GONE: dict[Language, str] = {"en": "no ", "zh": "没有"}
_WITH: dict[Language, str] = {"en": ":", "zh": "："}
_SPACE: dict[Language, str] = {"en": " ", "zh": ""}
_BOX = re.compile(r"([^;<>]+?)" + r"<loc(\d\d)>" * 4)
_POINT = re.compile(r"([^;<>]+?)" + r"<loc(\d\d)>" * 2 + "(?!<loc)")


def location(value: float) -> str:
    """The token of a share of the width or height: `<loc00>` to `<loc63>`."""
    return f"<loc{min(max(int(value * BINS), 0), BINS - 1):02d}>"


def boxes_phrase(found: Sequence[Thing], scene: Scene, language: Language) -> str:
    """How many boxes there are, and each from left to right, by its kind and number; or the word for none.

    All are of the scene, and numbered as in its survey, so that names with their boxes can be copied from there.
    """
    boxes = [_boxed(name, thing.box) for thing, name in _names(scene, language) if thing in found]
    if not boxes:
        return _NONE[language]
    kinds = {thing.kind for thing in found}
    amount = lexicon.amount(len(boxes), language, kinds.pop() if len(kinds) == 1 else None)
    return amount + _WITH[language] + _SPACE[language] + "; ".join(boxes)


def _names(scene: Scene, language: Language) -> list[tuple[Thing, str]]:
    """All things from left to right, each with its kind and its number in that: "apple 2"."""
    counts: Counter[str] = Counter()
    named = []
    for thing in _from_the_left(scene.things):
        counts[thing.kind] += 1
        named.append((thing, _numbered(thing.kind, counts[thing.kind], language)))
    return named


def _from_the_left(things: Sequence[Thing]) -> list[Thing]:
    return sorted(things, key=lambda thing: thing.box)


def _boxed(name: str, box: Sequence[float]) -> str:
    """A name with its box, or its point."""
    return name + "".join(map(location, box))


def _numbered(kind: str, count: int, language: Language) -> str:
    """One of several of a kind: "apple 2", "苹果2"."""
    return lexicon.noun(kind, language) + _SPACE[language] + str(count)


def sketch(scene: Scene, language: Language, *changes: str) -> str:
    """What is to be drawn and where: the sky, what things stand on, and each thing with its box; last what changes.

    Things come as a caption names them, so that requests are followed word by word; equal ones from left to right.
    "rainy night, meadow: red boat<loc03><loc30><loc20><loc51> pink dog<loc40><loc31><loc60><loc48>".
    """
    ground = lexicon.background_word(scene.background, language)
    if scene.weather is not None and scene.time is not None:
        ground = lexicon.COMMA[language].join((lexicon.sky_phrase(scene.weather, scene.time, language), ground))
    things = [*(thing_sketch(thing, language) for thing in sorted(scene.things, key=_as_named)), *changes]
    between = _SPACE[language]
    return ground + (_WITH[language] + between + between.join(things) if things else "")


def _named_digits(scene: Scene) -> list[tuple[str, Box]]:
    return list(zip(map(str, scene.digits), digit_boxes(scene), strict=True)) if scene.digits else []


def _as_named(thing: Thing) -> tuple[int, Box]:
    return lexicon.rank(thing.colour, thing.kind), thing.box


def thing_sketch(thing: Thing, language: Language, *, gone: bool = False) -> str:
    """A thing by texture, colour and kind, with its box; or that it is there no more."""
    name = lexicon.coloured(thing.colour, thing.kind, language)
    if thing.texture != "plain":
        name = lexicon.texture_word(thing.texture, language) + _SPACE[language] + name
    return (_GONE[language] if gone else "") + _boxed(name, thing.box)


def read_boxes(text: str) -> list[tuple[str, float, float, float, float]]:
    """The boxes in an answer of either language: the kind (or else the word itself) and the middles of the bins."""
    boxes = []
    for name, *bins in _BOX.findall(text):
        x0, y0, x1, y1 = ((int(bin_) + 0.5) / BINS for bin_ in bins)
        boxes.append((_kind(name), x0, y0, x1, y1))
    return boxes


def read_points(text: str) -> list[tuple[str, float, float]]:
    """The points in an answer of either language, as `read_boxes` gives boxes."""
    points = []
    for name, *bins in _POINT.findall(text):
        x, y = ((int(bin_) + 0.5) / BINS for bin_ in bins)
        points.append((_kind(name), x, y))
    return points


def _kind(name: str) -> str:
    """The kind that a name stands for, be it numbered, or behind how many there are; else the name itself."""
    bare = re.split("[:：]", name)[-1].strip()
    return _KINDS.get(bare, bare)


_KINDS = {name: kind for kind, names in NOUNS.items() for name in names[:3]} | {
    _numbered(kind, count, language): kind
    for kind in NOUNS
    for language in LANGUAGES
    for count in range(1, _MOST_OF_A_KIND + 1)
}


def detect(setting: Setting) -> Talk:
    """A picture and a request for the boxes of a kind, of a colour and kind, or of everything."""
    scene = setting.scene("mixed" if setting.chance(0.15) else "things")
    language, present = setting.language, {(thing.colour, thing.kind) for thing in scene.things}
    thing = setting.pick(scene.things)
    way = setting.pick(("kind", "kind", "pair", "all", "none") if setting.chance(0.4) else ("kind", "pair", "all"))
    if way == "none":
        colour, kind = absent_pair(setting, present)
        names, found = lexicon.coloured(colour, kind, language, 2), []
    elif way == "pair":
        names = lexicon.coloured(thing.colour, thing.kind, language, 2)
        found = [other for other in scene.things if (other.colour, other.kind) == (thing.colour, thing.kind)]
    elif way == "all" and len(scene.things) <= _MOST:
        names, found = EVERYTHING[language], list(scene.things)
    else:
        names = lexicon.noun(thing.kind, language, 2)
        found = [other for other in scene.things if other.kind == thing.kind]
    answer = boxes_phrase(found, scene, language)
    pieces = setting.arranged(*shown(scene, setting.say(DETECT, things=names)))
    return setting.talk("detect", pieces, answer, {"boxes": _boxes(found), "answer": answer})


def ground(setting: Setting) -> Talk:
    """A picture and a request to name all that it shows, each with its box."""
    theme = setting.dice.choices(("things", "mixed", "sky", "digits"), (0.6, 0.2, 0.05, 0.15))[0]
    scene, language = setting.scene(theme), setting.language
    named = [(lexicon.coloured(thing.colour, thing.kind, language), thing.box) for thing in scene.things]
    named += _named_digits(scene)
    named.sort(key=lambda each: each[1])
    if scene.weather is not None and scene.time is not None:
        named.append((lexicon.sky_phrase(scene.weather, scene.time, language), (0.0, 0.0, 1.0, 1.0)))
    answer = "; ".join(_boxed(name, box) for name, box in named)
    facts = {"boxes": [[name, *box] for name, box in named], "answer": answer}
    return setting.talk("ground", setting.arranged(*shown(scene, setting.say(GROUND))), answer, facts)


def survey(scene: Scene, language: Language) -> str:
    """What a look over a picture finds: the sky, then each box from left to right with what is in it; and how many.

    A place is fixed before what stands there is named, which lets a model attend to it, and it counts as it goes: the
    how manieth of its name each thing is, and in which ninth of the picture. Then comes the box as `detect` answers it,
    behind its name, by which it is found again.
    "rainy night; <loc03><loc30><loc20><loc51>red boat one left, boat 1<loc03><loc30><loc20><loc51>; <loc40>…<loc48>red
    boat two right, boat 2<loc40>…<loc48> = two: two red boats".
    """
    counts: Counter[tuple[str, str]] = Counter()
    named = [(box, digit) for digit, box in _named_digits(scene)]
    for thing, name in _names(scene, language):
        counts[thing.colour, thing.kind] += 1
        told = (
            lexicon.coloured(thing.colour, thing.kind, language),
            lexicon.amount(counts[thing.colour, thing.kind], language, thing.kind),
            lexicon.place_word(thing.place, language),
        )
        named.append((thing.box, _SPACE[language].join(told) + lexicon.COMMA[language] + _boxed(name, thing.box)))
    listed = ["".join(map(location, box)) + words for box, words in sorted(named)]
    if scene.weather is not None and scene.time is not None:
        listed.insert(0, lexicon.sky_phrase(scene.weather, scene.time, language))
    if not scene.things:
        return "; ".join(listed) or _NONE[language]
    total = lexicon.amount(len(scene.things), language)
    return f"{'; '.join(listed)} = {total}: {lexicon.things_phrase(lexicon.contents(scene), language)}"


def look_over(setting: Setting) -> Talk:
    """A picture, of any style or the assistant's own, and a request to go over it."""
    scene = setting.scene(setting.dice.choices(("things", "mixed", "sky", "digits"), (0.6, 0.2, 0.05, 0.15))[0])
    if not scene.digits and setting.chance(0.2):
        scene = in_own_hand(scene, setting.rng)
    answer = survey(scene, setting.language)
    return setting.talk("survey", setting.arranged(*shown(scene, setting.say(SURVEY))), answer, {"answer": answer})


def look(setting: Setting) -> Talk:
    """A picture, of any style or the assistant's own, and a request for the sketch that would lead to it."""
    scene = setting.scene(setting.dice.choices(("things", "mixed", "sky"), (0.6, 0.3, 0.1))[0])
    if setting.chance(0.6):
        scene = in_own_hand(scene, setting.rng)
    answer = sketch(scene, setting.language)
    return setting.talk("look", setting.arranged(*shown(scene, setting.say(LOOK))), answer, {"answer": answer})


def outline(setting: Setting) -> Talk:
    """A picture of things and a request to box all of them by their kinds: right whatever becomes of the colours."""
    scene, language = setting.scene("things"), setting.language
    named = [_boxed(lexicon.noun(thing.kind, language), thing.box) for thing in _from_the_left(scene.things)]
    answer = "; ".join(named)
    pieces = setting.arranged(*shown(scene, setting.say(DETECT, things=EVERYTHING[language])))
    return setting.talk("outline", pieces, answer, {"boxes": _boxes(scene.things), "answer": answer})


def _boxes(things: Sequence[Thing]) -> list[list[object]]:
    """Kinds and boxes from left to right."""
    return [[thing.kind, *thing.box] for thing in _from_the_left(things)]


def point(setting: Setting) -> Talk:
    """A picture and a request to point to one thing."""
    n = 1 + setting.dice.randrange(3)
    theme = "mixed" if n < 3 and setting.chance(0.2) else "things"
    scene = setting.scene(theme, setting.groups(*(1,) * n))
    thing = setting.pick(single_things(scene))
    language = setting.language
    by_kind = setting.chance(0.5)
    name = lexicon.noun(thing.kind, language) if by_kind else lexicon.coloured(thing.colour, thing.kind, language)
    answer = _boxed(_numbered(thing.kind, 1, language), thing.centre)
    facts = {"kind": thing.kind, "point": list(thing.centre), "box": list(thing.box), "answer": answer}
    return setting.talk("point", setting.arranged(*shown(scene, setting.say(POINT, thing=name))), answer, facts)
