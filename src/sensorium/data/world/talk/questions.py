"""Questions about a picture with short answers.

Those of `relation` and `more` say how it is before they say yes or no: who writes from left to right then decides one
thing at a time. "Is the cat left of the dog?" has the answer "cat right, dog top left: cat right of dog, asked left,
so no": where each is can be looked up, how they stand follows from two places, what was asked is a word of the
question, and yes or no follows from two words that stand close together. All others are a word or two.

Facts: `question` (the sort), `answer`. A question is only asked of a scene that answers it beyond doubt: "the apple"
is the only one, "left of" is left by a margin and in another third of the width, and no place that is asked for or told
is on the border of two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sensorium.data.world.scene import Group, Scene, Thing
from sensorium.data.world.splits import SPLITS, Pair, pairs
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk import phrasings as said
from sensorium.data.world.talk.setting import Setting, shown, speakable
from sensorium.data.world.talk.types import Language, Talk
from sensorium.data.world.things import KINDS, MAX_COUNT

_MARGIN = 0.15  # by how much of the picture's side one thing must be left of or above another
_ABSENT_WEIGHTS = (0.79, 0.2, 0.01)  # how often it is asked what there is more of where 0, 1, 2 of both are not there
_EQUAL_SHARE = 0.04  # and how often of two kinds that are there equally often, where that is met
_BORDER = 0.03  # how far from the border of two ninths a thing must be for its place to be asked or told

_RELATIONS = {  # axis of the centre, sign, words
    "left": (0, -1, {"en": "left of", "zh": "左边"}),
    "right": (0, 1, {"en": "right of", "zh": "右边"}),
    "above": (1, -1, {"en": "above", "zh": "上面"}),
    "below": (1, 1, {"en": "below", "zh": "下面"}),
}
_OPPOSITES = {"left": "right", "right": "left", "above": "below", "below": "above"}
_YES_NO = {"en": ("no", "yes"), "zh": ("不是", "是的")}
_SO = {"en": "{facts}, so {answer}", "zh": "{facts}，所以{answer}"}
_AT = {"en": "{thing} {place}", "zh": "{thing}在{place}"}
_STAND = {
    "en": "{places}: {one} {relation} {other}, asked {asked}",
    "zh": "{places}：{one}在{other}{relation}，问的是{asked}",
}
_HAVE = {"en": ("no", "yes"), "zh": ("没有", "有")}


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene: its sort, its words, and the answer."""

    sort: str
    text: str
    answer: str


def vqa(setting: Setting) -> Talk:
    """A picture and a typed question about it."""
    scene, question = asked_scene(setting)
    pieces = setting.arranged(*shown(scene, question.text))
    return setting.talk("vqa", pieces, question.answer, question_facts(question))


def question_facts(question: Question) -> dict[str, str]:
    """What the answer is scored by."""
    return {"question": question.sort, "answer": question.answer}


def asked_scene(setting: Setting, *, spoken: bool = False) -> tuple[Scene, Question]:
    """A question of some sort, short enough to be spoken where it is, and a scene that was drawn to answer it."""
    sort = setting.dice.choices(_SORTS, _WEIGHTS)[0]
    draw, ask, _ = ASKED[sort]
    while True:
        scene = draw(setting)
        question = ask(setting, scene)
        if question is not None and (not spoken or speakable(question.text, setting.language)):
            return scene, question


def questions_about(setting: Setting, scene: Scene, n: int) -> list[Question]:
    """Up to n questions of different sorts that the scene happens to answer."""
    sorts = list(ASKED)
    setting.dice.shuffle(sorts)
    found: list[Question] = []
    for sort in sorts:
        question = ASKED[sort][1](setting, scene) if len(found) < n else None
        if question is not None:
            found.append(question)
    return found


# What each sort asks. None where the scene gives no certain answer.


def _ask_what(setting: Setting, scene: Scene) -> Question | None:
    kinds: dict[str, set[str]] = {}
    for thing in scene.things:
        kinds.setdefault(thing.colour, set()).add(thing.kind)
    clear = [(colour, *found) for colour, found in kinds.items() if len(found) == 1]
    if not clear:
        return None
    colour, kind = setting.pick(clear)
    text = setting.say(said.WHAT, colour=lexicon.colour_word(colour, setting.language))
    return Question("what", text, lexicon.noun(kind, setting.language))


