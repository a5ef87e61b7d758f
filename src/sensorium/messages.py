"""Conversations: the one form that data files, the Python API, the command line and servers share.

On disk and on the wire a message is `{"role": ..., "content": ...}`, where content is a string or a list of
`{"type": "text", "text"}`, `{"type": "image", "path" | "url" | "data"}` and `{"type": "audio", ...}` parts;
`data` is base64.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from sensorium.config import nearest
from sensorium.errors import DataError

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Text:
    """Words. Any Unicode string but lone surrogates, which no encoding can carry."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise DataError(f"text must be a string, not {type(self.text).__name__}")
        try:
            self.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"text holds a lone surrogate at character {error.start}: it is not Unicode") from None


@dataclass(frozen=True, slots=True)
class _Media:
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("data", "path", "url") if getattr(self, name) is not None]
        if len(given) != 1:
            kind = type(self).__name__.lower()
            raise DataError(f"an {kind} part needs exactly one of data, path and url, not {given or 'none'}")


@dataclass(frozen=True, slots=True)
class Image(_Media):
    """A picture: the bytes of an encoded file (`data`), a file (`path`), or an address (`url`)."""


@dataclass(frozen=True, slots=True)
class Audio(_Media):
    """A recording: the bytes of an encoded file (`data`), a file (`path`), or an address (`url`)."""


Part: TypeAlias = Text | Image | Audio
_MEDIA: dict[str, type[Image] | type[Audio]] = {"image": Image, "audio": Audio}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"unknown role {self.role!r}{nearest(str(self.role), ROLES)}")

    @classmethod
    def system(cls, content: str | Sequence[Part]) -> Message:
        """Instructions that stand above the conversation."""
        return cls("system", _parts(content))

    @classmethod
    def user(cls, content: str | Sequence[Part]) -> Message:
        """What the person says, shows or plays."""
        return cls("user", _parts(content))

    @classmethod
    def assistant(cls, content: str | Sequence[Part]) -> Message:
        """What the model answers."""
        return cls("assistant", _parts(content))

    @property
    def text(self) -> str:
        """All words of the message, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    def to_dict(self) -> dict[str, Any]:
        """The form on disk and on the wire. A single text part becomes a plain string."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Text):
            return {"role": self.role, "content": self.parts[0].text}
        return {"role": self.role, "content": [_part_to_dict(part) for part in self.parts]}

    @classmethod
    def from_dict(cls, data: object, *, folder: Path | None = None) -> Message:
        """Validate one message.

        Args:
            data: `{"role", "content"}`; other keys are refused.
            folder: the folder that relative media paths start from.

        Raises:
            DataError: when the form is wrong, naming what and where.
        """
        if not isinstance(data, Mapping):
            raise DataError(f"a message must be an object with role and content, not {type(data).__name__}")
        unknown = sorted(str(key) for key in data.keys() - {"role", "content"})
        if unknown:
            raise DataError(f"a message has the unknown key {unknown[0]!r}{nearest(unknown[0], ('role', 'content'))}")
        for key in ("role", "content"):
            if key not in data:
                raise DataError(f"a message has no {key!r}")
        content = data["content"]
        if isinstance(content, str):
            return cls(data["role"], (Text(content),))
        if not isinstance(content, list):
            raise DataError(f"message content must be a string or a list of parts, not {type(content).__name__}")
        return cls(data["role"], tuple(_part_from_dict(part, folder) for part in content))


def conversation_from(data: object, *, folder: Path | None = None) -> list[Message]:
    """Validate a conversation: a list of messages, or an object that holds one under `messages`.

    Raises:
        DataError: when it is empty or a message has the wrong form, naming the message by its index.
    """
    if isinstance(data, Mapping):
        if "messages" not in data:
            raise DataError("a conversation has no 'messages'")
        data = data["messages"]
    if not isinstance(data, list) or not data:
        raise DataError("a conversation must be a non-empty list of messages")
    messages = []
    for index, item in enumerate(data):
        try:
            messages.append(Message.from_dict(item, folder=folder))
        except DataError as error:
            raise DataError(f"message {index}: {error}") from None
    return messages


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A generated token with its log-probability (nats) and its likeliest rivals, best first."""

    token_id: int
    text: str
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of text, whole characters only. `index` tells the replies of `n > 1` apart."""

    text: str
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """The next stretch of sound: 16-bit little-endian mono PCM at `sample_rate` Hz."""

    pcm16: bytes = field(repr=False)
    sample_rate: int = 16_000
    index: int = 0


@dataclass(frozen=True, slots=True)
class ImageDelta:
    """A picture, encoded as PNG; `final` is false for a preview of one still being drawn."""

    png: bytes = field(repr=False)
    final: bool = True
    index: int = 0


FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Done:
    """The end of one reply: why it ended, and the tokens it took (read and written)."""

    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    index: int = 0


Delta: TypeAlias = TextDelta | AudioDelta | ImageDelta | Done


def _parts(content: str | Sequence[Part]) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),)
    given: object = content  # whatever the types promise
    if not isinstance(given, Sequence) or not all(isinstance(part, Text | Image | Audio) for part in given):
        raise DataError(f"a message's content must be a string or parts (Text, Image, Audio), not {content!r:.60}")
    return tuple(content)


def _part_to_dict(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    kind = "image" if isinstance(part, Image) else "audio"
    if part.path is not None:
        return {"type": kind, "path": str(part.path)}
    if part.url is not None:
        return {"type": kind, "url": part.url}
    assert part.data is not None
    return {"type": kind, "data": base64.b64encode(part.data).decode("ascii")}


def _part_from_dict(data: object, folder: Path | None) -> Part:
    if not isinstance(data, Mapping) or "type" not in data:
        raise DataError("a content part must be an object with a 'type'")
    kind = data["type"]
    if kind == "text":
        _only_keys(data, {"type", "text"})
        if "text" not in data:
            raise DataError("a text part has no 'text'")
        return Text(data["text"])
    if not isinstance(kind, str) or kind not in _MEDIA:
        raise DataError(f"unknown part type {kind!r}{nearest(str(kind), ('text', *_MEDIA))}")
    _only_keys(data, {"type", "path", "url", "data"})
    return _MEDIA[kind](
        data=_decoded(data.get("data")), path=_resolved(data.get("path"), folder), url=_string(data, "url")
    )


def _only_keys(data: Mapping[str, Any], allowed: Iterable[str]) -> None:
    for key in data.keys() - set(allowed):
        raise DataError(f"a {data['type']} part has the unknown key {key!r}{nearest(str(key), allowed)}")


def _string(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{key!r} must be a string, not {type(value).__name__}")
    return value


def _decoded(data: object) -> bytes | None:
    if data is None:
        return None
    if not isinstance(data, str):
        raise DataError(f"'data' must be a base64 string, not {type(data).__name__}")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"'data' is not base64: {error}") from None


def _resolved(path: object, folder: Path | None) -> Path | None:
    if path is None:
        return None
    if not isinstance(path, str):
        raise DataError(f"'path' must be a string, not {type(path).__name__}")
    return folder / path if folder is not None else Path(path)
