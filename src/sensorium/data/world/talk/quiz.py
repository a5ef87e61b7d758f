"""Many questions about one matter: the cheapest way to learn to look, since a picture is encoded once for all of them.

`shapes` are those that no colour answers or is named in: their pictures may be bleached in training, so that a kind is
known by its shape in a colour that it was never seen in.

In `verify` most of what is asked comes down to yes or no: single words among hundreds, which a model learns last. In
`told` no picture is shown: what is where is told in words, and only what follows is left to learn. In
`remarked` it is what a picture and a recording claim: whom to believe is decided anew with every remark.

Facts: `answers` (a list of [sort, answer], in order; in `remarked` the sort is "agree", "miss" or "contradict").
"""

from __future__ import annotations

from typing import TypeAlias

from sensorium.data.world.scene import Scene, Thing
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.captions import CAPTION, describe
from sensorium.data.world.talk.fusing import Matter
from sensorium.data.world.talk.majority import Claims
from sensorium.data.world.talk.phrasings import COUNT, WHERE
from sensorium.data.world.talk.places import DETECT, EVERYTHING, boxes_phrase
from sensorium.data.world.talk.questions import ASKED, clear_things, questions_about, with_place
from sensorium.data.world.talk.refusals import ask_of_absent
from sensorium.data.world.talk.setting import Setting
from sensorium.data.world.talk.types import Piece, Seen, Talk, Turn
from sensorium.data.world.talk.weather import remark, reply, sky
from sensorium.data.world.things import WEATHERS

_Asked: TypeAlias = tuple[str, str, str]  # the sort of question, its words, and the answer
_MOST = 10  # questions about a picture
_MOST_TO_VERIFY = 16
_MOST_REMARKS = 6
_CLAIMING, _CLAIMING_WEIGHTS = ((True, True), (True, False), (False, True)), (0.7, 0.15, 0.15)  # picture and recording
_VERIFIED = {"relation": 10, "more": 4, "exist": 3, "where": 2, "count": 1}  # sort: how often it is asked at most
_BOXES = 5  # boxes in an answer


def quiz(setting: Setting) -> Talk:
    """A picture, and up to ten questions, requests to describe it, and requests for boxes, in any order."""
    scene = ASKED[setting.pick(tuple(ASKED))][0](setting)
    # Twice, as a scene with two things answers most sorts of both.
    questions = [*questions_about(setting, scene, _MOST), *questions_about(setting, scene, _MOST)]
    asked = list(dict.fromkeys((question.sort, question.text, question.answer) for question in questions))
    if setting.chance(0.5):
        asked.append(("caption", setting.say(CAPTION), describe(scene, setting.language)))
    if 0 < len(scene.things) <= _BOXES and setting.chance(0.6):
        asked.append(_detection(setting, scene))
    return _asked(setting, "quiz", [Seen(scene)], asked)


def shapes(setting: Setting) -> Talk:
    """A picture of things, and up to ten requests to box, to count and to name kinds of them."""
    groups = setting.groups(*(1 + setting.dice.randrange(3) for _ in range(1 + setting.dice.randrange(3))))
    scene = setting.scene("things", groups)
    language = setting.language
    asked = []
    for group in groups:
        found = [thing for thing in scene.things if thing.kind == group.kind]
        names = lexicon.noun(group.kind, language, 2)
        if setting.chance(0.5):
            asked.append(("detect", setting.say(DETECT, things=names), boxes_phrase(found, scene, language)))
        else:
            text = setting.say(COUNT, things=names, measure=lexicon.measure(group.kind))
            asked.append(("count", text, lexicon.amount(len(found), language, group.kind)))
    if len(scene.things) <= _BOXES:
        text = setting.say(DETECT, things=EVERYTHING[language])
        asked.append(("detect", text, boxes_phrase(scene.things, scene, language)))
    asked += [("where", *where) for where in _places(setting, scene)]
    return _asked(setting, "shapes", [Seen(scene)], asked)


def verify(setting: Setting) -> Talk:
    """A picture, and up to sixteen short questions about it, most of which come down to yes or no."""
    sort = setting.pick(("relation", "relation", "relation", "beside", "more", "more", "exist", "where"))
    scene = ASKED[sort][0](setting)
    asked = []
    for name, times in _VERIFIED.items():
        questions = (ASKED[name][1](setting, scene) for _ in range(times))
        asked += [(question.sort, question.text, question.answer) for question in questions if question is not None]
    asked += [("absent", *ask_of_absent(setting, scene)) for _ in range(1 + setting.dice.randrange(3))]
    return _asked(setting, "verify", [Seen(scene)], list(dict.fromkeys(asked)), _MOST_TO_VERIFY)


