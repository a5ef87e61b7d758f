"""What batches need of a processor, and making conversations fit: long ones are cut between exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sensorium.messages import Message


class EncodedText(Protocol):
    """Token ids with the places that are learned: what a processor makes of a record."""

    @property
    def token_ids(self) -> NDArray[np.int32]:
        """(time,) token ids."""

    @property
    def learned(self) -> NDArray[np.bool_]:
        """(time,) true where a token is to be predicted."""


class ByteCounter(Protocol):
    """The part of a tokenizer that batches need."""

    def n_bytes(self, ids: Any, /) -> int:
        """UTF-8 bytes that token ids stand for."""


class Encoder(Protocol):
    """The part of a processor that batches need."""

    @property
    def tokenizer(self) -> ByteCounter:
        """Counts bytes."""

    def encode_text(self, text: str, /) -> EncodedText:
        """One document."""

    def encode_messages(self, messages: Sequence[Message], /) -> EncodedText:
        """One conversation."""


def fitted(encoder: Encoder, messages: Sequence[Message], longest: int) -> list[EncodedText]:
    """A conversation encoded in as few stretches of whole exchanges as stay within `longest` tokens.

    A stretch opens with the system's instructions, where there are any, and goes on with a user's turn. A single
    exchange that is longer stays as it is.
    """
    whole = encoder.encode_messages(messages)
    if len(whole.token_ids) <= longest:
        return [whole]
    instructions, exchanges = split_exchanges(messages)
    stretches: list[EncodedText] = []
    taken: list[Message] = []
    current: EncodedText | None = None
    for exchange in exchanges:
        longer = encoder.encode_messages([*instructions, *taken, *exchange])
        if current is None or len(longer.token_ids) <= longest:
            taken, current = [*taken, *exchange], longer
            continue
        stretches.append(current)
        taken, current = exchange, encoder.encode_messages([*instructions, *exchange])
    if current is not None:
        stretches.append(current)
    return stretches or [whole]


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
