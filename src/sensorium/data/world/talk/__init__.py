"""Conversations about scenes: exact by what is shown and said, in English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.config import nearest
from sensorium.data.world.talk.captions import caption
from sensorium.data.world.talk.casual import casual as typed_in_haste
from sensorium.data.world.talk.chats import chat
from sensorium.data.world.talk.editing import EDITED
from sensorium.data.world.talk.fusing import FUSED
from sensorium.data.world.talk.gathering import greet, several
from sensorium.data.world.talk.hearing import dictation, digits, speaker, spoken_vqa, two_sentences
from sensorium.data.world.talk.making import ALOUD, DRAWN, VOICE, discuss, recite, speak, vary
from sensorium.data.world.talk.noting import noted
from sensorium.data.world.talk.places import detect, ground, look, look_over, outline, point
from sensorium.data.world.talk.questions import vqa
from sensorium.data.world.talk.quiz import quiz, remarked, shapes, told, verify
from sensorium.data.world.talk.refusals import refuse
from sensorium.data.world.talk.school import arithmetic, instruct
from sensorium.data.world.talk.setting import Maker, Setting
from sensorium.data.world.talk.telling import story, summarise, translate
from sensorium.data.world.talk.types import LANGUAGES, Language, Piece, Seen, Spoken, Talk, Turn
from sensorium.data.world.talk.weather import weather
from sensorium.errors import ConfigError

__all__ = [
    "ALOUD",
    "KINDS",
    "LANGUAGES",
    "VOICE",
    "WRITTEN",
    "Language",
    "Piece",
    "Seen",
    "Spoken",
    "Talk",
    "Turn",
    "make_talk",
]

KINDS: dict[str, Maker] = {
    "caption": caption,
    "vqa": vqa,
    "quiz": quiz,
    "shapes": shapes,
    "verify": verify,
    "told": told,
    "remarked": remarked,
    "weather": weather,
    "detect": detect,
    "point": point,
    "ground": ground,
    "outline": outline,
    "look": look,
    "survey": look_over,
    "dictation": dictation,
    "two_sentences": two_sentences,
    "spoken_vqa": spoken_vqa,
    "digits": digits,
    "speaker": speaker,
    "arithmetic": arithmetic,
    "instruct": instruct,
    "story": story,
    "translate": translate,
    "summarise": summarise,
    "chat": chat,
    "refuse": refuse,
    "greet": greet,
    **FUSED,
    **DRAWN,
    **EDITED,
    "vary": vary,
    "discuss": discuss,
    "speak": speak,
    "recite": recite,
    "several": several,
}
_DRILLS = ("ground", "outline", "look", "survey")  # of the eyes
_MADE = (*DRAWN, *EDITED, "vary", "discuss", "speak", "recite", "several")
_VARIANTS = ("two_sentences", *(kind for kind in FUSED if kind != "fuse"))  # of others
# What is talked about when no kinds are named: every sort once, those with answers in words.
WRITTEN = tuple(kind for kind in KINDS if kind not in (*_DRILLS, *_MADE, *_VARIANTS))


def make_talk(
    kind: str,
    rng: np.random.Generator,
    *,
    language: str,
    split: str,
    languages: Sequence[Language] = LANGUAGES,
    notes: float = 0.0,
    casual: float = 0.0,
) -> Talk:
    """A conversation of a kind, drawn from the generator.

    Args:
        kind: one of `KINDS`.
        rng: the only source of chance.
        language: "en" or "zh".
        split: "train" or "validation": what is held out from training never appears there, in any kind or language.
        languages: those that a talk may mix.
        notes: probability that what the user shows and says is gone over and written down before it is answered.
        casual: probability that the user types in haste.

    Raises:
        ConfigError: an unknown kind, language or split.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of talk {kind!r}{nearest(kind, KINDS)}")
    setting = Setting(rng, language, split, languages)
    talk = KINDS[kind](setting)
    if setting.chance(casual):
        talk = typed_in_haste(talk)
    return noted(talk, setting) if setting.chance(notes) and kind not in _DRILLS else talk
