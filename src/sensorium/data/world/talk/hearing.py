"""Talks that must be heard: dictation, spoken questions, spoken and written digits, and who is speaking.

Facts of `dictation` and `two_sentences`: `transcript`. Of `spoken_vqa`: `question`, `answer`, `transcript`. Of
`digits`: `digits`, `source` ("picture", "speech" or "both"), `answer`. Of `speaker`: `question` ("who", "same",
"person"), `answer`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.questions import asked_scene, question_facts
from sensorium.data.world.talk.sentences import heard_sentence, thing_statement
from sensorium.data.world.talk.setting import REQUESTS, Phrases, Setting, sentence_side, speakable
from sensorium.data.world.talk.types import Language, Piece, Seen, Spoken, Talk
from sensorium.data.world.things import MAX_DIGITS
from sensorium.data.world.voices import voice_of

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


WHO = Phrases(
    en=(
        "who is speaking?",
        "who is speaking now?",
        "who said this?",
        "who says that?",
        "whose voice is this?",
        "whose voice do you hear?",
        "which of them is speaking?",
        "who is it that speaks?",
        "do you know who is speaking?",
        "by whom was this said?",
    ),
    zh=(
        "谁在说话？",
        "现在谁在说话？",
        "这是谁说的？",
        "说话的是谁？",
        "这是谁的声音？",
        "你听到谁的声音？",
        "他们中谁在说话？",
        "是谁在说话？",
        "你知道谁在说话吗？",
        "这句话是谁说的？",
    ),
)
SAME = Phrases(
    en=(
        "is this the same speaker?",
        "are these the same speaker?",
        "is it the same voice?",
        "are the two voices the same?",
        "is one person speaking both times?",
        "do you hear the same person twice?",
        "are both said by the same person?",
        "is the same person speaking?",
        "are these two of one person?",
        "is the speaker the same both times?",
    ),
    zh=(
        "是同一个人吗？",
        "是同一个人在说话吗？",
        "两次是同一个人吗？",
        "这是同一个声音吗？",
        "两个声音一样吗？",
        "这两段是同一个人说的吗？",
        "说话的是同一个人吗？",
        "你听到的是同一个人吗？",
        "两段录音是一个人吗？",
        "两次说话的人一样吗？",
    ),
)
PERSON = Phrases(
    en=(
        "is a man or a woman speaking?",
        "is a woman or a man speaking?",
        "is this a man or a woman?",
        "do you hear a man or a woman?",
        "is the speaker a man or a woman?",
        "is it the voice of a man or a woman?",
        "is this said by a man or a woman?",
        "does a man or a woman speak?",
        "would you say this is a man or a woman?",
        "a man or a woman, who is speaking?",
    ),
    zh=(
        "是男人还是女人在说话？",
        "说话的是男人还是女人？",
        "这是男人还是女人？",
        "你听到的是男人还是女人？",
        "是女人还是男人在说话？",
        "这是男人还是女人的声音？",
        "说这句话的是男人还是女人？",
        "声音是男人的还是女人的？",
        "你觉得是男人还是女人？",
        "男人还是女人在说话？",
    ),
)
NAMES = {
    "en": ("Anna", "Ben", "Clara", "David", "Emma", "Frank"),
    "zh": ("小明", "小红", "小李", "小王", "小张", "小陈"),
}
NOTHING_HEARD = {"en": "I hear nothing.", "zh": "我什么也没有听到。"}  # of a recording in which nobody speaks
_THIS_IS = {"en": "This is {}.", "zh": "这是{}。"}
_PERSONS = {"en": {"man": "man", "woman": "woman"}, "zh": {"man": "男人", "woman": "女人"}}
_SAME = {"en": ("different", "same"), "zh": ("不同", "相同")}


def dictation(setting: Setting) -> Talk:
    """A recording and the request to write it down; the answer is the sentence as it is spelled.

    The request may be in any language, whatever is spoken: what is heard is not to be translated.
    """
    text = heard_sentence(setting)
    pieces = setting.arranged(setting.speak(text), setting.say_in_any_language(DICTATION))
    return setting.talk("dictation", pieces, text, {"transcript": text})


def two_sentences(setting: Setting) -> Talk:
    """A recording of two sentences, one behind the other, short enough to be heard in one piece, to be written down."""
    while True:
        text = ("" if setting.language == "zh" else " ").join((heard_sentence(setting), heard_sentence(setting)))
        if speakable(text, setting.language, breaths=1.3):
            break
    pieces = setting.arranged(setting.speak(text), setting.say_in_any_language(DICTATION))
    return setting.talk("two_sentences", pieces, text, {"transcript": text})


def spoken_vqa(setting: Setting) -> Talk:
    """A picture and a spoken question about it."""
    scene, question = asked_scene(setting, spoken=True)
    pieces = setting.arranged(Seen(scene), setting.speak(question.text))
    facts = question_facts(question) | {"transcript": question.text}
    return setting.talk("spoken_vqa", pieces, question.answer, facts)


def digits(setting: Setting) -> Talk:
    """Digits that are written by hand, spoken, or both, and a request to name them: "3 7"."""
    values = draw_digits(setting)
    source = setting.pick(("picture", "speech", "both"))
    pieces: list[Piece] = [setting.say(DIGITS)]
    if source != "picture":
        pieces.insert(0, setting.speak(digits_aloud(values, setting.language)))
    if source != "speech":
        pieces.insert(0, Seen(setting.scene("digits", digits=values)))
    answer = " ".join(map(str, values))
    facts = {"digits": values, "source": source, "answer": answer}
    return setting.talk("digits", setting.arranged(*pieces), answer, facts)


def speaker(setting: Setting) -> Talk:
    """Who of two is speaking, whether two recordings are of one speaker, or whether it is a man or a woman."""
    return setting.pick((_who, _same, _person))(setting)


def _who(setting: Setting) -> Talk:
    voices, names = _two_voices(setting), setting.dice.sample(NAMES[setting.language], 2)
    chosen = setting.dice.randrange(2)
    pieces: list[Piece] = []
    for name, voice in zip(names, voices, strict=True):
        pieces += [_THIS_IS[setting.language].format(name), _something(setting, voice)]
    pieces += [setting.say(WHO), _something(setting, voices[chosen])]
    return setting.talk("speaker", pieces, names[chosen], {"question": "who", "answer": names[chosen]})


def _same(setting: Setting) -> Talk:
    one, other = _two_voices(setting)
    same = setting.chance(0.5)
    pieces: list[Piece] = [_something(setting, one), _something(setting, one if same else other), setting.say(SAME)]
    answer = _SAME[setting.language][same]
    return setting.talk("speaker", pieces, answer, {"question": "same", "answer": answer})


def _person(setting: Setting) -> Talk:
    names = _PERSONS[setting.language]
    while (person := voice_of(voice := setting.voice(), setting.split).person) not in names:
        pass
    pieces = setting.arranged(_something(setting, voice), setting.say(PERSON))
    return setting.talk("speaker", pieces, names[person], {"question": "person", "answer": names[person]})


def _two_voices(setting: Setting) -> tuple[int, int]:
    """Two speakers that differ by more than the pitch."""
    one = setting.voice()
    while True:
        other = setting.voice()
        if voice_of(one, setting.split).variant != voice_of(other, setting.split).variant:
            return one, other


def _something(setting: Setting, voice: int) -> Spoken:
    """Some words, no matter which."""
    return setting.speak(thing_statement(setting)[setting.language], voice)


def digits_aloud(values: Sequence[int], language: Language) -> str:
    """Digits as they are said: "three seven", "三七"."""
    return (" " if language == "en" else "").join(lexicon.number(value, language) for value in values)


def draw_digits(setting: Setting) -> list[int]:
    """One to three digits; a sequence of several is of its split."""
    while True:
        values = [setting.dice.randrange(10) for _ in range(1 + setting.dice.randrange(MAX_DIGITS))]
        if len(values) == 1 or sentence_side("digits " + "".join(map(str, values))) == setting.split:
            return values
