"""Talks whose user types in haste."""

import numpy as np
import pytest

from sensorium.data.world.talk import KINDS, LANGUAGES, Seen, Spoken, Talk, Turn, make_talk
from sensorium.data.world.talk.casual import casual

ENDS = ".?!。？！"


def both(kind, language, n=30):
    """Each talk as it is, and typed in haste."""
    for index in range(n):
        yield tuple(
            make_talk(kind, np.random.default_rng([6, index]), language=language, split="train", casual=chance)
            for chance in (0.0, 1.0)
        )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_what_is_typed_changes_and_only_at_its_ends(kind, language):
    for plain, hasty in both(kind, language):
        assert hasty.facts == plain.facts
        for before, after in zip(plain.turns, hasty.turns, strict=True):
            if before.role == "assistant":
                assert after == before
            for whole, part in zip(before.parts, after.parts, strict=True):
                if isinstance(whole, (Seen, Spoken)):
                    assert part == whole
                else:
                    assert part.lower().rstrip(ENDS) == whole.lower().rstrip(ENDS)


@pytest.mark.parametrize("kind", ["vqa", "edit", "refuse"])
def test_questions_and_requests_begin_small_and_end_without_a_stop(kind):
    for _, hasty in both(kind, "en"):
        for turn in hasty.turns[::2]:
            if not turn.text:  # a recording without words, of which nothing is said
                assert hasty.facts["reason"] == "silent"
                continue
            assert turn.text[-1] not in ENDS
            assert turn.text[0].islower() or turn.text.startswith("I ")


def test_what_is_repeated_word_for_word_stays():
    said = Talk("speak", "en", (Turn("user", ("Say: It rains.",)), Turn("assistant", ("It rains.",))))
    assert casual(said) == said
    hasty = casual(Talk("vqa", "en", (Turn("user", ("Is it a cat?",)), Turn("assistant", ("yes",)))))
    assert hasty.turns[0].parts == ("is it a cat",)
    for typed, left in (
        ("?!", "?!"),
        ("", ""),
        ("I'd like a cat.", "I'd like a cat"),
        ("OK.", "OK"),
        ("A cat.", "a cat"),
    ):
        assert casual(Talk("greet", "en", (Turn("user", (typed,)),))).turns[0].parts == (left,)
