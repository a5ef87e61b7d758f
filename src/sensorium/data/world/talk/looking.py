"""To look before answering: what is shown is first gone over in words, and then asked about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sensorium.data.world.talk.places import SURVEY, survey
from sensorium.data.world.talk.setting import Setting
from sensorium.data.world.talk.types import Language, Seen, Talk, Turn


def looked(talk: Talk, setting: Setting) -> Talk:
    """The same talk, but each picture of the user's is gone over on request before anything else is said about it.

    That is done in the language of what is written with the picture; where all is spoken, nobody knows it yet, and
    it is done in English.
    """
    return replace(talk, turns=tuple(after for turn in talk.turns for after in _looked(turn, setting)))


def _looked(turn: Turn, setting: Setting) -> Iterator[Turn]:
    pictures = [part for part in turn.parts if isinstance(part, Seen)]
    others = tuple(part for part in turn.parts if not isinstance(part, Seen))
    if turn.role != "user" or not pictures or not others:
        yield turn
        return
    language: Language = setting.language if any(isinstance(part, str) for part in others) else "en"
    for picture in pictures:
        yield Turn("user", (picture, setting.pick(SURVEY.of(language, setting.split))))
        yield Turn("assistant", (survey(picture.scene, language),))
    yield Turn("user", others)
