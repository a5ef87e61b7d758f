"""Small talk, and talks of several sorts one after the other, as people hold them.

Facts of `greet`: `answer`. Of `several`: `kinds`, those of the talks in order.
"""

from __future__ import annotations

from collections.abc import Mapping

from sensorium.data.world.talk.captions import caption
from sensorium.data.world.talk.editing import edit
from sensorium.data.world.talk.making import draw
from sensorium.data.world.talk.questions import vqa
from sensorium.data.world.talk.refusals import refuse
from sensorium.data.world.talk.school import arithmetic, instruct
from sensorium.data.world.talk.setting import Maker, Setting, sentence_side
from sensorium.data.world.talk.telling import translate
from sensorium.data.world.talk.types import Language, Talk

# What is said, and what is answered: any of one with any of the other.
_SMALL_TALK: Mapping[Language, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "en": (
        (
            ("Hello!", "Hi!", "Hello there.", "Good morning!", "Good evening.", "Hey", "Hello", "Nice to meet you."),
            ("Hello! It is nice to talk with you. What would you like to do today?", "Hello! How are you today?"),
        ),
        (
            ("How are you?", "How are you today?", "How do you do?", "Are you well?"),
            ("I am very well, thank you. How are you?",),
        ),
        (
            ("Thank you!", "Thanks.", "Thanks a lot!", "Thank you so much.", "Many thanks!", "Thank you, that helps."),
            ("You are welcome!",),
        ),
        (
            ("Very nice!", "That is lovely.", "Well done!", "Great!", "I like that.", "How beautiful!", "Wonderful."),
            ("Thank you! I am glad that you like it.",),
        ),
        (("Goodbye!", "Bye.", "See you later.", "Good night."), ("Goodbye! Come back soon.",)),
    ),
    "zh": (
        (
            ("你好", "你好！", "您好", "嗨", "早上好", "晚上好", "大家好", "很高兴认识你。"),
            ("你好！很高兴和你聊天。今天想做点什么？", "你好！你今天好吗？"),
        ),
        (("你好吗？", "最近好吗？", "你今天好吗？", "你怎么样？"), ("我很好，谢谢你。你呢？",)),
        (("谢谢", "谢谢你！", "非常感谢", "多谢", "太感谢了！", "谢谢，帮了大忙。"), ("不客气！",)),
        (
            ("真好看！", "很好。", "做得好！", "太棒了！", "我喜欢。", "真漂亮！", "好极了。"),
            ("谢谢！你喜欢我就高兴。",),
        ),
        (("再见", "拜拜", "下次见", "晚安"), ("再见！欢迎再来。",)),
    ),
}


def greet(setting: Setting) -> Talk:
    """A greeting, thanks, praise or a farewell, typed or spoken, and what one says to it."""
    while True:
        said, answered = setting.pick(_SMALL_TALK[setting.language])
        text = setting.pick(said)
        if sentence_side(text) == setting.split:
            break
    answer = setting.pick(answered)
    asked = setting.speak(text) if setting.chance(0.4) else text
    return setting.talk("greet", (asked,), answer, {"answer": answer})


def _outside(setting: Setting) -> Talk:
    """A question that nobody here can answer; that a picture is missing would not be true after one was shown."""
    while True:
        talk = refuse(setting)
        if talk.facts["reason"] == "outside":
            return talk


_GATHERED: Mapping[str, tuple[Maker, float]] = {  # kind: who makes it, its share
    "greet": (greet, 3),
    "draw": (draw, 4),
    "edit": (edit, 1),
    "vqa": (vqa, 2),
    "caption": (caption, 2),
    "arithmetic": (arithmetic, 1),
    "instruct": (instruct, 1),
    "translate": (translate, 1),
    "refuse": (_outside, 1),
}


def several(setting: Setting) -> Talk:
    """Two or three talks in one, in any order: small talk, pictures to draw or to ask about, lessons.

    Some change from one language to the other.
    """
    kinds = setting.dice.choices(
        tuple(_GATHERED), [share for _, share in _GATHERED.values()], k=2 + setting.dice.randrange(2)
    )
    mixed = setting.chance(0.25)
    settings = [setting.in_other_language() if mixed and setting.chance(0.5) else setting for _ in kinds]
    talks = [_GATHERED[kind][0](own) for kind, own in zip(kinds, settings, strict=True)]
    return Talk("several", setting.language, tuple(turn for talk in talks for turn in talk.turns), {"kinds": kinds})
