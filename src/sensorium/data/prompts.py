"""Batches of prompts that a picture answers: what was asked, as tokens and media, and the pixels of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.config import AugmentConfig
from sensorium.data.mixture import Mixture
from sensorium.data.records import Record
from sensorium.data.resumable import Resumable
from sensorium.data.rows import RowMaker
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError
from sensorium.messages import Image, Text
from sensorium.nn.media import Media
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor
from sensorium.processing.processor import Sequence as Encoded
from sensorium.processing.raw import RawMedia, Values


@dataclass(frozen=True)
class PromptBatch:
    """Prompts and the pictures that answer them, one a row.

    Attributes:
        input_ids: (rows, longest) int64 token ids of prompts, up to the opening of the assistant's turn; 0 behind
            shorter ones.
        lengths: (rows,) int64 tokens of each prompt.
        media: the pictures and recordings among them.
        pixels: (rows, 3, height, width) of the answers, within -1..1.
        noise: (rows, tries, noise_dim), once a stage has drawn it; else empty.
    """

    input_ids: Tensor
    lengths: Tensor
    media: Media
    pixels: Tensor
    noise: Tensor

    def to(self, device: torch.device | str) -> PromptBatch:
        """The same batch on a device."""
        tensors = (self.pixels.to(device), self.noise.to(device))
        return PromptBatch(self.input_ids.to(device), self.lengths.to(device), self.media.to(device), *tensors)

    def rows_of(self, rank: int, world: int) -> PromptBatch:
        """The rows `rank::world`."""
        rows = list(range(len(self.lengths)))[rank::world]
        media = self.media.of_rows(rows) if self.media else self.media
        return PromptBatch(self.input_ids[rows], self.lengths[rows], media, self.pixels[rows], self.noise[rows])


class PromptStream(Resumable[PromptBatch]):
    """Batches of conversations whose last turn is the assistant's and shows one picture, resumable to the bit.

    A weight is a data set's share of the conversations. Prompts of more than `time` tokens are passed over.

    Args:
        specs: the data sets.
        processor: prepares prompts, as for an answer.
        media: reads the answers.
        rows: conversations of a batch; the last batch of data that end may hold fewer.
        time: tokens that a prompt may have.
        seed: of the shuffle.
        repeat: whether data sets begin again when they end.
        prefetch: batches made ahead by a background thread.
        workers: 1 makes them in a process of its own instead.

    Raises:
        DataError: from iteration too, see `RecordStream`.
    """

    def __init__(
        self,
        specs: Sequence[DatasetSpec],
        processor: Processor,
        media: RawMedia,
        *,
        rows: int,
        time: int,
        seed: int = 0,
        repeat: bool = True,
        prefetch: int = 2,
        workers: int = 0,
    ) -> None:
        super().__init__(_Maker(specs, _Reader(processor, media), rows, time, seed, repeat), prefetch, workers)


@dataclass(frozen=True, slots=True)
class _Asked:
    prompt: Encoded
    pixels: Values


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads both sides of a conversation."""

    processor: Processor
    media: RawMedia

    def augmented(self, settings: AugmentConfig, generator: np.random.Generator) -> _Reader:
        return _Reader(self.processor.augmented(settings, generator), self.media.augmented(settings, generator))


class _Maker(RowMaker[_Reader, _Asked, PromptBatch]):
    """Draws records, reads them, and makes batches of them."""

    def __init__(
        self, specs: Sequence[DatasetSpec], reader: _Reader, rows: int, time: int, seed: int, repeat: bool
    ) -> None:
        mixture = Mixture(specs, reader, (seed, rows, repeat, time), seed=seed, repeat=repeat)
        super().__init__(mixture, rows)
        self._time = time

    def made(self, record: Record, reader: _Reader) -> list[_Asked]:
        """The prompt and the picture that a record is. Raises `DataError` when it does not end in one picture."""
        if isinstance(record.content, str):
            raise DataError("plain text asks for no picture: it needs a conversation that a picture answers")
        *asked, answer = record.content
        pictures = [part for part in answer.parts if isinstance(part, Image)]
        sketched = all(isinstance(part, Text | Image) for part in answer.parts)  # whose words painting passes over
        if answer.role != "assistant" or len(pictures) != 1 or not sketched or not asked:
            raise DataError("the conversation must end in a turn of the assistant's that is one picture")
        prompt = reader.processor.encode_messages(asked, add_generation_prompt=True)
        if len(prompt) > self._time:
            return []
        return [_Asked(prompt, reader.media.pixels(pictures[0]))]

    def batch(self, rows: Sequence[_Asked]) -> PromptBatch:
        """Rows as a batch."""
        return _batch(rows)


def _batch(asked: Sequence[_Asked]) -> PromptBatch:
    input_ids = np.zeros((len(asked), max(len(each.prompt) for each in asked)), dtype=np.int64)
    for row, each in zip(input_ids, asked, strict=True):
        row[: len(each.prompt)] = each.prompt.token_ids
    return PromptBatch(
        input_ids=torch.from_numpy(input_ids),
        lengths=torch.tensor([len(each.prompt) for each in asked]),
        media=media_of([each.prompt.features for each in asked]),
        pixels=torch.from_numpy(np.stack([each.pixels for each in asked])),
        noise=torch.zeros((len(asked), 0, 0)),
    )
