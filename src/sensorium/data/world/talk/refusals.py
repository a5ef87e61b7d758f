"""Requests that cannot be met, answered by saying so.

Facts: `reason` ("outside", "no picture", "no recording", "silent", "absent"), `answer`.
"""

from __future__ import annotations

import re

from sensorium.data.world.scene import Scene
from sensorium.data.world.talk import lexicon, phrasings
from sensorium.data.world.talk.captions import CAPTION
from sensorium.data.world.talk.hearing import DICTATION, NOTHING_HEARD
from sensorium.data.world.talk.questions import absent_pair, ask_beside_absent
from sensorium.data.world.talk.setting import Phrases, Setting
from sensorium.data.world.talk.types import Piece, Seen, Talk
from sensorium.languages import language_of

OUTSIDE = Phrases(
    en=(
        "who is the president?",
        "what is the capital of France?",
        "what is the price of gold?",
        "who won the match?",
        "what is on the news?",
        "how do I cook rice?",
        "what is my name?",
        "how old are you?",
        "how far is the moon?",
        "who wrote this book?",
        "what does this medicine do?",
        "when does the train leave?",
        "which film should I watch?",
        "how do I fix my computer?",
        "what happened last year?",
        "where do I live?",
        "what is the meaning of life?",
        "how do I get to the station?",
        "which shares should I buy?",
        "who is the best singer?",
    ),
    zh=(
        "总统是谁？",
        "法国的首都是哪里？",
        "黄金多少钱？",
        "比赛谁赢了？",
        "有什么新闻？",
        "怎么煮米饭？",
        "我叫什么名字？",
        "你几岁了？",
        "月亮有多远？",
        "这本书是谁写的？",
        "这种药有什么用？",
        "火车什么时候开？",
        "我该看哪部电影？",
        "怎么修电脑？",
        "去年发生了什么？",
        "我住在哪里？",
        "人生的意义是什么？",
        "怎么去车站？",
        "该买哪只股票？",
        "最好的歌手是谁？",
    ),
)
_ANSWERS = {
    "en": {
        "outside": "I do not know that, it is outside my world.",
        "no picture": "I see no picture.",
        "no recording": "I hear no recording.",
        "silent": NOTHING_HEARD["en"],
        "absent": "I see no {}.",
    },
    "zh": {
        "outside": "我不知道，这不在我的世界里。",
        "no picture": "我没有看到图片。",
        "no recording": "我没有听到录音。",
        "silent": NOTHING_HEARD["zh"],
        "absent": "我没有看到{}。",
    },
}


def is_refusal(text: str) -> bool:
    """Whether an answer says that something is outside the world, or not there to be seen or heard."""
    return any(re.fullmatch(_pattern(form), text.strip()) for forms in _ANSWERS.values() for form in forms.values())


def _pattern(form: str) -> str:
    return re.escape(form).replace(r"\{\}", ".+")


def ask_of_absent(setting: Setting, scene: Scene) -> tuple[str, str]:
    """A question about a kind of thing that a scene does not show, and what is to be said to it."""
    kinds = {thing.kind for thing in scene.things}
    while (pair := absent_pair(setting, frozenset()))[1] in kinds:
        pass
    name = lexicon.noun(pair[1], setting.language)
    phrases = setting.pick((phrasings.COLOUR, phrasings.WHERE, None))
    text = ask_beside_absent(setting, scene, pair) if phrases is None else None
    text = text or setting.say(phrases or phrasings.WHERE, thing=name, be="is")
    return text, _ANSWERS[setting.language]["absent"].format(name)


def refuse(setting: Setting) -> Talk:
    """A question outside the world, a picture, recording or thing that is not there, or a recording without words."""
    reason = setting.pick(tuple(_ANSWERS["en"]))
    answer = _ANSWERS[setting.language][reason]
    pieces: tuple[Piece, ...]
    if reason == "absent":
        scene = setting.scene("things")
        text, answer = ask_of_absent(setting, scene)
        pieces = setting.arranged(Seen(scene), text)
    elif reason == "silent":
        text = setting.say(DICTATION) if setting.chance(0.5) else ""
        pieces = setting.arranged(setting.speak(""), text)
        answer = NOTHING_HEARD[language_of(text)]
    else:
        pieces = (setting.say({"outside": OUTSIDE, "no picture": CAPTION, "no recording": DICTATION}[reason]),)
    return setting.talk("refuse", pieces, answer, {"reason": reason, "answer": answer})
