"""Batches of pairs: one picture or recording beside its text, to be told from others or spelled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.data.mixture import Mixture
from sensorium.data.records import Record
from sensorium.data.resumable import Resumable
from sensorium.data.rows import RowMaker
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError
from sensorium.nn.media import Media
from sensorium.processing.media import Feature, media_of
from sensorium.processing.processor import Processor

PADDING = -1


@dataclass(frozen=True)
class PairBatch:
    """Pairs, one a row.

    Attributes:
        media: one picture or recording of every row.
        texts: (rows, longest) int64 units of the texts, -1 behind shorter ones.
        keys: (rows,) int64, equal where texts are: such rows are no negatives of each other.
    """

    media: Media
    texts: Tensor
    keys: Tensor

    @property
    def lengths(self) -> Tensor:
        """(rows,) units of each text."""
        return (self.texts != PADDING).sum(1)

    def to(self, device: torch.device | str) -> PairBatch:
        """The same batch on a device."""
        return PairBatch(self.media.to(device), self.texts.to(device), self.keys.to(device))

    def rows_of(self, rank: int, world: int) -> PairBatch:
        """The rows `rank::world`."""
        rows = list(range(len(self.keys)))[rank::world]
        return PairBatch(self.media.of_rows(rows), self.texts[rows], self.keys[rows])


@dataclass(frozen=True, slots=True)
class _Pair:
    feature: Feature
    units: list[int]
    key: int


class PairStream(Resumable[PairBatch]):
    """Batches of pairs from a weighted mixture of conversations, the same for the same seed, resumable to the bit.

    A conversation is a pair when it holds one picture or recording, and the assistant's last words are its text. A
    weight is a data set's share of the pairs.

    Args:
        specs: the data sets.
        processor: prepares pictures and recordings.
        units: a text as whole numbers from 0 on, none of them for a text that is of no use.
        rows: pairs of a batch; the last batch of data that end may hold fewer.
        seed: of the shuffle.
        repeat: whether data sets begin again when they end.
        kind: `image`, `audio`, or None for either.
        prefetch: batches made ahead by a background thread.
        workers: 1 makes them in a process of its own instead.

    Raises:
        DataError: from iteration too, see `RecordStream`.
    """

    def __init__(
        self,
        specs: Sequence[DatasetSpec],
        processor: Processor,
        units: Callable[[str], list[int]],
        *,
        rows: int,
        seed: int = 0,
        repeat: bool = True,
        kind: str | None = None,
        prefetch: int = 2,
        workers: int = 0,
    ) -> None:
        super().__init__(_Maker(specs, processor, units, rows, seed, repeat, kind), prefetch, workers)


class _Maker(RowMaker[Processor, _Pair, PairBatch]):
    """Draws records, makes pairs of them, and batches of those."""

    def __init__(
        self,
        specs: Sequence[DatasetSpec],
        processor: Processor,
        units: Callable[[str], list[int]],
        rows: int,
        seed: int,
        repeat: bool,
        kind: str | None,
    ) -> None:
        mixture = Mixture(specs, processor, (seed, rows, repeat, kind), seed=seed, repeat=repeat)
        super().__init__(mixture, rows)
        self._units, self._kind = units, kind

    def made(self, record: Record, processor: Processor) -> list[_Pair]:
        """The one pair that a record is. Raises `DataError` when it is none."""
        if isinstance(record.content, str):
            raise DataError("plain text is no pair: it needs a picture or recording with its text")
        replies = [message.text for message in record.content if message.role == "assistant"]
        shown = record.media
        if len(shown) != 1 or not replies:
            raise DataError(
                "a pair is one picture or recording and the words of a reply, not "
                f"{len(shown)} of the one and {len(replies)} of the other"
            )
        features = processor.features(shown[0])
        if len(features) != 1:
            raise DataError(f"a pair is of one piece, and this picture or recording is cut into {len(features)}")
        if self._kind is not None and features[0].kind != self._kind:
            raise DataError(f"a pair with {self._kind} is needed, and this one has {features[0].kind}")
        units = self._units(replies[-1])
        if not units:
            raise DataError("the text is empty")
        digest = hashlib.blake2b(np.asarray(units).tobytes(), digest_size=8).digest()
        return [_Pair(features[0], units, int.from_bytes(digest, "big") >> 1)]

    def batch(self, rows: Sequence[_Pair]) -> PairBatch:
        """Rows as a batch."""
        return _batch(rows)


def _batch(pairs: Sequence[_Pair]) -> PairBatch:
    texts = np.full((len(pairs), max(len(pair.units) for pair in pairs)), PADDING, dtype=np.int64)
    for row, pair in enumerate(pairs):
        texts[row, : len(pair.units)] = pair.units
    return PairBatch(
        media=media_of([[pair.feature] for pair in pairs]),
        texts=torch.from_numpy(texts),
        keys=torch.tensor([pair.key for pair in pairs]),
    )
