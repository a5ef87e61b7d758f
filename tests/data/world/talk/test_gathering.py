"""Small talk, and talks of several sorts in one."""

from itertools import pairwise

import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Seen, Spoken, make_talk
from sensorium.languages import is_chinese


def made(kind, language, split="train", n=300):
    return [make_talk(kind, np.random.default_rng([4, index]), language=language, split=split) for index in range(n)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_said_first_is_held_out_or_trained_on_and_never_both(language):
    def words(talk):
        (said,) = talk.turns[0].parts
        return said.text if isinstance(said, Spoken) else said

    sides = [{words(talk) for talk in made("greet", language, split)} for split in ("train", "validation")]
    assert all(sides)
    assert not sides[0] & sides[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_talk_goes_on_from_small_talk_to_pictures_and_back(language):
    drawn_after_words = words_after_drawing = 0
    for talk in made("several", language):
        kinds = talk.facts["kinds"]
        assert 2 <= len(kinds) <= 3
        pictured = [
            any(isinstance(part, Seen) for part in turn.parts) for turn in talk.turns if turn.role == "assistant"
        ]
        drawn_after_words += any(after and not before for before, after in pairwise(pictured))
        words_after_drawing += any(before and not after for before, after in pairwise(pictured))
    assert drawn_after_words > 30
    assert words_after_drawing > 30


@pytest.mark.parametrize("language", LANGUAGES)
def test_some_go_on_in_the_other_language(language):
    changing = sum(
        len({is_chinese(turn.text) for turn in talk.turns if turn.role == "user" and turn.text}) == 2
        for talk in made("several", language)
    )
    assert 15 < changing < 90


@pytest.mark.parametrize("language", LANGUAGES)
def test_nobody_misses_a_picture_after_one_was_shown(language):
    for talk in made("several", language):
        assert "I see no picture." not in [turn.text for turn in talk.turns]
        assert "我没有看到图片。" not in [turn.text for turn in talk.turns]
