"""Many questions about one picture."""

import re

import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Seen, lexicon, make_talk
from sensorium.data.world.talk.refusals import is_refusal

YES_NO = {"en": {"yes", "no"}, "zh": {"是的", "不是", "有", "没有"}}


def drawn(kind, language, n=200):
    return [make_talk(kind, np.random.default_rng([31, i]), language=language, split="train") for i in range(n)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_verified_is_mostly_yes_or_no_and_as_often_one_as_the_other(language):
    said, asked = [], 0
    for talk in drawn("verify", language, n=600):
        answers = [turn.text for turn in talk.turns[1::2]]
        assert answers == [answer for _, answer in talk.facts["answers"]]
        assert 1 <= len(answers) <= 16
        asked += len(answers)
        concluded = [(sort, re.split(", so |，所以", answer)[-1]) for sort, answer in talk.facts["answers"]]
        said += [(sort, answer) for sort, answer in concluded if answer in YES_NO[language]]
    assert len(said) > 0.5 * asked
    for sort in ("relation", "exist", "more"):
        own = [answer for which, answer in said if which == sort]
        assert len(own) > 50
        affirmed = sum(answer in ("yes", "是的", "有") for answer in own)
        assert 0.4 * len(own) < affirmed < 0.6 * len(own)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_asked_of_what_is_not_there_is_refused(language):
    refused = 0
    for talk in drawn("verify", language):
        (scene,) = (part.scene for part in talk.turns[0].parts if isinstance(part, Seen))
        there = {lexicon.noun(thing.kind, language) for thing in scene.things}
        for sort, answer in talk.facts["answers"]:
            assert is_refusal(answer) == (sort == "absent")
            if sort == "absent":
                refused += 1
                assert not any(
                    answer.rstrip(".。").endswith((" " if language == "en" else "") + name) for name in there
                )
    assert refused > 200


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_about_a_picture_are_not_asked_twice(language):
    for kind in ("quiz", "verify"):
        for talk in drawn(kind, language, n=60):
            questions = [turn.text for turn in talk.turns[::2]]
            assert len(set(questions)) == len(questions)
