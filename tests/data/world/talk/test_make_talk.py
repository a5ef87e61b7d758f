from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from sensorium.data.world import pairs
from sensorium.data.world.talk import KINDS, LANGUAGES, WRITTEN, Seen, Spoken, Talk, lexicon, make_talk
from sensorium.data.world.talk.hearing import NAMES
from sensorium.data.world.talk.words import NUMBERS_EN, NUMBERS_ZH
from sensorium.errors import ConfigError

DRAWS = 400
FOR_EVERYONE = {f"This is {name}." for name in NAMES["en"]} | {f"这是{name}。" for name in NAMES["zh"]}
FOR_EVERYONE |= {*NUMBERS_EN, *NUMBERS_ZH, ""}  # there are but ten digits to be spoken alone, and one silence


@cache
def talks(kind: str, language: str, split: str, n: int = DRAWS) -> tuple[Talk, ...]:
    return tuple(make_talk(kind, np.random.default_rng([7, i]), language=language, split=split) for i in range(n))


def words(talk: Talk) -> Iterator[str]:
    """All that is written or spoken."""
    for turn in talk.turns:
        for part in turn.parts:
            if isinstance(part, str | Spoken):
                text = part if isinstance(part, str) else part.text
                if text or talk.facts.get("reason") != "silent":
                    yield text


def scenes(talk: Talk) -> Iterator[Seen]:
    yield from (part for turn in talk.turns for part in turn.parts if isinstance(part, Seen))


def plain(value: object) -> bool:
    """Whether JSON keeps it as it is."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


EVERY = [(kind, language) for kind in KINDS for language in LANGUAGES]


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_the_same_generator_makes_the_same_talk(kind, language):
    one, other = (make_talk(kind, np.random.default_rng(11), language=language, split="train") for _ in range(2))
    assert one == other


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_every_talk_is_well_formed(kind, language):
    for split in ("train", "validation"):
        for talk in talks(kind, language, split):
            assert talk.kind == kind
            assert talk.language == language
            assert [turn.role for turn in talk.turns] == ["user", "assistant"] * (len(talk.turns) // 2)
            assert all(turn.parts for turn in talk.turns)
            assert plain(dict(talk.facts))
            for text in words(talk):
                assert text
                # Clauses of one answer, each followed by its sound, are joined again without losing the blank between.
                assert text == text.strip() or (kind == "speak" and text == " " + text.strip())
                assert "{" not in text


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_training_never_meets_a_held_out_combination(kind, language):
    held_out = frozenset(pairs("validation"))
    for talk in talks(kind, language, "train"):
        seen = {(thing.colour, thing.kind) for part in scenes(talk) for thing in part.scene.things}
        assert not seen & held_out
        for text in words(talk):
            for reader in LANGUAGES:  # translations hold both
                said = {tuple(found.split()[1:]) for found in lexicon.attributes(text, reader) if ":" not in found}
                assert not said & held_out, text


def asked(talk: Talk) -> set[str]:
    """What the person writes or says, but for introductions, single spoken digits and silence: those are for all."""
    parts = [part for turn in talk.turns if turn.role == "user" for part in turn.parts]
    return {
        part if isinstance(part, str) else part.text for part in parts if isinstance(part, str | Spoken)
    } - FOR_EVERYONE


@cache
def trained_sentences(language: str) -> frozenset[str]:
    return frozenset(text for kind in KINDS for talk in talks(kind, language, "train") for text in asked(talk))


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_what_validation_asks_is_never_asked_in_training_by_any_kind(kind, language):
    for talk in talks(kind, language, "validation"):
        assert not asked(talk) & trained_sentences(language)


def test_kinds_for_no_special_purpose_answer_in_words():
    assert {"caption", "vqa", "weather", "dictation", "fuse", "chat"} <= set(WRITTEN)
    for kind in WRITTEN:
        answers = [turn for talk in talks(kind, "en", "train") for turn in talk.turns if turn.role == "assistant"]
        assert all(isinstance(part, str) for turn in answers for part in turn.parts)


@pytest.mark.parametrize(
    ("kind", "language", "split", "message"),
    [
        ("captoin", "en", "train", "did you mean 'caption'"),
        ("caption", "fr", "train", "give one of en, zh"),
        ("caption", "en", "test", "give one of train, validation"),
    ],
)
def test_unknown_names_are_refused(kind, language, split, message):
    with pytest.raises(ConfigError, match=message):
        make_talk(kind, np.random.default_rng(0), language=language, split=split)