def _ask_colour(setting: Setting, scene: Scene) -> Question | None:
    colours: dict[str, set[str]] = {}
    for thing in scene.things:
        colours.setdefault(thing.kind, set()).add(thing.colour)
    clear = [(kind, *found) for kind, found in colours.items() if len(found) == 1]
    if not clear:
        return None
    kind, colour = setting.pick(clear)
    text = setting.say(said.COLOUR, **_noun_words(kind, _count(scene, kind), setting.language))
    return Question("colour", text, lexicon.colour_word(colour, setting.language))


def _ask_count(setting: Setting, scene: Scene) -> Question | None:
    if not scene.things:
        return None
    thing, language = setting.pick(scene.things), setting.language
    way = setting.pick(("kind", "kind", "pair", "all"))
    if way == "all":
        count, names, measure = len(scene.things), said.THINGS[language], "个"
    elif way == "kind":
        count, names = _count(scene, thing.kind), lexicon.noun(thing.kind, language, 2)
        measure = lexicon.measure(thing.kind)
    else:
        count = sum((other.colour, other.kind) == (thing.colour, thing.kind) for other in scene.things)
        names = lexicon.coloured(thing.colour, thing.kind, language, 2)
        measure = lexicon.measure(thing.kind)
    if count > MAX_COUNT:
        return None
    text = setting.say(said.COUNT, things=names, measure=measure)
    return Question("count", text, lexicon.amount(count, language, None if way == "all" else thing.kind))


def _ask_exist(setting: Setting, scene: Scene) -> Question | None:
    if not scene.things:
        return None
    present = {(thing.colour, thing.kind) for thing in scene.things}
    there = setting.chance(0.5)
    colour, kind = setting.pick(sorted(present)) if there else absent_pair(setting, present)
    by_kind = setting.chance(0.4) and (there or all(kind != other for _, other in present))
    language = setting.language
    name = lexicon.noun(kind, language) if by_kind else lexicon.coloured(colour, kind, language)
    text = setting.say(said.EXIST, thing=name, a_thing=lexicon.article(name))
    return Question("exist", text, _HAVE[language][there])


def _ask_where(setting: Setting, scene: Scene) -> Question | None:
    clear = clear_things(scene)
    if not clear:
        return None
    thing, language = setting.pick(clear), setting.language
    name = _name(setting, thing)
    text = setting.say(said.WHERE, thing=name)
    return Question("where", text, lexicon.place_word(thing.place, language))


def _concluded(facts: str, language: Language, *, holds: bool) -> str:
    """What is so of two things, and whether what was asked follows."""
    return _SO[language].format(facts=facts, answer=_YES_NO[language][holds])


def with_place(name: str, thing: Thing, language: Language) -> str:
    """A thing's name and where it is: "cat top left", "猫在左上"."""
    return _AT[language].format(thing=name, place=lexicon.place_word(thing.place, language))


def _ask_relation(setting: Setting, scene: Scene) -> Question | None:
    things = clear_things(scene)
    if len(things) < 2:
        return None
    one, other = setting.dice.sample(things, 2)
    relation = setting.pick(tuple(_RELATIONS))
    axis, sign, words = _RELATIONS[relation]
    offset = sign * (one.centre[axis] - other.centre[axis])
    if abs(offset) < _MARGIN or one.third(axis) == other.third(axis):
        return None
    language, holds = setting.language, offset > 0
    names = {"one": _name(setting, one), "other": _name(setting, other)}
    text = _how_they_stand(setting, relation, **names)
    told = (with_place(name, thing, language) for name, thing in zip(names.values(), (one, other), strict=True))
    *_, true = _RELATIONS[relation if holds else _OPPOSITES[relation]]
    asked = words[language].removesuffix(" of")
    places = lexicon.COMMA[language].join(told)
    stand = _STAND[language].format(places=places, relation=true[language], asked=asked, **names)
    return Question("relation", text, _concluded(stand, language, holds=holds))


