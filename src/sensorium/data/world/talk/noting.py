"""To take note before answering: what is said is first written down, what is shown gone over; then it is talked about.

What was spoken then stands in quotation marks where the recording stood: `"It is raining." What is the weather?`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sensorium.data.world.talk.hearing import DICTATION, NOTHING_HEARD
from sensorium.data.world.talk.places import SURVEY, survey
from sensorium.data.world.talk.setting import Setting
from sensorium.data.world.talk.types import Seen, Spoken, Talk, Turn
from sensorium.languages import beside, language_of, quoted


def noted(talk: Talk, setting: Setting) -> Talk:
    """The same talk, but each recording and picture of the user's is noted, on request, before it is answered.

    That is done in the language of what is written beside it; where all is spoken, nobody knows it before it is
    written down, which is asked for in English. Where there are several recordings it matters who spoke when, and they
    are left where they stand; so is a picture of which nothing is said.
    """
    return replace(talk, turns=tuple(after for turn in talk.turns for after in _noted(turn, setting)))


def _noted(turn: Turn, setting: Setting) -> Iterator[Turn]:
    recordings = [part for part in turn.parts if isinstance(part, Spoken)]
    pictures = [part for part in turn.parts if isinstance(part, Seen)]
    writes = len(recordings) == 1
    looks = bool(pictures) and len(pictures) < len(turn.parts)
    if turn.role != "user" or not (writes or looks):
        yield turn
        return
    language = language_of(turn.text)
    left = [part for part in turn.parts if not isinstance(part, Seen)]
    if writes:
        yield Turn("user", (recordings[0], setting.pick(DICTATION.of(language, setting.split))))
        words = recordings[0].text or NOTHING_HEARD[language]
        yield Turn("assistant", (words,))
        language = language_of(turn.text or words)
        left = [beside(*(part if isinstance(part, str) else quoted(words) for part in left))]
    for picture in pictures:
        yield Turn("user", (picture, setting.pick(SURVEY.of(language, setting.split))))
        yield Turn("assistant", (survey(picture.scene, language),))
    yield Turn("user", tuple(left))
