"""Who speaks: people by number, some of whom only validation hears, and some only the judge of speech."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sensorium.config import nearest
from sensorium.data.world.espeak import Manner
from sensorium.data.world.splits import check_split
from sensorium.errors import ConfigError

Person = Literal["man", "woman", "child"]
JUDGE = "judge"  # a group of voices beside those of the splits: who learns from them judges the speech of others

_EVEN_LOUDNESS = 0.5  # the middle of the loudnesses, in dB
LANGUAGES = {"en": "gmw/en", "zh": "sit/cmn"}  # files of espeak-ng's voices

# Variants of espeak-ng that sound like people and differ measurably from each other. Those whose sound depends on
# memory that the library never sets (whisper, f2, f3, f5, ...) are left out: they differ from process to process.
_PEOPLE: dict[str, dict[str, Person]] = {
    "train": {
        "m1": "man",
        "f1": "woman",
        "boris": "man",
        "anika": "woman",
        "travis": "man",
        "linda": "woman",
        "mike2": "man",
        "steph": "woman",
        "kaukovalta": "man",
        "grandma": "woman",
        "m8": "man",
        "zac": "child",
    },
    "validation": {"michel": "man", "f4": "woman", "ed": "man", "shelby": "woman"},
    JUDGE: {
        "antonio": "man",
        "belinda": "woman",
        "m7": "man",
        "Annie": "woman",
        "john": "man",
        "Andrea": "woman",
        "robert": "man",
        "m5": "man",
        "gustave": "man",
        "m3": "man",
        "paul": "man",
        "Alex": "man",
        "aunty": "woman",
        "edward": "man",
        "marcelo": "man",
        "Mario": "man",
        "Jacky": "man",
        "Denis": "man",
        "Hugo": "man",
        "m2": "man",
    },
}


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker: espeak-ng's `variant`, who that sounds like, and the usual pitch (0..100)."""

    variant: str
    person: Person
    pitch: int = 50


def variants(split: str) -> tuple[str, ...]:
    """The variants that a split (or `JUDGE`) hears; none is in two. Raises `ConfigError` for an unknown split."""
    return tuple(_people(split))


def voice_of(number: int, split: str) -> Voice:
    """The speaker of a number in a split (or `JUDGE`): any integer from 0 on is somebody, the same in every language.

    Numbers that are equal modulo the number of variants share their variant, at another pitch.

    Raises:
        ConfigError: the number is negative, or the split is unknown.
    """
    if number < 0:
        raise ConfigError(f"voice is {number}: give an integer from 0 on")
    people = list(_people(split).items())
    variant, person = people[number % len(people)]
    round_ = number // len(people)
    return Voice(variant, person, 50 if round_ == 0 else int(_drawn("voice", number).integers(38, 63)))


def espeak_name(voice: Voice, language: str) -> str:
    """What espeak-ng calls the speaker. Raises `ConfigError` when it speaks no such language here."""
    if language not in LANGUAGES:
        raise ConfigError(f"no voice speaks {language!r}{nearest(language, LANGUAGES)} (give en or zh)")
    return f"{LANGUAGES[language]}+{voice.variant}"


def even_manner(voice: Voice) -> tuple[Manner, float]:
    """How somebody says everything who always speaks alike, and how loudly (0..1)."""
    return Manner(pitch=voice.pitch), _EVEN_LOUDNESS


def manner_of(voice: Voice, *drawn_from: str | int) -> tuple[Manner, float]:
    """How the speaker says something this time, and how loudly (0.25..1): drawn from whatever names the utterance."""
    rng = _drawn("manner", voice.variant, voice.pitch, *drawn_from)
    manner = Manner(
        speed=int(rng.integers(135, 206)),
        pitch=voice.pitch + int(rng.integers(-4, 5)),
        range=int(rng.integers(35, 71)),
    )
    return manner, float(10 ** (rng.uniform(-12.0, 0.0) / 20))


def _people(split: str) -> dict[str, Person]:
    return _PEOPLE[split if split == JUDGE else check_split(split)]


def _drawn(*names: str | int) -> np.random.Generator:
    return np.random.default_rng(_words("\0".join(map(str, names))))


def _words(key: str) -> Sequence[int]:
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return [int.from_bytes(digest[at : at + 4], "big") for at in range(0, 16, 4)]