def _ask_beside(setting: Setting, scene: Scene) -> Question | None:
    things = single_things(scene)
    if len(things) < 2 or len(things) != len(scene.things):
        return None
    middle = setting.pick(things)
    axis, sign, words = _RELATIONS[setting.pick(tuple(_RELATIONS))]
    offsets = [(sign * (thing.centre[axis] - middle.centre[axis]), thing) for thing in things if thing is not middle]
    beside = [thing for offset, thing in offsets if offset >= _MARGIN]
    if len(beside) != 1 or any(0 < offset < _MARGIN for offset, _ in offsets):
        return None
    language = setting.language
    text = setting.say(said.BESIDE, thing=_name(setting, middle), relation=words[language])
    return Question("beside", text, lexicon.noun(beside[0].kind, language))


def _ask_larger(setting: Setting, scene: Scene) -> Question | None:
    things = single_things(scene)
    large = [thing for thing in things if thing.size == "large"]
    small = [thing for thing in things if thing.size == "small"]
    if not large or not small:
        return None
    two = [setting.pick(large), setting.pick(small)]
    larger = setting.chance(0.5)
    answer = two[0] if larger else two[1]
    setting.dice.shuffle(two)
    language = setting.language
    names = {"one": lexicon.noun(two[0].kind, language), "other": lexicon.noun(two[1].kind, language)}
    text = setting.say(said.LARGER, **names, more=said.COMPARED[language][larger])
    return Question("compare", text, lexicon.noun(answer.kind, language))


def _ask_more(setting: Setting, scene: Scene) -> Question | None:
    counts = Counter(thing.kind for thing in scene.things)
    if not counts:
        return None
    choice, absent = sorted(counts), [kind for kind in KINDS if kind not in counts]
    n_absent = setting.dice.choices((0, 1, 2), _ABSENT_WEIGHTS)[0]
    if len(choice) + n_absent < 2:
        return None
    two = [*setting.dice.sample(choice, 2 - n_absent), *setting.dice.sample(absent, n_absent)]
    setting.dice.shuffle(two)
    one, other = two
    if n_absent == 0 and counts[one] == counts[other] and not setting.chance(_EQUAL_SHARE):
        return None
    language = setting.language
    names = {"one": lexicon.noun(one, language, 2), "other": lexicon.noun(other, language, 2)}
    facts = (lexicon.many(counts[kind], kind, language) for kind in (one, other))
    answer = _concluded(lexicon.COMMA[language].join(facts), language, holds=counts[one] > counts[other])
    return Question("more", setting.say(said.MORE, **names), answer)


def _ask_size(setting: Setting, scene: Scene) -> Question | None:
    things = single_things(scene)
    if not things:
        return None
    thing = setting.pick(things)
    text = setting.say(said.SIZE, thing=_name(setting, thing))
    return Question("size", text, lexicon.size_word(thing.size, setting.language))


def _ask_weather(setting: Setting, scene: Scene) -> Question | None:
    if scene.weather is None:
        return None
    return Question("weather", setting.say(said.WEATHER), lexicon.weather_word(scene.weather, setting.language))


def _ask_time(setting: Setting, scene: Scene) -> Question | None:
    if scene.time is None:
        return None
    return Question("time", setting.say(said.TIME), lexicon.time_word(scene.time, setting.language))


# Scenes that suit a sort, so that its answers come out even.


def _any_scene(setting: Setting) -> Scene:
    return setting.scene("mixed" if setting.chance(0.2) else "things")


def _counted_scene(setting: Setting) -> Scene:
    count = 1 + setting.dice.randrange(MAX_COUNT)
    others = () if setting.chance(0.5) else (1 + setting.dice.randrange(2),)
    return setting.scene("things", setting.groups(count, *others))


def _two_kinds_scene(setting: Setting) -> Scene:
    return setting.scene("things", setting.groups(*(1 + setting.dice.randrange(3) for _ in range(2))))


def _single_scene(setting: Setting) -> Scene:
    n = 1 + setting.dice.randrange(3)
    return setting.scene("mixed" if n < 3 and setting.chance(0.2) else "things", setting.groups(*(1,) * n))


def _pair_scene(setting: Setting) -> Scene:
    return setting.scene("things", setting.groups(1, 1))


def _two_sizes_scene(setting: Setting) -> Scene:
    (large, small) = setting.pairs(2)
    return setting.scene("things", [Group(1, *large, size="large"), Group(1, *small, size="small")])


