"""To take note before answering: the model writes down what it is shown and told, and answers with that in mind."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import takewhile

from sensorium.config import SamplingConfig
from sensorium.errors import RequestError
from sensorium.inference.engine import Engine
from sensorium.languages import beside, is_chinese, quoted, run_on
from sensorium.messages import Audio, Delta, Done, Image, Message, Part, Text, TextDelta
from sensorium.nn.media import Media
from sensorium.processing.pauses import stretches
from sensorium.processing.processor import Processor

_LONGEST = 288  # tokens of a note; nine things take some 200 in the words of the seedling, twenty seconds some 80
_ROOM = {"text": 64}  # tokens that are left to answer in, by what is answered with
_ROOM_TO_MAKE = 224
_REMEMBERED = 64  # notes


class NoteTaker:
    """Notes what is in the pictures and recordings of conversations, each by itself and once. Safe among threads.

    Args:
        engine: looks and listens.
        processor: of the same model.
    """

    def __init__(self, engine: Engine, processor: Processor) -> None:
        self._engine, self._processor = engine, processor
        self._notes: OrderedDict[tuple[bytes, str], str] = OrderedDict()  # the latest last
        self._lock = threading.Lock()

    @staticmethod
    def serves(conversation: Sequence[Message], sampling: SamplingConfig) -> bool:
        """Whether notes are asked for, and there is something to take note of."""
        return any(_heard(message, sampling) or _seen(message, sampling) for message in conversation)

    def noted(
        self,
        conversation: Sequence[Message],
        sampling: SamplingConfig,
        *,
        reply: str = "text",
        cancel: threading.Event | None = None,
    ) -> list[Message]:
        """The conversation in which each recording and picture of the user's is noted, on request, before all else.

        What was spoken then stands in quotation marks where the recording stood.

        Args:
            conversation: what was said and shown.
            sampling: its `listen_first` and `look_first` are the requests, one in each of the model's languages; the
                first where nothing tells which.
            reply: what is answered with: older messages are not noted where too little room would be left.
            cancel: once set, nothing more is noted.

        Returns:
            The conversation, in which pictures and recordings that the model comes to no end with, or has no room for,
            stand as they were.
        """
        turns = [self._turns(message, sampling, cancel) for message in conversation]
        notes = [index for index, turn in enumerate(turns) if len(turn) > 1]
        while notes and not self._fits([message for turn in turns for message in turn], reply):
            oldest = notes.pop(0)
            turns[oldest] = [conversation[oldest]]
        return [message for turn in turns for message in turn]

    def _turns(self, message: Message, sampling: SamplingConfig, cancel: threading.Event | None) -> list[Message]:
        """A message behind the notes of what it shows and says."""
        words, heard, found, noted = message.text.strip(), "", list[Message](), list[Part]()
        parts: list[Image | Audio] = [*_heard(message, sampling), *_seen(message, sampling)]
        for part in parts:
            requests = sampling.listen_first if isinstance(part, Audio) else sampling.look_first
            request = Text(_in_the_language_of(words, requests))
            pieces = self.pieces([part], sampling)
            notes = [self._note(Message.user((piece, request)), cancel) for piece in pieces]
            if not all(notes):
                continue
            note = run_on(notes)
            found += [Message.user((pieces[0] if len(pieces) == 1 else part, request)), Message.assistant(note)]
            noted.append(part)
            if isinstance(part, Audio):
                heard, words = note, words or note
        return [*found, Message.user(_left(message.parts, noted, heard))] if found else [message]

    def pieces(self, parts: Sequence[Part], sampling: SamplingConfig) -> list[Part]:
        """What is written down at a time: parts as they are, but a long recording stretch by stretch.

        Raises:
            DataError: a recording cannot be read.
        """
        config = self._processor.config
        if config is None or config.speech is None:
            return list(parts)
        pieces: list[Part] = []
        for part in parts:
            if isinstance(part, Audio):
                pieces += stretches(part, config.speech.audio, sampling.listen_seconds)
            else:
                pieces.append(part)
        return pieces

    def _note(self, asked: Message, cancel: threading.Event | None) -> str:
        """What the model finds in a picture or recording; nothing where it comes to no end, or has no room for it."""
        if cancel is not None and cancel.is_set():
            return ""
        prompt, media = self._processor.prompt([asked])
        key = (_digest(media), asked.text)
        with self._lock:
            if key in self._notes:
                self._notes.move_to_end(key)
                return self._notes[key]
        sampling = SamplingConfig(temperature=0.0, max_tokens=_LONGEST)
        deltas: list[Delta] = []
        with suppress(RequestError):  # there is no room for a note
            deltas = list(self._engine.stream(prompt, sampling, media=media, cancel=cancel))
        reasons = [delta.finish_reason for delta in deltas if isinstance(delta, Done)]
        if "cancelled" in reasons:
            return ""
        words = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        note = words.strip() if "stop" in reasons else ""
        with self._lock:
            self._notes[key] = note
            while len(self._notes) > _REMEMBERED:
                self._notes.popitem(last=False)
        return note

    def _fits(self, conversation: Sequence[Message], reply: str) -> bool:
        config = self._processor.config
        length = len(self._processor.encode_messages(conversation, add_generation_prompt=True))
        return config is not None and length + _ROOM.get(reply, _ROOM_TO_MAKE) <= config.decoder.max_positions


def _heard(message: Message, sampling: SamplingConfig) -> list[Audio]:
    """The recording of the user's that is written down; none of several, where it matters who spoke when."""
    recordings = [part for part in message.parts if isinstance(part, Audio)]
    asks = message.role == "user" and len(recordings) == 1 and not _is_one_of(sampling.listen_first, message.text)
    return recordings if sampling.listen_first and asks else []


