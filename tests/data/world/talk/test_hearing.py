import re

import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Seen, Spoken, make_talk
from sensorium.data.world.talk.setting import speakable
from sensorium.data.world.voices import voice_of


def drawn(kind, language, split="train", n=500):
    return [make_talk(kind, np.random.default_rng([9, i]), language=language, split=split) for i in range(n)]


def spoken(talk):
    return [part for part in talk.turns[0].parts if isinstance(part, Spoken)]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_dictation_is_what_was_said(language, split):
    talks = drawn("dictation", language, split)
    for talk in talks:
        (heard,) = spoken(talk)
        assert heard.text == talk.answer == talk.facts["transcript"]
        assert heard.language == language
        assert not any(letter.isdigit() for letter in heard.text)
        assert heard.text[-1] in ".?。？"
        length = len(heard.text.split()) if language == "en" else len(heard.text) / 2
        assert 1 < length <= 10
    assert len({talk.answer for talk in talks}) > 350
    assert all(len(talk.turns[0].parts) == 2 for talk in talks)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_two_sentences_are_said_in_one_recording(language, split):
    longer, talks = 0, drawn("two_sentences", language, split, n=100)
    for talk in talks:
        (heard,) = spoken(talk)
        assert heard.text == talk.answer == talk.facts["transcript"]
        between, ends = (" ", "[.?]") if language == "en" else ("", "[。？]")
        assert re.fullmatch(f"[^.?。？]+{ends}{between}[^.?。？]+{ends}", heard.text)
        length = len(heard.text.split()) if language == "en" else len(heard.text) / 2
        assert length <= 13
        longer += not speakable(heard.text, language)
    assert len({talk.answer for talk in talks}) > 80
    assert longer > 20  # than what is said in one breath


@pytest.mark.parametrize("language", LANGUAGES)
def test_spoken_questions_are_short_and_about_a_picture(language):
    for talk in drawn("spoken_vqa", language, n=200):
        (heard,) = spoken(talk)
        assert len(talk.turns[0].parts) == 2
        assert talk.turns[0].text == ""
        assert heard.text == talk.facts["transcript"]
        assert talk.facts["answer"] == talk.answer


def test_digits_are_seen_heard_or_both():
    words = dict(zip("zero one two three four five six seven eight nine".split(), range(10), strict=True))
    sources = set()
    for talk in drawn("digits", "en"):
        values = talk.facts["digits"]
        assert talk.answer == " ".join(map(str, values))
        scenes = [part.scene for part in talk.turns[0].parts if isinstance(part, Seen)]
        voices = [[words[word] for word in heard.text.split()] for heard in spoken(talk)]
        assert all(list(scene.digits) == values for scene in scenes)
        assert all(voice == values for voice in voices)
        sources.add((talk.facts["source"], len(scenes), len(voices)))
    assert sources == {("picture", 1, 0), ("speech", 0, 1), ("both", 1, 1)}


def test_sequences_of_digits_are_held_out():
    train = {tuple(talk.facts["digits"]) for talk in drawn("digits", "en", n=2000)}
    held_out = {tuple(talk.facts["digits"]) for talk in drawn("digits", "zh", "validation", n=2000)}
    assert {len(digits) for digits in train & held_out} == {1}


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_speakers_are_told_apart_by_their_voices(language, split):
    answers = set()
    for talk in drawn("speaker", language, split):
        voices = [heard.voice for heard in spoken(talk)]
        if talk.facts["question"] == "who":
            one, other, speaking = voices
            names = [part.split()[-1].strip("这是。.") for part in talk.turns[0].parts[:3:2]]
            assert voice_of(one, split).variant != voice_of(other, split).variant
            assert talk.answer == names[[one, other].index(speaking)]
        elif talk.facts["question"] == "same":
            assert (voices[0] == voices[1]) == (talk.answer in ("same", "相同"))
            answers.add(talk.answer)
        else:
            person = {"man": "man", "男人": "man", "woman": "woman", "女人": "woman"}[talk.answer]
            assert voice_of(voices[0], split).person == person
            answers.add(talk.answer)
    assert len(answers) == 4
