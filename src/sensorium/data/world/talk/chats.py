"""Chats of several turns about what is shown: a picture, questions about it, at times another picture.

Facts: `answers` (one a turn), `questions` (the sort of each: "caption" or one of `questions.ASKED`), and `things`,
`weather` and `time` of the last picture.
"""

from __future__ import annotations

from sensorium.data.world.scene import Scene
from sensorium.data.world.talk.captions import CAPTION, WHAT, describe, scene_facts
from sensorium.data.world.talk.questions import Question, questions_about
from sensorium.data.world.talk.setting import Setting, shown, speakable
from sensorium.data.world.talk.types import Piece, Talk, Turn


def chat(setting: Setting) -> Talk:
    """A picture described and asked about one to three times; one chat in four goes on to a second picture."""
    turns: list[Turn] = []
    asked: list[Question] = []
    for _ in range(2 if setting.chance(0.25) else 1):
        scene = setting.scene("mixed" if setting.chance(0.4) else "things")
        for index, question in enumerate(_questions(setting, scene)):
            words: Piece = question.text
            if setting.chance(0.25) and speakable(question.text, setting.language):
                words = setting.speak(question.text)
            pieces = setting.arranged(*shown(scene, words)) if index == 0 else (words,)
            turns += [Turn("user", pieces), Turn("assistant", (question.answer,))]
            asked.append(question)
    facts = {"questions": [question.sort for question in asked], "answers": [question.answer for question in asked]}
    return Talk("chat", setting.language, tuple(turns), scene_facts(scene) | facts)


def _questions(setting: Setting, scene: Scene) -> list[Question]:
    first = Question("caption", setting.say(setting.pick((CAPTION, WHAT))), describe(scene, setting.language))
    return [first, *questions_about(setting, scene, 1 + setting.dice.randrange(3))]
