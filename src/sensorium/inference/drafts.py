"""Drafts of a picture, drawn side by side: the model looks at them, and the best one is shown."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import torch

from sensorium.config import SamplingConfig
from sensorium.inference.decoding import Decoder, Rows
from sensorium.inference.reply import Reply
from sensorium.inference.sampler import as_asked
from sensorium.messages import Image, Message, Text
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor


class Easel:
    """Where the drafts of a picture stand beside each other.

    A draft is worth what the model gives, per token, for the sketch that it was drawn by, as the answer to a request
    for the sketch of the picture that came of it: of what was meant, how much is to be seen?

    Args:
        decoder: draws, and looks.
        processor: of the same model, which has an image codec.
        sampling: how many drafts, and the requests for a sketch.

    Raises:
        DataError: a request cannot be written.
    """

    def __init__(self, decoder: Decoder, processor: Processor, sampling: SamplingConfig) -> None:
        self._decoder, self._processor, self._requests = decoder, processor, sampling.image_look
        for request in self._requests:
            processor.encode_messages([Message.user(request)])  # what cannot be read is told before anything is drawn

    @staticmethod
    def serves(processor: Processor, sampling: SamplingConfig) -> bool:
        """Whether drafts are asked for, would differ, and can be looked at."""
        wanted = sampling.image_candidates > 1 and bool(sampling.image_look) and sampling.image_temperature > 0
        config, codecs = processor.config, processor.codecs
        sees = config is not None and config.vision is not None and processor.template is not None
        return wanted and sees and codecs is not None and codecs.image is not None

    def codes(self, rows: Rows, row: int, reply: Reply, cancel: threading.Event) -> list[int] | None:
        """The tokens of the picture that a reply is about to draw.

        Args:
            rows: the replies being written; they stay as they are.
            row: which of them this one is.
            reply: it.
            cancel: once set, there is nothing more to draw.

        Returns:
            All codes, or None where there is nothing to choose by (no sketch) or for (it is cancelled).
        """
        if not reply.sketch:
            return None
        drafts = self._drafts(rows, row, reply, cancel)
        if drafts is None:
            return None
        sketch = Message.assistant(reply.sketch)
        requests, worth = self._requests, []
        for draft in drafts:
            if cancel.is_set():
                return None
            picture = Image(data=reply.draft(draft))
            found = [self._likelihood([Message.user((picture, Text(request))), sketch]) for request in requests]
            worth.append(max(found))
            requests = (requests[found.index(worth[-1])],)  # the one in the sketch's language
        return drafts[worth.index(max(worth))]

    def _drafts(self, rows: Rows, row: int, reply: Reply, cancel: threading.Event) -> list[list[int]] | None:
        config = self._processor.config
        assert config is not None
        assert config.image_codec is not None
        ids, drafters = config.image_codec.ids, reply.drafters
        n = len(drafters)
        sides = [rows.copies(row, n)]
        if reply.wordless is not None:
            sides = sides[0].beside(reply.wordless.copies(0, n))
        drafts: list[list[int]] = [[] for _ in drafters]
        while not cancel.is_set():
            scores = torch.cat([side.scores[:, ids.start : ids.stop] for side in sides])
            if reply.wordless is not None:
                scores = as_asked(scores[:n], scores[n:], reply.guidance)
            for draft, drafter, each in zip(drafts, drafters, scores, strict=True):
                draft.append(ids[drafter.choose(each)])
            if len(drafts[0]) == config.image_codec.n_codes:
                return drafts
            for side in sides:
                self._decoder.step(side, [draft[-1] for draft in drafts] * (len(side.scores) // n))
        return None

    def _likelihood(self, conversation: Sequence[Message]) -> float:
        """Mean log-probability of the words of the last message; the least there is where they do not fit."""
        processor = self._processor
        sequence = processor.encode_messages(conversation)
        config = processor.config
        if config is None or len(sequence) > config.decoder.max_positions:
            return -math.inf
        ids = torch.from_numpy(sequence.token_ids).long()
        ends = torch.isin(ids, torch.tensor(sorted(processor.stop_ids)))
        places = (torch.from_numpy(sequence.learned) & ~ends).nonzero()[:, 0]
        media = media_of([sequence.features]) if sequence.features else None
        scores = self._decoder.logits(ids.tolist(), media)[places - 1].log_softmax(-1)
        return float(scores.gather(1, ids[places, None]).mean())
