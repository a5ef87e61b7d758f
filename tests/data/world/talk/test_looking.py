"""Talks in which what is shown is gone over before it is talked about."""

import numpy as np
import pytest

from sensorium.data.world.talk import KINDS, LANGUAGES, Seen, make_talk
from sensorium.data.world.talk.places import SURVEY, survey

DRILLS = ("look", "ground", "outline", "survey")


def both(kind, language, split="train", n=40):
    """Each talk as it is, and looked at."""
    for index in range(n):
        yield tuple(
            make_talk(kind, np.random.default_rng([3, index]), language=language, split=split, look=look)
            for look in (0.0, 1.0)
        )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DRILLS])
def test_the_talk_is_the_same_but_for_the_looks(kind, language):
    for plain, looked in both(kind, language):
        shown = [part for turn in plain.turns if turn.role == "user" for part in turn.parts if isinstance(part, Seen)]
        pairs = [
            (turn, answer)
            for turn, answer in zip(looked.turns, looked.turns[1:], strict=False)
            if turn.role == "user" and any(isinstance(part, Seen) for part in turn.parts)
        ]
        assert [turn.parts[0] for turn, _ in pairs] == shown
        for turn, answer in pairs:
            scene, request = turn.parts
            spoken = {spoken for spoken in LANGUAGES if request in SURVEY.of(spoken, "train")}
            assert spoken
            assert answer.parts in {(survey(scene.scene, one),) for one in spoken}
        asides = {id(turn) for pair in pairs for turn in pair}
        rest = [turn for turn in looked.turns if id(turn) not in asides]
        assert [turn.role for turn in rest] == [turn.role for turn in plain.turns]
        for before, after in zip(plain.turns, rest, strict=True):
            kept = [part for part in before.parts if before.role == "assistant" or not isinstance(part, Seen)]
            assert list(after.parts) == kept
        assert looked.facts == plain.facts


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_survey_is_in_the_language_of_the_words_beside_it_or_in_english(language):
    for kind, expected in (("vqa", language), ("spoken_vqa", "en")):
        for _, looked in both(kind, language):
            request = looked.turns[0].parts[1]
            assert request in SURVEY.of(expected if any(map(is_text, looked.turns[2].parts)) else "en", "train")


def is_text(part):
    return isinstance(part, str)


@pytest.mark.parametrize("kind", DRILLS)
def test_what_is_a_look_itself_stays(kind):
    assert all(plain == looked for plain, looked in both(kind, "en"))
