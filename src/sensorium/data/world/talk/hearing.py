"""Talks that must be heard: dictation, spoken questions, spoken and written digits, and who is speaking.

Facts of `dictation`: `transcript`. Of `spoken_vqa`: `question`, `answer`, `transcript`. Of `digits`: `digits`, `source`
("picture", "speech" or "both"), `answer`. Of `speaker`: `question` ("who" or "same"), `answer`.
"""

from __future__ import annotations

from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.questions import asked_scene, question_facts
from sensorium.data.world.talk.sentences import heard_sentence
from sensorium.data.world.talk.setting import REQUESTS, Phrases, Setting, sentence_side
from sensorium.data.world.talk.types import Piece, Seen, Talk
from sensorium.data.world.things import MAX_DIGITS

DICTATION = Phrases(
    en=(
        "write down what you hear.",
        "write what you hear.",
        "write down the words.",
        "write down this recording.",
        "type what is said.",
        "type the words of this recording.",
        "put the recording into writing.",
        "transcribe the recording.",
        "transcribe what you hear.",
        "take down the words.",
        "turn the speech into text.",
    ),
    zh=(
        "写下你听到的话。",
        "写出你听到的内容。",
        "把听到的话写下来。",
        "把录音写成文字。",
        "把这段话写下来。",
        "记下你听到的话。",
        "听写这段录音。",
        "转写这段录音。",
        "把语音转成文字。",
        "打出录音里的话。",
        "写下录音里说的话。",
    ),
    openings=REQUESTS,
)
DIGITS = Phrases(
    en=(
        "which digits are these?",
        "what digits are given?",
        "which numbers are these?",
        "what are the digits?",
        "which digits do you make out?",
        "what digits do you find?",
        "which digits are there?",
        "what are these digits?",
        "which digits come in order?",
        "what digits are they?",
    ),
    zh=(
        "这是哪些数字？",
        "这是什么数字？",
        "是什么数字？",
        "是哪几个数字？",
        "数字是什么？",
        "有哪些数字？",
        "这些数字是什么？",
        "给出的数字是什么？",
        "按顺序是哪些数字？",
        "给了哪些数字？",
    ),
)


def dictation(setting: Setting) -> Talk:
    """A recording, with or without the request to write it down; the answer is the sentence as it is spelled."""
    text = heard_sentence(setting)
    asked = setting.say(DICTATION) if setting.chance(0.75) else None
    pieces = setting.arranged(setting.speak(text), asked)
    return setting.talk("dictation", pieces, text, {"transcript": text})


def spoken_vqa(setting: Setting) -> Talk:
    """A picture and a spoken question about it."""
    scene, question = asked_scene(setting, spoken=True)
    pieces = setting.arranged(Seen(scene), setting.speak(question.text))
    facts = question_facts(question) | {"transcript": question.text}
    return setting.talk("spoken_vqa", pieces, question.answer, facts)


def digits(setting: Setting) -> Talk:
    """Digits that are written by hand, spoken, or both, and a request to name them: "3 7"."""
    values = _draw_digits(setting)
    source = setting.pick(("picture", "speech", "both"))
    pieces: list[Piece] = [setting.say(DIGITS)]
    if source != "picture":
        gap = " " if setting.language == "en" else ""
        pieces.insert(0, setting.speak(gap.join(lexicon.number(value, setting.language) for value in values)))
    if source != "speech":
        pieces.insert(0, Seen(setting.scene("digits", digits=values)))
    answer = " ".join(map(str, values))
    facts = {"digits": values, "source": source, "answer": answer}
    return setting.talk("digits", setting.arranged(*pieces), answer, facts)


def _draw_digits(setting: Setting) -> list[int]:
    """One to three digits; a sequence of several is of its split."""
    while True:
        values = [setting.dice.randrange(10) for _ in range(1 + setting.dice.randrange(MAX_DIGITS))]
        if len(values) == 1 or sentence_side("digits " + "".join(map(str, values))) == setting.split:
            return values