def _sized_scene(setting: Setting) -> Scene:
    size = setting.pick(("small", "large"))
    groups = [Group(1, *pair, size=size if index == 0 else None) for index, pair in enumerate(setting.pairs(2))]
    return setting.scene("things", groups[: 1 + setting.dice.randrange(2)])


def _sky_scene(setting: Setting) -> Scene:
    return setting.scene(setting.pick(("sky", "mixed")))


Ask = Callable[[Setting, Scene], Question | None]
Draw = Callable[[Setting], Scene]
ASKED: dict[str, tuple[Draw, Ask, float]] = {  # sort: its scenes, its question, its share
    "what": (_any_scene, _ask_what, 1.0),
    "colour": (_any_scene, _ask_colour, 1.0),
    "count": (_counted_scene, _ask_count, 1.5),
    "exist": (_any_scene, _ask_exist, 1.0),
    "where": (_single_scene, _ask_where, 1.0),
    "relation": (_pair_scene, _ask_relation, 1.0),
    "beside": (_pair_scene, _ask_beside, 0.5),
    "compare": (_two_sizes_scene, _ask_larger, 0.5),
    "more": (_two_kinds_scene, _ask_more, 0.5),
    "size": (_sized_scene, _ask_size, 0.5),
    "weather": (_sky_scene, _ask_weather, 0.75),
    "time": (_sky_scene, _ask_time, 0.5),
}
_SORTS = tuple(ASKED)
_WEIGHTS = tuple(weight for _, _, weight in ASKED.values())


def single_things(scene: Scene) -> list[Thing]:
    """The things that are alone of their kind."""
    counts = Counter(thing.kind for thing in scene.things)
    return [thing for thing in scene.things if counts[thing.kind] == 1]


def ask_beside_absent(setting: Setting, scene: Scene, absent: Pair) -> str | None:
    """How a thing of the scene and one that is not there stand to each other; None where no thing is single."""
    things = single_things(scene)
    if not things:
        return None
    names = [_named(setting, *absent), _name(setting, setting.pick(things))]
    setting.dice.shuffle(names)
    one, other = names
    return _how_they_stand(setting, setting.pick(tuple(_RELATIONS)), one, other)


def _how_they_stand(setting: Setting, relation: str, one: str, other: str) -> str:
    *_, words = _RELATIONS[relation]
    return setting.say(said.RELATION, one=one, other=other, relation=words[setting.language])


def absent_pair(setting: Setting, present: set[Pair] | frozenset[Pair]) -> Pair:
    """A colour and kind that are not there, often with the colour or the kind of one that is.

    Training asks only about pairs of training; validation about any, as it has but one colour of each kind.
    """
    choice: Sequence[Pair] = pairs(setting.split) if setting.split == "train" else _EVERY_PAIR
    near = setting.pick(sorted(present)) if present and setting.chance(0.6) else None
    while True:
        pair = setting.pick(choice)
        if pair not in present and (near is None or pair[0] == near[0] or pair[1] == near[1]):
            return pair


_EVERY_PAIR = tuple(pair for split in SPLITS for pair in pairs(split))


def _count(scene: Scene, kind: str) -> int:
    return sum(thing.kind == kind for thing in scene.things)


def _noun_words(kind: str, count: int, language: Language) -> dict[str, str]:
    return {"thing": lexicon.noun(kind, language, count), "be": "is" if count == 1 else "are"}


def _name(setting: Setting, thing: Thing) -> str:
    """The thing by its kind, at times with its colour."""
    return _named(setting, thing.colour, thing.kind)


def _named(setting: Setting, colour: str, kind: str) -> str:
    if setting.chance(0.5):
        return lexicon.noun(kind, setting.language)
    return lexicon.coloured(colour, kind, setting.language)


def clear_things(scene: Scene) -> list[Thing]:
    """The things that are alone of their kind, and beyond doubt in one ninth of the picture."""
    return [thing for thing in single_things(scene) if _well_inside(thing)]


def _well_inside(thing: Thing) -> bool:
    return all(abs(at - border) > _BORDER for at in thing.centre for border in (1 / 3, 2 / 3))
