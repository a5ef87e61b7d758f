import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, lexicon, make_talk
from sensorium.data.world.talk.words import COLOURS_ZH, NOUNS, PLACES_ZH, SIZES_ZH, TIME_WORDS, WEATHER_WORDS
from sensorium.data.world.things import COLOURS, KINDS, PLACES, SIZES, TIMES, WEATHERS
from sensorium.errors import ConfigError

TWO_APPLES_AND_A_CUP = [(2, "red", "apple"), (1, "blue", "cup")]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["caption", "summarise", "story"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_what_is_said_is_read_back(kind, language, split):
    for index in range(1000):
        talk = make_talk(kind, np.random.default_rng([5, index]), language=language, split=split)
        assert lexicon.attributes(talk.answer, language) == lexicon.truth(talk.facts), talk.answer


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_thing_is_read_back_in_every_count_and_colour(language):
    for kind in KINDS:
        for colour in COLOURS:
            for count in range(1, 10):
                words = lexicon.counted(count, colour, kind, language)
                assert lexicon.attributes(words, language) == {f"{count} {colour} {kind}"}


def test_captions_have_one_form():
    things = TWO_APPLES_AND_A_CUP
    assert lexicon.caption(things, None, None, "en") == "two red apples and a blue cup"
    assert lexicon.caption(things, "rain", "night", "en") == "two red apples and a blue cup on a rainy night"
    assert lexicon.caption([], "sunny", "night", "en") == "a clear night"
    assert lexicon.caption(things, None, None, "zh") == "两个红色的苹果和一个蓝色的杯子"
    assert lexicon.caption(things, "rain", "night", "zh") == "两个红色的苹果和一个蓝色的杯子，下雨的夜晚"
    assert lexicon.caption([], "sunny", "day", "zh") == "晴朗的白天"
    assert lexicon.caption([(1, "orange", "ball"), (5, "pink", "fish"), (1, "red", "umbrella")], None, None, "en") == (
        "an orange ball, five pink fish and a red umbrella"
    )


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("There are 2 red apples, I think, and one large orange ball!", "en", {"2 red apple", "1 orange ball"}),
        ("Red apple", "en", {"1 red apple"}),
        ("the appletree is red", "en", set()),
        ("A sunny morning under a clear sky", "en", {"weather:sunny"}),
        ("It's a thunderstorm tonight, with lightning", "en", {"weather:storm", "time:night"}),
        ("take an umbrella, it rains", "en", {"weather:rain"}),
        ("It is a good day", "en", {"time:day"}),
        ("图里有2个红苹果，还有一条大的蓝色的鱼。", "zh", {"2 red apple", "1 blue fish"}),
        ("红苹果", "zh", {"1 red apple"}),
        ("记得带雨伞", "zh", set()),
        ("今晚有暴风雨", "zh", {"weather:storm", "time:night"}),
        ("白天有雷雨", "zh", {"weather:storm", "time:day"}),
        ("外面下着雨，天很阴", "zh", {"weather:rain", "weather:cloudy"}),
        ("", "en", set()),
    ],
)
def test_reading_is_lenient(text, language, found):
    assert lexicon.attributes(text, language) == found


@pytest.mark.parametrize(
    ("count", "kind", "words"),
    [(2, "cat", "两只"), (1, "fish", "一条"), (5, "tree", "五棵"), (3, "umbrella", "三把"), (2, None, "两个")],
)
def test_chinese_counts_with_measure_words(count, kind, words):
    assert lexicon.amount(count, "zh", kind) == words


def test_things_are_added_up_and_named_in_one_order():
    mentions = [(1, "blue", "cup"), (1, "red", "apple"), (2, "blue", "cup"), (1, "brown", "apple")]
    assert lexicon.added(mentions) == [(1, "red", "apple"), (1, "brown", "apple"), (3, "blue", "cup")]


def test_every_id_has_its_words():
    assert set(NOUNS) == set(KINDS)
    assert set(COLOURS_ZH) == set(COLOURS)
    assert set(SIZES_ZH) == set(SIZES)
    assert set(PLACES_ZH) == set(PLACES)
    assert all(set(words) == set(WEATHERS) for words in WEATHER_WORDS.values())
    assert all(set(words) == set(TIMES) for words in TIME_WORDS.values())


def test_an_unknown_language_is_refused():
    with pytest.raises(ConfigError, match="language is 'fr': give one of en, zh"):
        lexicon.attributes("deux pommes", "fr")
