"""Many questions about one picture: the cheapest way to learn to look, since a picture is encoded once for all of them.

Facts: `answers` (a list of [sort, answer], in order).
"""

from __future__ import annotations

from sensorium.data.world.scene import Scene
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.captions import CAPTION, describe
from sensorium.data.world.talk.places import DETECT, EVERYTHING, boxes_phrase
from sensorium.data.world.talk.questions import ASKED, questions_about
from sensorium.data.world.talk.setting import Setting, shown
from sensorium.data.world.talk.types import Talk, Turn

_MOST = 6  # questions about a picture
_BOXES = 5  # boxes in an answer


def quiz(setting: Setting) -> Talk:
    """A picture, and up to six questions, requests to describe it, and requests for boxes, in any order."""
    scene = ASKED[setting.pick(tuple(ASKED))][0](setting)
    asked = [(question.sort, question.text, question.answer) for question in questions_about(setting, scene, _MOST)]
    if setting.chance(0.5):
        asked.append(("caption", setting.say(CAPTION), describe(scene, setting.language)))
    if 0 < len(scene.things) <= _BOXES and setting.chance(0.6):
        asked.append(_detection(setting, scene))
    setting.dice.shuffle(asked)
    turns = []
    for index, (_, text, answer) in enumerate(asked[:_MOST]):
        words = setting.arranged(*shown(scene, text)) if index == 0 else (text,)
        turns += [Turn("user", words), Turn("assistant", (answer,))]
    answers = [[sort, answer] for sort, _, answer in asked[:_MOST]]
    return Talk("quiz", setting.language, tuple(turns), {"answers": answers})


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
    return "detect", setting.say(DETECT, things=names), boxes_phrase(found, language)
