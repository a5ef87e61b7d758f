import importlib
import pkgutil

import numpy as np
import pytest

from sensorium.data.world import talk
from sensorium.data.world.talk.setting import QUESTIONS, Phrases, Setting, sentence_side, speakable


def every_phrases():
    for module in pkgutil.iter_modules(talk.__path__, f"{talk.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Phrases):
                yield f"{module.name}.{name}", value
            elif isinstance(value, dict):
                yield from ((f"{name}.{key}", item) for key, item in value.items() if isinstance(item, Phrases))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_set_of_phrases_has_many_sentences_on_its_own_side(language):
    found = list(every_phrases())
    assert len(found) > 40
    for name, phrases in found:
        train, validation = phrases.of(language, "train"), phrases.of(language, "validation")
        assert len({*train, *validation}) == len(train) + len(validation) >= 20, name
        assert len(train) >= 10, name
        assert all(sentence_side(text) == "train" for text in train)
        assert all(sentence_side(text) == "validation" for text in validation)


def test_openings_and_cores_make_sentences():
    phrases = Phrases(en=("is it {a}?", "what is it?", "a cup?"), zh=("是{a}吗？", "这是什么？", "杯子吗？"))
    every = {*phrases.of("en", "train"), *phrases.of("en", "validation")}
    assert len(every) == 3 * len(QUESTIONS["en"])
    assert {"Is it {a}?", "Tell me, what is it?"} <= every


def test_a_split_without_a_sentence_is_an_error():
    with pytest.raises(ValueError, match="no sentence for"):
        Phrases(en=("one.",), zh=("一。",), openings={"en": ("{}",), "zh": ("{}",)})


@pytest.mark.parametrize("split", ["train", "validation"])
def test_pairs_differ_as_asked(split):
    for seed in range(50):
        setting = Setting(np.random.default_rng(seed), "en", split)
        pairs = setting.pairs(3, colours=True)
        assert len({colour for colour, _ in pairs}) == len({kind for _, kind in pairs}) == 3


def test_written_neighbours_become_one():
    setting = Setting(np.random.default_rng(0), "en", "train")
    assert all(setting.arranged("One.", None, "Two.") in (("One. Two.",), ("Two. One.",)) for _ in range(20))
    spoken = setting.speak("Hello.")
    assert all(set(setting.arranged(spoken, "Two.")) == {spoken, "Two."} for _ in range(20))


def test_what_is_spoken_is_short():
    assert speakable("one two three four five six seven eight nine ten", "en")
    assert not speakable("one two three four five six seven eight nine ten eleven", "en")
    assert speakable("一" * 20, "zh")
    assert not speakable("一" * 21, "zh")
    assert speakable("一" * 26, "zh", breaths=1.3)
    assert not speakable("one two three four five six seven eight nine ten eleven twelve thirteen fourteen", "en", 1.3)
