"""Drafts of a picture, drawn side by side: the model looks at them, and the best one is shown."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sensorium.config import SamplingConfig
from sensorium.inference.decoding import Decoder, Rows
from sensorium.inference.reply import Reply
from sensorium.inference.sampler import as_asked
from sensorium.messages import Image, Message, Text
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor


@dataclass(frozen=True)
class Draft:
    """A picture as tokens, and the reply as it was read while it was drawn, but for the last of them.

    The rows score codes of pictures alone: before anything else is chosen, that last one has to be read.
    """

    codes: list[int]
    rows: Rows


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
        several = max(sampling.image_candidates, sampling.image_edit_candidates or 1) > 1
        wanted = several and bool(sampling.image_look) and sampling.image_temperature > 0
        config, codecs = processor.config, processor.codecs
        sees = config is not None and config.vision is not None and processor.template is not None
        return wanted and sees and codecs is not None and codecs.image is not None

    def best(self, rows: Rows, row: int, reply: Reply, cancel: threading.Event) -> Draft | None:
        """The picture that a reply is about to draw.

        Args:
            rows: the replies being written; they stay as they are.
            row: which of them this one is.
            reply: it.
            cancel: once set, there is nothing more to draw.

        Returns:
            The best draft, or None where there is nothing to choose by (no sketch), from (a single draft) or for (it is
            cancelled).
        """
        if not reply.sketch or reply.candidates == 1:
            return None
        drawn = self._drafts(rows, row, reply, cancel)
        if drawn is None:
            return None
        drafts, read = drawn
        first, *others = [Image(data=reply.draft(draft)) for draft in drafts]
        found = [self._likelihoods([first], request, reply.sketch)[0] for request in self._requests]
        if cancel.is_set():
            return None
        request = self._requests[found.index(max(found))]  # the one in the sketch's language
        worth = [max(found), *self._likelihoods(others, request, reply.sketch)]
        best = worth.index(max(worth))
        return Draft(drafts[best], read.copies(best, 1))

    def _drafts(
        self, rows: Rows, row: int, reply: Reply, cancel: threading.Event
    ) -> tuple[list[list[int]], Rows] | None:
        """All drafts, and the rows in which they were read but for their last codes."""
        config = self._processor.config
        assert config is not None
        assert config.image_codec is not None
        ids, drafters = config.image_codec.ids, reply.drafters
        n = len(drafters)
        sides = [rows.copies(row, n)]
        if reply.wordless is not None:
            sides = sides[0].beside(reply.wordless.copies(0, n))
        codes = slice(ids.start, ids.stop)
        for side in sides:
            side.scores = side.scores[:, codes]
        drafts: list[list[int]] = [[] for _ in drafters]
        while not cancel.is_set():
            scores = torch.cat([side.scores for side in sides])
            if reply.wordless is not None:
                scores = as_asked(scores[:n], scores[n:], reply.guidance)
            for draft, drafter, each in zip(drafts, drafters, scores, strict=True):
                draft.append(ids[drafter.choose(each)])
            if len(drafts[0]) == config.image_codec.n_codes:
                return drafts, sides[0]
            for side in sides:
                last = [draft[-1] for draft in drafts] * (len(side.scores) // n)
                self._decoder.step(side, last, among=codes)
        return None

    def _likelihoods(self, pictures: Sequence[Image], request: str, sketch: str) -> list[float]:
        """Mean log-probability of a sketch, asked for so of each picture; the least there is where it is too long."""
        processor = self._processor
        talks = [
            processor.encode_messages([Message.user((picture, Text(request))), Message.assistant(sketch)])
            for picture in pictures
        ]
        config = processor.config
        if config is None or len(talks[0]) > config.decoder.max_positions:
            return [-math.inf] * len(pictures)
        ids = torch.from_numpy(np.stack([talk.token_ids for talk in talks])).long()
        ends = torch.isin(ids[0], torch.tensor(sorted(processor.stop_ids)))
        places = (torch.from_numpy(talks[0].learned) & ~ends).nonzero()[:, 0]
        found = self._decoder.log_probabilities(ids, places, media_of([talk.features for talk in talks]))
        return found.mean(1).tolist()
