"""Sentences of the world that may be heard, written down and translated.

A sentence of validation names things that training never names together, or is put in a way that training never is.
"""

from __future__ import annotations

from collections.abc import Callable

from sensorium.data.world.talk import lexicon, remarks
from sensorium.data.world.talk.lexicon import Counted
from sensorium.data.world.talk.questions import asked_scene
from sensorium.data.world.talk.setting import Phrases, Setting, speakable
from sensorium.data.world.talk.types import LANGUAGES, Language
from sensorium.data.world.things import TIMES, WEATHERS

Both = dict[Language, str]  # one sentence in each language

_STATEMENTS: tuple[dict[str, str], ...] = (
    {"en": "{things}.", "zh": "{things}。"},
    {"en": "I see {things}.", "zh": "我看到{things}。"},
    {"en": "Here you see {things}.", "zh": "这里有{things}。"},
    {"en": "We found {things}.", "zh": "我们找到了{things}。"},
    {"en": "My friend has {things}.", "zh": "我的朋友有{things}。"},
    {"en": "They want {things}.", "zh": "他们想要{things}。"},
    {"en": "She painted {things}.", "zh": "她画了{things}。"},
    {"en": "I like {things}.", "zh": "我喜欢{things}。"},
)
_RELATIONS: tuple[dict[str, str], ...] = (
    {"en": "The {one} is left of the {other}.", "zh": "{one}在{other}的左边。"},
    {"en": "The {one} is right of the {other}.", "zh": "{one}在{other}的右边。"},
    {"en": "The {one} is above the {other}.", "zh": "{one}在{other}的上面。"},
    {"en": "The {one} is below the {other}.", "zh": "{one}在{other}的下面。"},
    {"en": "The {one} is larger than the {other}.", "zh": "{one}比{other}大。"},
    {"en": "The {one} is smaller than the {other}.", "zh": "{one}比{other}小。"},
)
_STORIES: tuple[dict[str, str], ...] = (
    {"en": "One {sky}, {one} met {other}.", "zh": "一个{sky}，{one}遇见了{other}。"},
    {"en": "One {sky}, we saw {one}.", "zh": "一个{sky}，我们看见了{one}。"},
    {"en": "{one} came out on a {sky}.", "zh": "{one}在{sky}出来了。"},
)


def thing_sentence(setting: Setting) -> Both:
    """A statement about things of a colour, in both languages."""
    return setting.pick((thing_statement, thing_statement, _relation, _story))(setting)


def heard_sentence(setting: Setting) -> str:
    """A sentence to be spoken, in the setting's language: a statement, a question, or a remark on the weather."""
    while True:
        way = setting.dice.random()
        if way < 0.55:
            text = thing_sentence(setting)[setting.language]
        else:
            text = asked_scene(setting, spoken=True)[1].text if way < 0.8 else _remark(setting)
        if speakable(text, setting.language):
            return text


def thing_statement(setting: Setting) -> Both:
    """That there are things of some counts and colours, in both languages."""
    pairs = setting.pairs(1 + setting.chance(0.4))
    things = [(1 + setting.dice.randrange(5), *pair) for pair in pairs]
    return _filled(setting.pick(_STATEMENTS), lambda language: {"things": lexicon.things_phrase(things, language)})


def _relation(setting: Setting) -> Both:
    one, other = setting.pairs(2)
    return _filled(
        setting.pick(_RELATIONS),
        lambda language: {"one": lexicon.coloured(*one, language), "other": lexicon.coloured(*other, language)},
    )


def _story(setting: Setting) -> Both:
    things: list[Counted] = [(1, *pair) for pair in setting.pairs(2)]
    weather, time = setting.pick(WEATHERS), setting.pick(TIMES)

    def words(language: Language) -> dict[str, str]:
        one, other = (lexicon.counted(*thing, language) for thing in things)
        return {"one": one, "other": other, "sky": lexicon.sky_phrase(weather, time, language)}

    return _filled(setting.pick(_STORIES), words)


def _filled(sentence: dict[str, str], words: Callable[[Language], dict[str, str]]) -> Both:
    filled = {language: sentence[language].format(**words(language)) for language in LANGUAGES}
    return {language: text[0].upper() + text[1:] for language, text in filled.items()}


def _remark(setting: Setting) -> str:
    now = remarks.NOW[setting.language][setting.chance(0.2)]
    phrases: Phrases = setting.pick((*remarks.REMARKS.values(), remarks.HOW, remarks.ADVICE))
    return setting.say(phrases, now=now)
