"""Saying what is in a scene, in English and Chinese, and reading it back out of any answer.

Saying is regular: one form for each content, so that a small model can learn it. Reading is lenient and knows nothing
of the forms: it finds counted things of a colour, weather and time of day wherever they stand in a text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sensorium.data.world.scene import Scene
from sensorium.data.world.talk.types import Language, check_language
from sensorium.data.world.talk.words import (
    BACKGROUNDS_ZH,
    COLOURS_ZH,
    NOUNS,
    NUMBERS_EN,
    NUMBERS_ZH,
    PLACES_ZH,
    SIZES_ZH,
    TEXTURES_EN,
    TEXTURES_ZH,
    TIME_WORDS,
    WEATHER_ADJECTIVES,
    WEATHER_WORDS,
)
from sensorium.data.world.things import BACKGROUNDS, COLOURS, KINDS

Counted = tuple[int, str, str]  # count, colour, kind

COMMA: dict[Language, str] = {"en": ", ", "zh": "，"}  # between clauses

_KIND_ORDER = {kind: index for index, kind in enumerate(KINDS)}
_COLOUR_ORDER = {colour: index for index, colour in enumerate(COLOURS)}


def noun(kind: str, language: Language, count: int = 1) -> str:
    """The bare noun: "apple", "apples", "苹果"."""
    singular, plural, chinese, _ = NOUNS[kind]
    if language == "zh":
        return chinese
    return singular if count == 1 else plural


def colour_word(colour: str, language: Language) -> str:
    """The colour alone: "red", "红色"."""
    return COLOURS_ZH[colour] if language == "zh" else colour


def place_word(place: str, language: Language) -> str:
    """A ninth of the picture: "top left", "左上"."""
    return PLACES_ZH[place] if language == "zh" else place


def size_word(size: str, language: Language) -> str:
    """The size alone: "large", "大"."""
    return SIZES_ZH[size] if language == "zh" else size


def texture_word(texture: str, language: Language) -> str:
    """A texture that is not plain, alone: "striped", "条纹"."""
    return TEXTURES_ZH[texture] if language == "zh" else TEXTURES_EN[texture]


def background_word(background: str, language: Language) -> str:
    """What things lie on or stand on: "mint paper", "meadow", "草地"."""
    if language == "zh":
        return BACKGROUNDS_ZH[background]
    return f"{background} paper" if background in BACKGROUNDS else background


def coloured(colour: str, kind: str, language: Language, count: int = 1) -> str:
    """A thing by its colour: "red apple", "red apples", "红色的苹果"; by its kind alone where the colour is empty."""
    name = noun(kind, language, count)
    if not colour:
        return name
    return f"{COLOURS_ZH[colour]}的{name}" if language == "zh" else f"{colour} {name}"


def number(value: int, language: Language) -> str:
    """A number to twenty in a word: "two", "二"."""
    return NUMBERS_ZH[value] if language == "zh" else NUMBERS_EN[value]


def amount(count: int, language: Language, kind: str | None = None) -> str:
    """How many, as an answer: "two", "两个", with the kind's own measure word in Chinese ("个" for mixed things)."""
    if language == "en":
        return NUMBERS_EN[count]
    return ("两" if count == 2 else NUMBERS_ZH[count]) + (measure(kind) if kind else "个")


def measure(kind: str) -> str:
    """The Chinese measure word of a kind: "只" for cats."""
    return NOUNS[kind][3]


def many(count: int, kind: str, language: Language) -> str:
    """So many of a kind: "two apples", "两个苹果", "no apples", "没有苹果"."""
    name = noun(kind, language, count)
    if count == 0:
        return f"没有{name}" if language == "zh" else f"no {name}"
    return amount(count, language, kind) + (name if language == "zh" else f" {name}")


def article(word: str) -> str:
    """The word with "a" or "an"."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def counted(count: int, colour: str, kind: str, language: Language) -> str:
    """Some things: "a red apple", "two red apples", "两个红色的苹果"."""
    name = coloured(colour, kind, language, count)
    if language == "zh":
        return amount(count, language, kind) + name
    return article(name) if count == 1 else f"{NUMBERS_EN[count]} {name}"


def counted_more(count: int, colour: str, kind: str, language: Language) -> str:
    """Some things beside those already named: "one more red apple", "另外一个红色的苹果"."""
    if language == "zh":
        return f"另外{counted(count, colour, kind, language)}"
    return f"{NUMBERS_EN[count]} more {coloured(colour, kind, language, count)}"


def listing(items: Sequence[str], language: Language) -> str:
    """Several things in a row: "a, b and c", "a、b和c"."""
    if len(items) < 2:
        return "".join(items)
    if language == "zh":
        return "、".join(items[:-1]) + "和" + items[-1]
    return ", ".join(items[:-1]) + " and " + items[-1]


def contents(scene: Scene) -> list[Counted]:
    """The things of a scene counted by colour and kind, in the order in which they are always named."""
    return added((1, thing.colour, thing.kind) for thing in scene.things)


def added(things: Iterable[Counted]) -> list[Counted]:
    """Counted things with equal ones added up, in the order in which they are always named."""
    counts: Counter[tuple[str, str]] = Counter()
    for count, colour, kind in things:
        counts[colour, kind] += count
    order = sorted(counts, key=lambda pair: rank(*pair))
    return [(counts[pair], *pair) for pair in order]


def rank(colour: str, kind: str) -> int:
    """Where a colour and kind come among others that are named together, the first lowest."""
    return _KIND_ORDER[kind] * len(_COLOUR_ORDER) + _COLOUR_ORDER[colour]


def things_phrase(things: Iterable[Counted], language: Language) -> str:
    """Counted things in a row: "two red apples and a blue cup"."""
    return listing([counted(*thing, language) for thing in things], language)


def sky_phrase(weather: str, time: str, language: Language) -> str:
    """The weather and time of day: "rainy night", "下雨的夜晚"."""
    if language == "zh":
        return f"{WEATHER_ADJECTIVES['zh'][weather]}的{TIME_WORDS['zh'][time]}"
    adjective = "clear" if (weather, time) == ("sunny", "night") else WEATHER_ADJECTIVES["en"][weather]
    return f"{adjective} {time}"


def caption(things: Sequence[Counted], weather: str | None, time: str | None, language: Language) -> str:
    """The one form of a caption: "two red apples and a blue cup on a rainy night", "…，下雨的夜晚", or either half."""
    words = things_phrase(things, language)
    if weather is None or time is None:
        return words
    sky = sky_phrase(weather, time, language)
    if language == "zh":
        return f"{words}，{sky}" if words else sky
    return f"{words} on {article(sky)}" if words else article(sky)


def weather_word(weather: str, language: Language) -> str:
    """The weather in a word: "rain", "下雨"."""
    return WEATHER_WORDS[language][weather]


def time_word(time: str, language: Language) -> str:
    """The time of day in a word: "night", "夜晚"."""
    return TIME_WORDS[language][time]


def sentence(words: str, language: Language) -> str:
    """The words as a statement: begun with a capital and ended with a full stop."""
    return f"{words}。" if language == "zh" else f"{words[0].upper()}{words[1:]}."


def truth(facts: Mapping[str, Any]) -> frozenset[str]:
    """The attributes that `attributes` should find in an answer, from a talk's facts (`things`, `weather`, `time`)."""
    found = {f"{count} {colour} {kind}" for count, colour, kind in facts.get("things") or ()}
    found |= {f"{name}:{facts[name]}" for name in ("weather", "time") if facts.get(name)}
    return frozenset(found)


