"""What callers give as messages, and what a stream of deltas is as messages: all accepted forms, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from sensorium.config import ModelConfig
from sensorium.data.media_files import media_kind
from sensorium.errors import DataError, RequestError
from sensorium.messages import Audio, AudioDelta, Delta, Done, Image, ImageDelta, Message, Part, Text, TextDelta
from sensorium.processing.codes import Codecs, wav_bytes

Conversation: TypeAlias = str | Message | Sequence[Message | Mapping[str, Any]]
Media: TypeAlias = str | Path | bytes | Image | Audio


def joined(deltas: Iterator[Delta]) -> list[str]:
    """The whole text of each reply of a stream, in order."""
    texts: dict[int, list[str]] = {}
    for delta in deltas:
        if isinstance(delta, TextDelta):
            texts.setdefault(delta.index, []).append(delta.text)
        elif isinstance(delta, Done):
            texts.setdefault(delta.index, [])
    return ["".join(texts[index]) for index in sorted(texts)]


def ended_early(deltas: Sequence[Delta]) -> bool:
    """Whether a reply ran out of room before its end."""
    return any(isinstance(delta, Done) and delta.finish_reason == "length" for delta in deltas)


def collected(deltas: Iterator[Delta]) -> list[Message]:
    """The whole message of each reply of a stream, in order."""
    replies: dict[int, list[Delta]] = {}
    for delta in deltas:
        replies.setdefault(delta.index, []).append(delta)
    return [Message.assistant(_parts_of(replies[index])) for index in sorted(replies)]


def _parts_of(deltas: Sequence[Delta]) -> list[Part]:
    """Words in a row as one part, and so with sound; a reply of nothing is an empty text."""
    parts: list[Part] = []
    for kind, group in groupby((delta for delta in deltas if not isinstance(delta, Done)), key=type):
        pieces = list(group)
        if kind is TextDelta:
            parts.append(Text("".join(delta.text for delta in pieces if isinstance(delta, TextDelta))))
        elif kind is AudioDelta:
            sounds = [delta for delta in pieces if isinstance(delta, AudioDelta)]
            parts.append(Audio(data=wav_bytes(b"".join(sound.pcm16 for sound in sounds), sounds[0].sample_rate)))
        else:
            parts += [Image(data=delta.png) for delta in pieces if isinstance(delta, ImageDelta)]
    return parts or [Text("")]


def conversation_of(messages: Conversation, media: Sequence[Part]) -> list[Message]:
    """Any accepted form of a conversation as messages, with media given apart put before the last one's words."""
    if isinstance(messages, str):
        messages = [Message.user(messages)]
    elif isinstance(messages, Message):
        messages = [messages]
    if not isinstance(messages, Sequence):
        raise DataError(f"a conversation must be a string, a Message or a list of them, not {type(messages).__name__}")
    conversation = []
    for index, message in enumerate(messages):
        if not isinstance(message, Message):
            try:
                message = Message.from_dict(message)
            except DataError as error:
                raise DataError(f"message {index}: {error}") from None
        conversation.append(message)
    if not conversation:
        raise DataError("a conversation must have at least one message")
    if media:
        last = conversation[-1]
        conversation[-1] = Message(last.role, (*media, *last.parts))
    return conversation


def media_parts(kind: type[Image] | type[Audio], given: Media | None) -> list[Part]:
    """A picture or recording in any accepted form, as no or one part."""
    if given is None:
        return []
    if isinstance(given, kind):
        return [given]
    if isinstance(given, bytes):
        return [kind(data=given)]
    if isinstance(given, str | Path):
        return [kind(path=Path(given))]
    raise RequestError(f"{kind.__name__.lower()} must be a path, bytes or {kind.__name__}, not {type(given).__name__}")


def part_of(given: str | Path | Part) -> Part:
    """What is to be embedded, in any accepted form, as a part."""
    if isinstance(given, str):
        return Text(given)
    if isinstance(given, Path):
        kind = media_kind(given.name)
        if kind is None:
            raise RequestError(
                f"{given} is by its name no picture or recording (say which: Image(path=…), Audio(path=…))"
            )
        return Image(path=given) if kind == "image" else Audio(path=given)
    if isinstance(given, Text | Image | Audio):
        return given
    raise RequestError(f"what to embed must be a string, a Path, Text, Image or Audio, not {type(given).__name__}")


def check_senses(part: Part, config: ModelConfig, name: str, *, embedding: bool = False) -> None:
    """Raise `RequestError` unless a model takes in such a part: in a conversation, or to embed it."""
    if isinstance(part, Text):
        return
    sees = isinstance(part, Image)
    sense, what = ("see", "a picture") if sees else ("hear", "a recording")
    organ = config.vision if sees else config.speech
    if organ is None:
        lacks = "has no " + ("eyes" if sees else "ears")
        takes = "reads only text" if config.vision is None and config.speech is None else lacks
        given = "what is to be embedded is" if embedding else "the conversation holds"
        raise RequestError(f"{name} cannot {sense}: {given} {what}, but this model {takes}")
    if embedding and config.embedder is None:
        raise RequestError(f"{name} cannot embed {what}: it has no common space of words, pictures and recordings")


def voice_of(voice: str | Media | None, codecs: Codecs | None, name: str) -> Tensor | None:
    """Who is to speak, (voice_dim,); None for the model's own voice, or where it has none and none was asked for.

    Raises:
        RequestError: the model cannot speak, or has no such voice.
        DataError: the recording of the voice cannot be read.
    """
    if voice is None:
        return None
    if codecs is None or codecs.speech is None:
        raise RequestError(f"{name} cannot speak: it has no speech codec, so voice means nothing (leave it out)")
    if isinstance(voice, str):
        return codecs.voice(voice)
    (recording,) = media_parts(Audio, voice)
    assert isinstance(recording, Audio)
    return codecs.voice(recording)
