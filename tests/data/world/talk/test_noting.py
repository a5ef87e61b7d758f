"""Talks in which what is shown and said is noted before it is talked about."""

import numpy as np
import pytest

from sensorium.data.world.talk import KINDS, LANGUAGES, Seen, Spoken, make_talk
from sensorium.data.world.talk.hearing import DICTATION, NOTHING_HEARD
from sensorium.data.world.talk.places import SURVEY, survey
from sensorium.languages import is_chinese

DRILLS = ("look", "ground", "outline", "survey")
PHRASES = {Seen: SURVEY, Spoken: DICTATION}


def both(kind, language, split="train", n=40):
    """Each talk as it is, and with notes."""
    for index in range(n):
        yield tuple(
            make_talk(kind, np.random.default_rng([3, index]), language=language, split=split, notes=notes)
            for notes in (0.0, 1.0)
        )


def asked_for(turn):
    """What a turn asks to take note of, and in which language; None where it asks for something else."""
    for part in turn.parts:
        for language in LANGUAGES:
            phrases = PHRASES.get(type(part))
            if phrases is not None and turn.parts[-1] in phrases.of(language, "train"):
                return part, language
    return None


def expected(turn):
    """The notes that a turn of the user's is taken of: (what, its note), recordings first; and what is left of it."""
    recordings = [part for part in turn.parts if isinstance(part, Spoken)]
    if turn.role != "user" or len(recordings) > 1:
        recordings = []
    pictures = [part for part in turn.parts if isinstance(part, Seen)]
    if turn.role != "user" or len(pictures) == len(turn.parts):
        pictures = []
    written = "zh" if is_chinese(turn.text) else "en"
    heard = [recording.text or NOTHING_HEARD[written] for recording in recordings]
    words = turn.text or "".join(heard)
    language = "zh" if is_chinese(words) else "en"
    notes = list(zip(recordings, heard, strict=True))
    notes += [(picture, survey(picture.scene, language)) for picture in pictures]
    left = [part for part in turn.parts if part not in pictures]
    if recordings:
        left = [" ".join(f'"{heard[0]}"' if part in recordings else part for part in left)]
    return notes, left, language


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DRILLS])
def test_the_talk_is_the_same_but_for_the_notes(kind, language):
    for plain, noted in both(kind, language):
        turns = iter(noted.turns)
        for before in plain.turns:
            notes, left, spoken = expected(before)
            for what, note in notes:
                request = next(turns)
                part, asked_in = asked_for(request)
                assert part == what
                # Nobody knows the language of a recording that came alone before it is written down.
                assert asked_in == ("en" if isinstance(what, Spoken) and not before.text else spoken)
                assert next(turns).parts == (note,)
            after = next(turns)
            assert after.role == before.role
            assert list(after.parts) == left
        assert next(turns, None) is None
        assert noted.facts == plain.facts


def test_what_was_spoken_is_said_once_more_in_quotation_marks():
    for plain, noted in both("spoken_vqa", "zh"):
        (heard,) = (part for part in plain.turns[0].parts if isinstance(part, Spoken))
        assert noted.turns[1].parts == (heard.text,)
        assert noted.turns[4].parts == (f'"{heard.text}"',)
        assert len(noted.turns) == 6


def test_what_was_spoken_and_what_was_typed_beside_it_are_told_apart():
    turns = [(plain.turns[0].parts, noted.turns[-2].parts) for plain, noted in both("weather", "en", n=80)]
    mixed = [(parts, words) for parts, (words,) in turns if {str, Spoken} <= set(map(type, parts))]
    assert len(mixed) > 20
    for parts, words in mixed:
        (heard,) = (part.text for part in parts if isinstance(part, Spoken))
        (typed,) = (part for part in parts if isinstance(part, str))
        assert words in (f'"{heard}" {typed}', f'{typed} "{heard}"')


def test_where_it_matters_who_spoke_when_recordings_stay_where_they_are():
    several = 0
    for plain, noted in both("speaker", "en"):
        if sum(isinstance(part, Spoken) for part in plain.turns[0].parts) > 1:
            assert noted == plain
            several += 1
    assert several > 10


@pytest.mark.parametrize("kind", DRILLS)
def test_what_is_a_look_itself_stays(kind):
    assert all(plain == noted for plain, noted in both(kind, "en"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_silence_it_is_noted_that_nothing_is_heard(language):
    silent = [pair for pair in both("refuse", language, n=120) if pair[0].facts["reason"] == "silent"]
    assert len(silent) > 10
    for plain, noted in silent:
        asked = plain.turns[0].text
        heard = NOTHING_HEARD[language if asked else "en"]
        note, last = noted.turns[:2], noted.turns[2:]
        assert [part for part in note[0].parts if isinstance(part, Spoken)] == [
            part for part in plain.turns[0].parts if isinstance(part, Spoken)
        ]
        assert note[1].text == heard
        assert last[0].text in (f'"{heard}" {asked}'.strip(), f'{asked} "{heard}"')
        assert last[1].text == plain.answer
        assert plain.answer == heard
