"""To look before answering: the model writes down what it is shown, and answers with that in mind."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sensorium.config import SamplingConfig
from sensorium.inference.engine import Engine
from sensorium.languages import is_chinese
from sensorium.messages import Done, Image, Message, Text, TextDelta
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor

_LONGEST = 160  # tokens of what it finds; what comes to no end is left out
_ROOM = 64  # tokens that are left to answer in


class Looker:
    """Looks at the pictures of a conversation, each by itself.

    Args:
        engine: looks.
        processor: of the same model.
        requests: to go over a picture, one in each of the model's languages; the first where nothing tells which.
    """

    def __init__(self, engine: Engine, processor: Processor, requests: Sequence[str]) -> None:
        self._engine, self._processor, self._requests = engine, processor, tuple(requests)

    @staticmethod
    def serves(conversation: Sequence[Message], sampling: SamplingConfig) -> bool:
        """Whether looking is asked for, and there is something to look at."""
        return bool(sampling.look_first) and any(map(_shows_and_asks, conversation))

    def looked(self, conversation: Sequence[Message], cancel: threading.Event | None = None) -> list[Message]:
        """The conversation in which each picture of the user's is gone over on request, before what is said with it.

        It stays as it was where the model comes to no end of that, or where no room to answer would be left.
        """
        found = []
        for message in conversation:
            if not _shows_and_asks(message):
                found.append(message)
                continue
            request = self._request(message.text)
            for picture in (part for part in message.parts if isinstance(part, Image)):
                shown = Message.user((picture, Text(request)))
                seen = self._seen(shown, cancel)
                if not seen:
                    return list(conversation)
                found += [shown, Message.assistant(seen)]
            found.append(Message.user(tuple(part for part in message.parts if not isinstance(part, Image))))
        length = len(self._processor.encode_messages(found, add_generation_prompt=True))
        config = self._processor.config
        fits = config is not None and length + _ROOM <= config.decoder.max_positions
        return found if fits else list(conversation)

    def _request(self, words: str) -> str:
        """The request in the language of the words that come with a picture."""
        if not words:
            return self._requests[0]
        chinese = is_chinese(words)
        return next((request for request in self._requests if is_chinese(request) == chinese), self._requests[0])

    def _seen(self, shown: Message, cancel: threading.Event | None) -> str:
        """What the model finds in a picture; nothing where it comes to no end."""
        sequence = self._processor.encode_messages([shown], add_generation_prompt=True)
        media = media_of([sequence.features]) if sequence.features else None
        sampling = SamplingConfig(temperature=0.0, max_tokens=_LONGEST)
        deltas = list(self._engine.stream(sequence.token_ids.tolist(), sampling, media=media, cancel=cancel))
        ended = any(isinstance(delta, Done) and delta.finish_reason == "stop" for delta in deltas)
        words = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        return words.strip() if ended else ""


def _shows_and_asks(message: Message) -> bool:
    """Whether a message of the user's holds a picture, and something else."""
    pictures = sum(isinstance(part, Image) for part in message.parts)
    return message.role == "user" and 0 < pictures < len(message.parts)
