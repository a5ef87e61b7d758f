"""What batches need of a processor, and making conversations fit: long ones are cut between exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sensorium.data.mixture import Varied
from sensorium.messages import Message, Text
from sensorium.processing.media import Feature


class EncodedText(Protocol):
    """Token ids with the places that are learned: what a processor makes of a record."""

    @property
    def token_ids(self) -> NDArray[np.int32]:
        """(time,) token ids."""

    @property
    def learned(self) -> NDArray[np.bool_]:
        """(time,) true where a token is to be predicted."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """Pictures and recordings in order, each with its placeholders among the tokens."""


class ByteCounter(Protocol):
    """The part of a tokenizer that batches need."""

    def n_bytes(self, ids: Any, /) -> int:
        """UTF-8 bytes that token ids stand for."""


class Encoder(Varied, Protocol):
    """The part of a processor that batches need."""

    @property
    def tokenizer(self) -> ByteCounter:
        """Counts bytes."""

    def encode_text(self, text: str, /) -> EncodedText:
        """One document."""

    def encode_messages(self, messages: Sequence[Message], /) -> EncodedText:
        """One conversation."""


def fitted(encoder: Encoder, messages: Sequence[Message], longest: int) -> tuple[list[EncodedText], int]:
    """A conversation encoded in as few stretches of whole exchanges as stay within `longest` tokens.

    A stretch opens with the system's instructions, where there are any, and goes on with a user's turn. A single
    exchange that is longer stays as it is. What was shown or played earlier may be what an exchange is about: a new
    stretch then begins with one that shows or plays something itself.

    Returns:
        The stretches, and the number of exchanges that none of them holds.
    """
    whole = encoder.encode_messages(messages)
    if len(whole.token_ids) <= longest:
        return [whole], 0
    instructions, exchanges = split_exchanges(messages)
    stretches: list[EncodedText] = []
    taken: list[Message] = []
    current: EncodedText | None = None
    shown, lost = False, 0
    for exchange in exchanges:
        shows = _shows(exchange)
        if current is not None:
            longer = encoder.encode_messages([*instructions, *taken, *exchange])
            if len(longer.token_ids) <= longest:
                taken, current, shown = [*taken, *exchange], longer, shown or shows
                continue
            stretches.append(current)
        if shown and not shows:
            taken, current, lost = [], None, lost + 1
            continue
        taken, current, shown = exchange, encoder.encode_messages([*instructions, *exchange]), shown or shows
    if current is not None:
        stretches.append(current)
    return (stretches, lost) if stretches else ([whole], 0)


def _shows(messages: Sequence[Message]) -> bool:
    return any(not isinstance(part, Text) for message in messages for part in message.parts)


def split_exchanges(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The opening system messages, and the exchanges: each a user's turn (or several) with all that answers it."""
    opening = 0
    while opening < len(messages) and messages[opening].role == "system":
        opening += 1
    exchanges: list[list[Message]] = []
    for index in range(opening, len(messages)):
        message = messages[index]
        if index == opening or (message.role == "user" and messages[index - 1].role != "user"):
            exchanges.append([])
        exchanges[-1].append(message)
    return list(messages[:opening]), exchanges