def told(setting: Setting) -> Talk:
    """What is where, told in words, and up to sixteen questions about it."""
    clear, language = list[Thing](), setting.language
    while len(clear) < 2:
        scene = setting.scene("things", setting.groups(*(1,) * (2 + setting.dice.randrange(3))))
        clear = clear_things(scene)
    ask = ASKED["relation"][1]
    questions = [question for _ in range(_MOST_TO_VERIFY) if (question := ask(setting, scene)) is not None]
    asked = [(question.sort, question.text, question.answer) for question in questions]
    asked += [("where", *where) for where in _places(setting, scene)]
    names = (lexicon.coloured(thing.colour, thing.kind, language) for thing in clear)
    places = (with_place(name, thing, language) for name, thing in zip(names, clear, strict=True))
    words = lexicon.sentence(lexicon.COMMA[language].join(places), language)
    return _asked(setting, "told", [words], list(dict.fromkeys(asked)), _MOST_TO_VERIFY)


def remarked(setting: Setting) -> Talk:
    """A picture and a recording, or one of them, that claim something, and up to six remarks or questions about it.

    Each is answered by what is shown and said and by that remark, whatever was remarked before. It agrees with both,
    with one or with neither.
    """
    shows, speaks = setting.dice.choices(_CLAIMING, _CLAIMING_WEIGHTS)[0]
    matter = None if setting.chance(0.5) else Matter.drawn(setting)
    values = setting.dice.sample(WEATHERS if matter is None else matter.values, 3)
    seen, heard = values[0] if shows else None, values[setting.chance(0.6)] if speaks else None
    scene = None if seen is None else sky(setting, seen) if matter is None else matter.scene(setting, seen)
    about: list[Piece] = [] if scene is None else [Seen(scene)]
    if heard is not None:
        about.append(
            setting.speak(remark(setting, "", heard, scene) if matter is None else matter.claim(setting, heard))
        )
    asked = []
    for read in (*values, *values, None):
        claims = Claims(seen, heard, read)
        if matter is None:
            text = remark(setting, "asks" if read is None or setting.chance(0.5) else "", read, scene)
            answer = reply(claims, scene.time if scene else None, setting.language, advice=False)
        else:
            text, answer = matter.typed(setting, read), matter.answer(claims, setting.language)
        asked.append((claims.case, text, answer))
    return _asked(setting, "remarked", about, list(dict.fromkeys(asked)), _MOST_REMARKS)


def _places(setting: Setting, scene: Scene) -> list[tuple[str, str]]:
    """Where each thing is that is alone of its kind, and beyond doubt in one place."""
    clear = clear_things(scene)
    nouns = [lexicon.noun(thing.kind, setting.language) for thing in clear]
    return [
        (setting.say(WHERE, thing=noun), lexicon.place_word(thing.place, setting.language))
        for noun, thing in zip(nouns, clear, strict=True)
    ]


def _asked(setting: Setting, kind: str, about: list[Piece], asked: list[_Asked], most: int = _MOST) -> Talk:
    """A talk of so many of the questions at most, in any order, what they are about with the first."""
    setting.dice.shuffle(asked)
    turns = []
    for index, (_, text, answer) in enumerate(asked[:most]):
        words = setting.arranged(*about, text) if index == 0 else (text,)
        turns += [Turn("user", words), Turn("assistant", (answer,))]
    answers = [[sort, answer] for sort, _, answer in asked[:most]]
    return Talk(kind, setting.language, tuple(turns), {"answers": answers})


def _detection(setting: Setting, scene: Scene) -> tuple[str, str, str]:
    language, thing = setting.language, setting.pick(scene.things)
    if setting.chance(0.5):
        names, found = EVERYTHING[language], list(scene.things)
    elif setting.chance(0.5):
        names = lexicon.coloured(thing.colour, thing.kind, language, 2)
        found = [other for other in scene.things if (other.colour, other.kind) == (thing.colour, thing.kind)]
    else:
        names = lexicon.noun(thing.kind, language, 2)
        found = [other for other in scene.things if other.kind == thing.kind]
    return "detect", setting.say(DETECT, things=names), boxes_phrase(found, scene, language)
