"""What is it? A picture, a voice and a text each state one thing: they agree, one is missing, or one contradicts.

What is believed is the majority, as in the table of `sensorium.data.world.talk.weather`; where they differ the answer
first says how: "I see a red apple, hear a red apple too and read a blue cup: a red apple". Without a majority it
stays with the doubt: "I see a red apple, but I hear a blue cup." The matter is a thing of a colour, a weather, or a
digit.

Facts: `attribute` ("thing", "weather", "digit"), `truth` (null in doubt), `case` ("agree", "miss", "contradict"),
`seen`, `heard`, `read` (null where absent), `answer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from sensorium.data.world.scene import Group, Scene
from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.majority import Claims, claims_for
from sensorium.data.world.talk.remarks import NOW, REMARKS
from sensorium.data.world.talk.setting import Maker, Phrases, Setting
from sensorium.data.world.talk.types import Language, Seen, Talk
from sensorium.data.world.things import WEATHERS

_WHAT_EN = (
    "what is it?",
    "what is this?",
    "so what is it?",
    "what might it be?",
    "what could this be?",
    "what have we here?",
    "what is it really?",
    "what do you think it is?",
    "what would you say it is?",
    "do you know what it is?",
)
_WHAT_ZH = (
    "这是什么？",
    "它是什么？",
    "那么这是什么？",
    "这会是什么？",
    "这到底是什么？",
    "这究竟是什么？",
    "你觉得这是什么？",
    "你认为这是什么？",
    "你知道这是什么吗？",
    "这里是什么？",
)
WHAT = Phrases(_WHAT_EN, _WHAT_ZH)
WEATHER = Phrases(
    en=(
        "what is the weather?",
        "what weather is it?",
        "how is the weather?",
        "what kind of weather is it?",
        "what do you call this weather?",
    ),
    zh=("天气怎么样？", "是什么天气？", "现在是什么天气？", "这是哪种天气？", "这种天气叫什么？"),
    openings={  # only these ask for the bare word
        "en": ("In one word, {}", "In a word, {}", "In a single word, {}", "With one word, {}"),
        "zh": ("用一个词回答，{}", "用一个词说，{}", "只用一个词，{}", "简单地说，{}"),
    },
)
DIGIT = Phrases(
    en=(
        "which digit is it?",
        "what digit is this?",
        "which digit is this?",
        "what number is it?",
        "which number is this?",
        "what digit might it be?",
        "which digit do you think it is?",
        "what number would you say it is?",
        "do you know which digit it is?",
        "what is the digit?",
    ),
    zh=(
        "这是几？",
        "这个数字是几？",
        "是哪个数字？",
        "这是哪个数字？",
        "数字是几？",
        "你觉得这是几？",
        "你认为是哪个数字？",
        "你知道这是几吗？",
        "这到底是几？",
        "这会是几？",
    ),
)
CLAIM = Phrases(
    en=(
        "it is {value}.",
        "this is {value}.",
        "here we have {value}.",
        "what we have is {value}.",
        "it must be {value}.",
    ),
    zh=("这是{value}。", "它是{value}。", "这里是{value}。", "这一定是{value}。", "这应该是{value}。"),
    openings={
        "en": ("{}", "Look, {}", "I think {}", "I tell you, {}", "I am sure {}"),
        "zh": ("{}", "你看，{}", "我觉得{}", "我告诉你，{}", "我肯定{}"),
    },
)


def _thing_values(setting: Setting) -> list[str]:
    return [f"{colour} {kind}" for colour, kind in setting.pairs(3)]


def _thing_name(value: str, language: Language) -> str:
    colour, kind = value.split()
    return lexicon.counted(1, colour, kind, language)


def _thing_scene(setting: Setting, value: str) -> Scene:
    colour, kind = value.split()
    return setting.scene("things", [Group(1, colour, kind, size="large")])


class _Sort(NamedTuple):
    """A sort of matter: what it may be, what each of these is called, how it is drawn, and what is asked."""

    values: Callable[[Setting], list[str]]
    name: Callable[[str, Language], str]
    draw: Callable[[Setting, str], Scene]
    question: Phrases


_SORTS = {
    "thing": _Sort(_thing_values, _thing_name, _thing_scene, WHAT),
    "weather": _Sort(
        lambda _: list(WEATHERS),
        lexicon.weather_word,
        lambda setting, value: setting.scene("sky", weather=value),
        WEATHER,
    ),
    "digit": _Sort(
        lambda _: [str(value) for value in range(10)],
        lambda value, language: lexicon.number(int(value), language),
        lambda setting, value: setting.scene("digits", digits=[int(value)]),
        DIGIT,
    ),
}
_PRESENT = (  # seen, heard, read, and the share of each
    ((True, True, True), 0.64),
    ((False, True, True), 0.1),
    ((True, False, True), 0.1),
    ((True, True, False), 0.1),
    ((True, False, False), 0.02),
    ((False, True, False), 0.02),
    ((False, False, True), 0.02),
)


@dataclass(frozen=True, slots=True)
class Matter:
    """One thing to be stated: which attribute of what is there, and the values among which it is."""

    attribute: str
    values: tuple[str, ...]

    @classmethod
    def drawn(cls, setting: Setting) -> Matter:
        """Any of the three: a thing (one of three pairs), a weather or a digit."""
        attribute = setting.pick(tuple(_SORTS))
        return cls(attribute, tuple(_SORTS[attribute].values(setting)))

    def scene(self, setting: Setting, value: str) -> Scene:
        """A scene that shows a value."""
        return _SORTS[self.attribute].draw(setting, value)

    def claim(self, setting: Setting, value: str) -> str:
        """Words that claim a value."""
        if self.attribute == "weather":
            return setting.say(REMARKS[value], now=NOW[setting.language][0])
        return setting.say(CLAIM, value=_SORTS[self.attribute].name(value, setting.language))

    def typed(self, setting: Setting, value: str | None) -> str:
        """The question, behind words that claim a value where there is one."""
        words = [] if value is None else [self.claim(setting, value)]
        words.append(setting.say(_SORTS[self.attribute].question))
        return ("" if setting.language == "zh" else " ").join(words)

    def answer(self, claims: Claims, language: Language) -> str:
        """What is believed of it, or the doubt."""
        names = {value: _SORTS[self.attribute].name(value, language) for value in self.values}
        if claims.majority is None:
            return claims.doubt(names, language)
        return claims.concluded(names[claims.majority], names, language)


def fuse(
    setting: Setting,
    *,
    kind: str = "fuse",
    present: tuple[bool, bool, bool] | None = None,
    agree: float = 0.5,
    scattered: float = 0.2,
    foreign: float = 0.0,
) -> Talk:
    """One thing stated by the senses present.

    Args:
        setting: the chance.
        kind: the name of the talk.
        present: whether picture, voice and text state it; None draws it.
        agree: how often those present are at one.
        scattered: how often three that are not at one differ all.
        foreign: how often the voice speaks another language than what is written.
    """
    if present is None:
        present = setting.dice.choices([way for way, _ in _PRESENT], [share for _, share in _PRESENT])[0]
    matter = Matter.drawn(setting)
    seen, heard, read = present
    claims = claims_for(setting, matter.values, seen=seen, heard=heard, read=read, agree=agree, scattered=scattered)
    picture = Seen(matter.scene(setting, claims.seen)) if claims.seen else None
    speaker = setting.in_other_language() if setting.chance(foreign) else setting
    spoken = speaker.speak(matter.claim(speaker, claims.heard)) if claims.heard else None
    typed, answer = matter.typed(setting, claims.read), matter.answer(claims, setting.language)
    facts = {"attribute": matter.attribute, "truth": claims.majority, "case": claims.case, "answer": answer}
    facts |= {"seen": claims.seen, "heard": claims.heard, "read": claims.read}
    return setting.talk(kind, setting.arranged(picture, spoken, typed), answer, facts)


FUSED: dict[str, Maker] = {  # the talks by which ways of fusing are compared
    "fuse": partial(fuse, foreign=0.1),
    "fuse_agree": partial(fuse, kind="fuse_agree", present=(True, True, True), agree=1.0),
    "fuse_no_picture": partial(fuse, kind="fuse_no_picture", present=(False, True, True), agree=1.0),
    "fuse_no_voice": partial(fuse, kind="fuse_no_voice", present=(True, False, True), agree=1.0),
    "fuse_no_text": partial(fuse, kind="fuse_no_text", present=(True, True, False), agree=1.0),
    "fuse_contradict": partial(fuse, kind="fuse_contradict", present=(True, True, True), agree=0.0, scattered=0.0),
}
