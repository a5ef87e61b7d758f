"""Batches of pairs: one picture or recording beside its text, to be told from others or spelled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sensorium.data.ahead import Ahead
from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import record_stream
from sensorium.errors import DataError
from sensorium.messages import Text
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


class PairStream(Iterator[PairBatch]):
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
        if not specs:
            raise DataError("no data set is given (a mixture needs at least one)")
        self._maker = _Maker(specs, processor, units, rows, seed, repeat, kind)
        self._prefetch, self._workers = prefetch, workers
        self._state = self._maker.state_dict()
        self._waited = 0.0
        self._ahead: Ahead[PairBatch] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PairBatch:
        if self._ahead is None:
            self._ahead = Ahead(self._maker.batches, self._prefetch, workers=self._workers)
        batch, self._state = next(self._ahead)
        return batch

    @property
    def waited(self) -> float:
        """Seconds that the caller has spent waiting for batches."""
        return self._waited + (self._ahead.waited if self._ahead is not None else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch handed out, fit for JSON."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises `DataError` when it was saved over other data."""
        self.close()
        self._maker.load_state_dict(state)
        self._state = dict(state)

    def close(self) -> None:
        """Stop making batches ahead."""
        if self._ahead is not None:
            self._ahead.close()
            self._waited += self._ahead.waited
            self._ahead = None
            self._maker.load_state_dict(self._state)


class _Maker:
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
        self._settings = (tuple(specs), processor, units, rows, seed, repeat, kind)
        self._processor, self._units, self._rows, self._kind = processor, units, rows, kind
        self._specs, self._seed = specs, seed
        self._weights = [spec.weight for spec in specs]
        self._streams = [record_stream(spec, seed=(seed, index), repeat=repeat) for index, spec in enumerate(specs)]
        self._drawn = [0] * len(specs)
        self._live = [True] * len(specs)
        self._fingerprint = self._digest(seed, repeat)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (*self._settings, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {
            "fingerprint": self._fingerprint,
            "streams": [stream.state_dict() for stream in self._streams],
            "drawn": list(self._drawn),
            "live": list(self._live),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("fingerprint") != self._fingerprint:
            raise DataError(
                "the saved place in the data belongs to other data or settings (files, mixture, seed, rows): "
                "restore them, or begin a new run"
            )
        for stream, saved in zip(self._streams, state["streams"], strict=True):
            stream.load_state_dict(saved)
        self._drawn, self._live = list(state["drawn"]), list(state["live"])

    def batches(self) -> Iterator[tuple[PairBatch, dict[str, Any]]]:
        """Batches, each with the state after it."""
        waiting: list[_Pair] = []
        while (pair := self._next()) is not None:
            waiting.append(pair)
            if len(waiting) == self._rows:
                yield _batch(waiting), self.state_dict()
                waiting = []
        if waiting:
            yield _batch(waiting), self.state_dict()

    def _next(self) -> _Pair | None:
        """The next pair of the data set that is furthest behind its share, None when all have ended."""
        while any(self._live):
            alive = [index for index, live in enumerate(self._live) if live]
            index = min(alive, key=lambda index: self._drawn[index] / self._weights[index])
            stream = self._streams[index]
            try:
                record = next(stream)
            except StopIteration:
                self._live[index] = False
                continue
            try:
                pair = self._pair(record, self._processor_for(index))
            except DataError as error:
                stream.reject(record, str(error))
                continue
            self._drawn[index] += 1
            return pair
        return None

    def _processor_for(self, index: int) -> Processor:
        """The processor of a data set, by whose settings it may vary what it prepares."""
        augment = self._specs[index].augment
        if augment is None:
            return self._processor
        return self._processor.augmented(augment, np.random.default_rng([self._seed, index, self._drawn[index]]))

    def _pair(self, record: Record, processor: Processor) -> _Pair:
        if isinstance(record.content, str):
            raise DataError("plain text is no pair: it needs a picture or recording with its text")
        replies = [message.text for message in record.content if message.role == "assistant"]
        shown = [part for message in record.content for part in message.parts if not isinstance(part, Text)]
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
        return _Pair(features[0], units, int.from_bytes(digest, "big") >> 1)

    def _digest(self, seed: int, repeat: bool) -> str:
        """Of all that decides which batches come: settings, mixture, and the files by name and size."""
        moved = {"media_folder": None}
        mixture = [spec.model_dump(mode="json", exclude={"path", "max_bad"}) | moved for spec in self._specs]
        files = [(Path(file.name).name, file.n_bytes) for stream in self._streams for file in stream.files]
        settings = [mixture, seed, self._rows, repeat, *files]
        return hashlib.blake2b(repr(settings).encode(), digest_size=8).hexdigest()


def _restored(
    specs: Sequence[DatasetSpec],
    processor: Processor,
    units: Callable[[str], list[int]],
    rows: int,
    seed: int,
    repeat: bool,
    kind: str | None,
    state: Mapping[str, Any],
) -> _Maker:
    """A maker in another process."""
    maker = _Maker(specs, processor, units, rows, seed, repeat, kind)
    maker.load_state_dict(state)
    return maker


def _batch(pairs: Sequence[_Pair]) -> PairBatch:
    texts = np.full((len(pairs), max(len(pair.units) for pair in pairs)), PADDING, dtype=np.int64)
    for row, pair in enumerate(pairs):
        texts[row, : len(pair.units)] = pair.units
    return PairBatch(
        media=media_of([[pair.feature] for pair in pairs]),
        texts=torch.from_numpy(texts),
        keys=torch.tensor([pair.key for pair in pairs]),
    )
