"""Batches of bare pictures or recordings, for codecs to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sensorium.data.mixture import Mixture
from sensorium.data.records import Record
from sensorium.data.resumable import Resumable
from sensorium.data.rows import RowMaker
from sensorium.data.spec import DatasetSpec
from sensorium.messages import Audio, Image
from sensorium.processing.raw import RawMedia, Values


@dataclass(frozen=True)
class RawBatch:
    """Pictures or recordings, one a row.

    Attributes:
        values: pixels (rows, 3, height, width) within -1..1, or samples (rows, longest), silent behind shorter ones.
        lengths: (rows,) int64 samples of each recording; 0 for pictures.
        references: a second stretch of each recording, (rows, time), once a stage has cut them; else empty.
    """

    values: Tensor
    lengths: Tensor
    references: Tensor

    def to(self, device: torch.device | str) -> RawBatch:
        """The same batch on a device."""
        return RawBatch(self.values.to(device), self.lengths.to(device), self.references.to(device))

    def rows_of(self, rank: int, world: int) -> RawBatch:
        """The rows `rank::world`."""
        return RawBatch(self.values[rank::world], self.lengths[rank::world], self.references[rank::world])


class RawStream(Resumable[RawBatch]):
    """Batches of all pictures, or all recordings, of conversations; the same for the same seed, resumable to the bit.

    Args:
        specs: the data sets, a weight being a data set's share of what is taken.
        media: reads them.
        kind: which of the two.
        rows: of a batch; the last batch of data that end may hold fewer.
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
        media: RawMedia,
        kind: Literal["image", "audio"],
        *,
        rows: int,
        seed: int = 0,
        repeat: bool = True,
        prefetch: int = 2,
        workers: int = 0,
    ) -> None:
        super().__init__(_Maker(specs, media, kind, rows, seed, repeat), prefetch, workers)


class _Maker(RowMaker[RawMedia, Values, RawBatch]):
    """Draws records and makes batches of what they show or play."""

    def __init__(
        self,
        specs: Sequence[DatasetSpec],
        media: RawMedia,
        kind: Literal["image", "audio"],
        rows: int,
        seed: int,
        repeat: bool,
    ) -> None:
        mixture = Mixture(specs, media, (seed, rows, repeat, kind), seed=seed, repeat=repeat)
        super().__init__(mixture, rows)
        self._kind = kind

    def made(self, record: Record, media: RawMedia) -> list[Values]:
        """All of the kind that a record shows or plays."""
        if self._kind == "image":
            return [media.pixels(part) for part in record.media if isinstance(part, Image)]
        return [media.samples(part) for part in record.media if isinstance(part, Audio)]

    def batch(self, rows: Sequence[Values]) -> RawBatch:
        """Rows as a batch."""
        return _batch(rows)


def _batch(values: Sequence[Values]) -> RawBatch:
    none = torch.zeros((len(values), 0))
    if values[0].ndim == 3:
        return RawBatch(torch.from_numpy(np.stack(values)), torch.zeros(len(values), dtype=torch.int64), none)
    lengths = [len(row) for row in values]
    samples = np.zeros((len(values), max(lengths)), np.float32)
    for place, row in zip(samples, values, strict=True):
        place[: len(row)] = row
    return RawBatch(torch.from_numpy(samples), torch.tensor(lengths), none)
