"""What the data tests share: the real sources, and an encoder small enough to check by eye."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from sensorium.messages import Message
from sensorium.processing.media import Feature


@dataclass(frozen=True)
class Encoded:
    token_ids: np.ndarray
    learned: np.ndarray
    features: tuple[Feature, ...] = ()


class ByteEncoder:
    """A token a byte: `bos text eos` for documents, `role text end` for turns, the assistant's words learned."""

    class Tokenizer:
        @staticmethod
        def n_bytes(ids: Iterable[int]) -> int:
            return sum(1 for id_ in ids if id_ < 256)

    tokenizer = Tokenizer()
    bos, eos, end = 256, 257, 258
    roles: ClassVar = {"system": 259, "user": 260, "assistant": 261, "tool": 262}

    def encode_text(self, text: str) -> Encoded:
        ids = [self.bos, *text.encode(), self.eos]
        return Encoded(np.array(ids, np.int32), np.array([False] + [True] * (len(ids) - 1)))

    def encode_messages(self, messages: Sequence[Message]) -> Encoded:
        ids: list[int] = []
        learned: list[bool] = []
        for message in messages:
            words = [*message.text.encode(), self.end]
            ids += [self.roles[message.role], *words]
            learned += [False] + [message.role == "assistant"] * len(words)
        return Encoded(np.array(ids, np.int32), np.array(learned))


@pytest.fixture(scope="session")
def encoder() -> ByteEncoder:
    return ByteEncoder()
