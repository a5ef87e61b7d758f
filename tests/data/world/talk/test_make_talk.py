from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from sensorium.data.world import pairs
from sensorium.data.world.talk import KINDS, LANGUAGES, Seen, Spoken, Talk, lexicon, make_talk
from sensorium.errors import ConfigError

DRAWS = 400


@cache
def talks(kind: str, language: str, split: str, n: int = DRAWS) -> tuple[Talk, ...]:
    return tuple(make_talk(kind, np.random.default_rng([7, i]), language=language, split=split) for i in range(n))


def words(talk: Talk) -> Iterator[str]:
    """All that is written or spoken."""
    for turn in talk.turns:
        for part in turn.parts:
            if isinstance(part, str | Spoken):
                yield part if isinstance(part, str) else part.text


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
                assert text == text.strip()
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


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_validation_asks_in_sentences_that_training_never_uses(kind, language):
    trained = {text for talk in talks(kind, language, "train") for text in words_of_user(talk)}
    for talk in talks(kind, language, "validation"):
        unseen = [text for text in words_of_user(talk) if text not in trained]
        assert unseen or any(scenes(talk)), talk


def words_of_user(talk: Talk) -> set[str]:
    return {
        part if isinstance(part, str) else part.text
        for turn in talk.turns
        if turn.role == "user"
        for part in turn.parts
        if isinstance(part, str | Spoken)
    }


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
