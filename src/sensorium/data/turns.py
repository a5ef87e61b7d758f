"""Conversations as LLaVA and ShareGPT write them: speakers by other names, and `<image>` where a picture stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.config import nearest
from sensorium.data.media_files import MediaKind, MediaPart, given_media
from sensorium.data.records import Content
from sensorium.errors import DataError
from sensorium.messages import Audio, Image, Message, Part, Role, Text, conversation_from

_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}
MEDIA_KEYS: dict[str, MediaKind] = {"image": "image", "images": "image", "audio": "audio", "audios": "audio"}
_PLACE = re.compile(r"\n?<(image|audio)>\n?")


def record_media(record: Mapping[str, Any], folder: Path) -> list[MediaPart]:
    """The pictures and recordings that a record lists beside its conversation (`image`, `images`, `audio`, `audios`).

    Raises:
        DataError: when one is no picture or recording, or its file is not there.
    """
    found: list[MediaPart] = []
    for key, kind in MEDIA_KEYS.items():
        value = record.get(key)
        if value not in (None, ""):  # an empty path stands for no picture too
            found += [given_media(item, kind, folder) for item in (value if isinstance(value, list) else [value])]
    return found


def conversation_of(turns: Any, media: Sequence[MediaPart], folder: Path, system: Any = None) -> Content:
    """A conversation from its turns, with the pictures and recordings that stand beside it put in their places.

    A turn is `{"from", "value"}` or `{"role", "content"}`. The next picture takes the place of each `<image>` in its
    words, or of each part `{"type": "image"}` that names none; recordings likewise. Where no place is marked, all come
    first in the first turn of the user.

    Args:
        turns: the list of turns.
        media: what is to be placed, in order.
        folder: where relative paths of parts begin.
        system: instructions to stand above, None for none.

    Raises:
        DataError: when a turn has another form, or places and media differ in number.
    """
    if not isinstance(turns, list) or not turns:
        raise DataError("a conversation must be a non-empty list of messages")
    if not media and system is None and all(isinstance(turn, Mapping) and "role" in turn for turn in turns):
        return tuple(conversation_from(turns, folder=folder))
    filling = _Filling(media, folder)
    messages = [] if system in (None, "") else [Message.system(_words(system, 0))]
    for index, turn in enumerate(turns):
        role, content = _role_and_content(turn, index)
        messages.append(Message(role, tuple(filling.parts(content, index))))
    return tuple(filling.completed(messages))


class _Filling:
    """Puts pictures and recordings, each kind in order, where a conversation marks a place."""

    def __init__(self, media: Sequence[MediaPart], folder: Path) -> None:
        self._media = media
        self._folder = folder
        self._waiting: dict[str, list[MediaPart]] = {
            "image": [part for part in media if isinstance(part, Image)],
            "audio": [part for part in media if isinstance(part, Audio)],
        }

    def parts(self, content: Any, index: int) -> Iterable[Part]:
        if isinstance(content, str):
            return self._text(content)
        if not isinstance(content, list):
            raise DataError(f"message {index}: content must be a string or a list, not {type(content).__name__}")
        parts: list[Part] = []
        for item in content:
            kind = item.get("type") if isinstance(item, Mapping) else None
            if kind in self._waiting and not any(item.get(key) for key in ("path", "url", "data")):
                parts.append(self._next(kind))
            else:
                message = {"role": "user", "content": [item]}
                parts += conversation_from([message], folder=self._folder)[0].parts
        return parts

    def completed(self, messages: list[Message]) -> list[Message]:
        """The messages, once all is placed: at the head of the user's first turn where no place was marked."""
        left = sum(map(len, self._waiting.values()))
        if not left:
            return messages
        first = next((index for index, message in enumerate(messages) if message.role == "user"), None)
        if left < len(self._media) or first is None:
            raise DataError(f"{len(self._media)} pictures or recordings are given, but {left} of them have no place")
        messages[first] = Message("user", (*self._media, *messages[first].parts))
        return messages

    def _text(self, text: str) -> list[Part]:
        parts: list[Part] = []
        end = 0
        for place in _PLACE.finditer(text):
            if not any(isinstance(part, Image) == (place[1] == "image") for part in self._media):
                continue  # of a kind that the record has none of: words like any other
            if words := text[end : place.start()]:
                parts.append(Text(words))
            parts.append(self._next(place[1]))
            end = place.end()
        if text[end:] or not parts:
            parts.append(Text(text[end:]))
        return parts

    def _next(self, kind: str) -> MediaPart:
        if not self._waiting[kind]:
            raise DataError(f"more places are marked <{kind}> than the record has ({len(self._media)} in all)")
        return self._waiting[kind].pop(0)


def _role_and_content(turn: Any, index: int) -> tuple[Role, Any]:
    if not isinstance(turn, Mapping):
        raise DataError(f"message {index}: a turn must be an object, not {type(turn).__name__}")
    for speaker, words in (("from", "value"), ("role", "content")):
        if speaker in turn and words in turn:
            name = str(turn[speaker]).lower()
            if name not in _ROLES:
                raise DataError(f"message {index}: unknown speaker {turn[speaker]!r}{nearest(name, _ROLES)}")
            return _ROLES[name], turn[words]
    raise DataError(f"message {index}: a turn needs 'from' and 'value', or 'role' and 'content'")


def _words(value: Any, index: int) -> str:
    if not isinstance(value, str):
        raise DataError(f"message {index}: instructions must be a string, not {type(value).__name__}")
    return value