def attributes(text: str, language: str) -> frozenset[str]:
    """What a text says of things and sky: {"2 red apple", "weather:rain", "time:night"}.

    A thing is read where a colour stands with a noun; a count may be a word, a digit or an article, and without any
    it is 1. Weather and time are read from any of their usual words.

    Raises:
        ConfigError: the language is unknown.
    """
    if check_language(language) == "en":
        words = text.lower()
        found = {_read_english(match) for match in _things_en().finditer(words)}
    else:
        words = text
        found = {_read_chinese(match) for match in _things_zh().finditer(words)}
    found |= {f"weather:{name}" for name, pattern in _WEATHER_SIGNS[language].items() if pattern.search(words)}
    found |= {f"time:{name}" for name, pattern in _TIME_SIGNS[language].items() if pattern.search(words)}
    return frozenset(found)


_WEATHER_SIGNS = {
    "en": {
        "sunny": re.compile(r"\b(sun|sunny|sunshine|clear|fine weather|weather is (fine|nice|good))\b"),
        "cloudy": re.compile(r"\b(clouds?|cloudy|overcast)\b"),
        "rain": re.compile(r"\b(rain|rains|raining|rainy)\b"),
        "snow": re.compile(r"\b(snow|snows|snowing|snowy)\b"),
        "storm": re.compile(r"\b(thunder)?(storms?|stormy)\b|\bthunder\b|\blightning\b"),
    },
    "zh": {
        "sunny": re.compile("晴|阳光|太阳|天气(很|真)?(好|不错)|好天气"),
        "cloudy": re.compile("阴|云"),
        "rain": re.compile("(?<!暴风)(?<!雷)雨(?!伞|衣)"),
        "snow": re.compile("雪"),
        "storm": re.compile("暴风雨|雷|闪电|风暴"),
    },
}
_TIME_SIGNS = {
    "en": {
        "day": re.compile(r"\b(day|daytime|today)\b"),
        "night": re.compile(r"\b(night|tonight|evening)\b"),
    },
    "zh": {"day": re.compile("白天|今天"), "night": re.compile("夜|晚")},
}
_COUNTS_EN = {"a": 1, "an": 1, "the": 1} | {word: value for value, word in enumerate(NUMBERS_EN)}
_COUNTS_ZH = {"两": 2} | {word: value for value, word in enumerate(NUMBERS_ZH)}
_KINDS_BY_NOUN = {name: kind for kind, names in NOUNS.items() for name in names[:3]}
_COLOURS_BY_ZH = {word[0]: colour for colour, word in COLOURS_ZH.items()}


def _either(words: Iterable[str]) -> str:
    return "|".join(sorted(set(words), key=len, reverse=True))


@cache
def _things_en() -> re.Pattern[str]:
    count, names = _either(_COUNTS_EN), _either(name for names in NOUNS.values() for name in names[:2])
    return re.compile(rf"\b(?:({count}|\d+)\s+)?(?:(?:small|large|big)\s+)?({_either(COLOURS)})\s+({names})\b")


@cache
def _things_zh() -> re.Pattern[str]:
    count, names = _either(_COUNTS_ZH), _either(names[2] for names in NOUNS.values())
    measures = _either(names[3] for names in NOUNS.values())
    return re.compile(rf"(?:({count}|\d+)(?:{measures}))?[大小]?的?([{''.join(_COLOURS_BY_ZH)}])色?的?[大小]?({names})")


def _read_english(match: re.Match[str]) -> str:
    count, colour, name = match.groups()
    return f"{_COUNTS_EN.get(count or 'a', count)} {colour} {_KINDS_BY_NOUN[name]}"


def _read_chinese(match: re.Match[str]) -> str:
    count, colour, name = match.groups()
    return f"{_COUNTS_ZH.get(count or '一', count)} {_COLOURS_BY_ZH[colour]} {_KINDS_BY_NOUN[name]}"
