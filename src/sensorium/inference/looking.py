"""Looking at what was drawn: of several drafts of a picture, the one that shows best what was meant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from sensorium.inference.engine import Engine
from sensorium.messages import Delta, Image, ImageDelta, Message, Text, TextDelta
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor


class Looker:
    """The model's own eyes on what it drew: of several replies that hold a picture each, they choose the best.

    A reply is worth what the model gives, per token, for its sketch as the answer to the conversation, and again as
    the answer to a request for a sketch of the picture that came of it: it should show what was meant, and what was
    meant should be what was asked for.

    Args:
        engine: of the model.
        processor: its.
        requests: those that it answers with a sketch of a picture, one in each of its languages.
    """

    def __init__(self, engine: Engine, processor: Processor, requests: Sequence[str]) -> None:
        self._engine, self._processor, self._requests = engine, processor, tuple(requests)

    def chosen(self, deltas: Iterator[Delta], conversation: Sequence[Message], drafts: int) -> Iterator[Delta]:
        """The deltas of the best one of every so many replies to a conversation, in order, once all have ended.

        Raises:
            RequestError: a picture and its sketch are longer than the model's context.
        """
        replies: dict[int, list[Delta]] = defaultdict(list)
        for delta in deltas:
            replies[delta.index].append(delta)
        for index in range(len(replies) // drafts):
            group = [replies[index * drafts + number] for number in range(drafts)]
            worth = [self._worth(conversation, reply) for reply in group]
            yield from (replace(delta, index=index) for delta in group[worth.index(max(worth))])

    def _worth(self, conversation: Sequence[Message], reply: Sequence[Delta]) -> float:
        sketch = Message.assistant("".join(delta.text for delta in reply if isinstance(delta, TextDelta)).strip())
        pictures = [Image(data=delta.png) for delta in reply if isinstance(delta, ImageDelta)]
        if not pictures or not sketch.text:
            return -math.inf
        looks = ([Message.user((*pictures, Text(request))), sketch] for request in self._requests)
        return self._likelihood([*conversation, sketch]) + max(map(self._likelihood, looks))

    def _likelihood(self, conversation: Sequence[Message]) -> float:
        """Mean log-probability of the words of the last message."""
        sequence = self._processor.encode_messages(conversation)
        start = len(self._processor.encode_messages(conversation[:-1], add_generation_prompt=True))
        ids = torch.from_numpy(sequence.token_ids.astype("int64"))
        ends = torch.isin(ids, torch.tensor(self._processor.stop_ids))
        places = (torch.from_numpy(sequence.learned) & ~ends).nonzero()[:, 0]
        places = places[places >= start]
        media = media_of([sequence.features]) if sequence.features else None
        scores = torch.from_numpy(self._engine.logits(ids.tolist(), media))[places - 1].log_softmax(-1)
        return float(scores.gather(1, ids[places, None]).mean())