def _seen(message: Message, sampling: SamplingConfig) -> list[Image]:
    """The pictures of the user's that are gone over: those with which something is said that asks for no such thing."""
    pictures = [part for part in message.parts if isinstance(part, Image)]
    others = any(not isinstance(part, Image) and not _is_blank(part) for part in message.parts)
    asks = message.role == "user" and others and not _is_one_of(sampling.look_first, message.text)
    return pictures if sampling.look_first and asks else []


def _left(parts: Sequence[Part], noted: Sequence[Part], heard: str) -> list[Part]:
    """What is left of a message: no pictures that were noted, and what was heard in one text with what is written."""
    left = [part for part in parts if not (_is_blank(part) or (isinstance(part, Image) and part in noted))]
    if not heard:
        return left
    at = next(index for index, part in enumerate(left) if part in noted)
    before = list(takewhile(_is_text, reversed(left[:at])))[::-1]
    after = list(takewhile(_is_text, left[at + 1 :]))
    words = Text(beside(_words(before), quoted(heard), _words(after)))
    return [*left[: at - len(before)], words, *left[at + 1 + len(after) :]]


def _is_one_of(requests: Sequence[str], text: str) -> bool:
    """Whether a text is one of the requests, be it typed in haste."""
    return _bare(text) in map(_bare, requests)


def _bare(text: str) -> str:
    return text.strip().rstrip(".。").lower()


def _is_text(part: Part) -> bool:
    return isinstance(part, Text)


def _words(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def _is_blank(part: Part) -> bool:
    return isinstance(part, Text) and not part.text.strip()


def _in_the_language_of(words: str, requests: Sequence[str]) -> str:
    """The request in the language of what else is said."""
    if not words:
        return requests[0]
    chinese = is_chinese(words)
    return next((request for request in requests if is_chinese(request) == chinese), requests[0])


def _digest(media: Media | None) -> bytes:
    digest = hashlib.blake2b()
    for values in (media.images, media.audio) if media is not None else ():
        if values is not None:
            digest.update(values.numpy().tobytes())
    return digest.digest()
