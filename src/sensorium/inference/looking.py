"""To look before answering: the model writes down what it is shown, and answers with that in mind."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

from sensorium.config import SamplingConfig
from sensorium.inference.engine import Engine
from sensorium.languages import is_chinese
from sensorium.messages import Done, Image, Message, Text, TextDelta
from sensorium.processing.processor import Processor

_LONGEST = 224  # tokens of a survey; nine things take up to 158 in the words of the seedling
_ROOM = {"text": 64}  # tokens that are left to answer in, by what is answered with
_ROOM_TO_MAKE = 192
_REMEMBERED = 64  # pictures


class Looker:
    """Looks at the pictures of conversations, each by itself and once. Several threads may use one at a time.

    Args:
        engine: looks.
        processor: of the same model.
    """

    def __init__(self, engine: Engine, processor: Processor) -> None:
        self._engine, self._processor = engine, processor
        self._surveys: dict[tuple[bytes, str], str] = {}

    @staticmethod
    def serves(conversation: Sequence[Message], sampling: SamplingConfig) -> bool:
        """Whether looking is asked for, and there is something to look at."""
        return any(_is_looked_at(message, sampling.look_first) for message in conversation)

    def looked(
        self,
        conversation: Sequence[Message],
        requests: Sequence[str],
        *,
        reply: str = "text",
        cancel: threading.Event | None = None,
    ) -> list[Message]:
        """The conversation in which each picture of the user's is gone over on request, before what is said with it.

        Args:
            conversation: what was said and shown.
            requests: to go over a picture, one in each of the model's languages; the first where nothing tells which.
            reply: what is answered with: the older pictures are not gone over where too little room would be left.
            cancel: once set, nothing more is looked at.

        Returns:
            The conversation, in which a picture that the model comes to no end with stands as it was.
        """
        turns = [self._turns(message, requests, cancel) for message in conversation]
        looks = [index for index, turn in enumerate(turns) if len(turn) > 1]
        while looks and not self._fits([message for turn in turns for message in turn], reply):
            oldest = looks.pop(0)
            turns[oldest] = [conversation[oldest]]
        return [message for turn in turns for message in turn]

    def _turns(self, message: Message, requests: Sequence[str], cancel: threading.Event | None) -> list[Message]:
        """A message with what is seen before it."""
        if not _is_looked_at(message, requests):
            return [message]
        request = _in_the_language_of(message.text, requests)
        found = []
        for picture in (part for part in message.parts if isinstance(part, Image)):
            shown = Message.user((picture, Text(request)))
            survey = self._survey(shown, request, cancel)
            if not survey:
                return [message]
            found += [shown, Message.assistant(survey)]
        return [*found, Message.user(tuple(part for part in message.parts if not isinstance(part, Image)))]

    def _survey(self, shown: Message, request: str, cancel: threading.Event | None) -> str:
        """What the model finds in a picture; nothing where it comes to no end."""
        prompt, media = self._processor.prompt([shown])
        pixels = media.images.numpy().tobytes() if media is not None and media.images is not None else b""
        key = (hashlib.blake2b(pixels).digest(), request)
        if key in self._surveys:
            return self._surveys[key]
        sampling = SamplingConfig(temperature=0.0, max_tokens=_LONGEST)
        deltas = list(self._engine.stream(prompt, sampling, media=media, cancel=cancel))
        if not any(isinstance(delta, Done) and delta.finish_reason == "stop" for delta in deltas):
            return ""
        survey = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)).strip()
        self._surveys[key] = survey
        for forgotten in list(self._surveys)[:-_REMEMBERED]:
            self._surveys.pop(forgotten, None)
        return survey

    def _fits(self, conversation: Sequence[Message], reply: str) -> bool:
        config = self._processor.config
        length = len(self._processor.encode_messages(conversation, add_generation_prompt=True))
        return config is not None and length + _ROOM.get(reply, _ROOM_TO_MAKE) <= config.decoder.max_positions


def _is_looked_at(message: Message, requests: Sequence[str]) -> bool:
    """Whether a message of the user's holds a picture, and something else that is no request to go over it."""
    pictures = sum(isinstance(part, Image) for part in message.parts)
    asks = 0 < pictures < len(message.parts) and message.text not in requests
    return bool(requests) and message.role == "user" and asks


def _in_the_language_of(words: str, requests: Sequence[str]) -> str:
    """The request in the language of the words that come with a picture."""
    if not words:
        return requests[0]
    chinese = is_chinese(words)
    return next((request for request in requests if is_chinese(request) == chinese), requests[0])
