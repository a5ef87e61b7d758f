"""Weighted mixtures of data sets: which record comes next, resumable to the bit."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from sensorium.config import AugmentConfig
from sensorium.data.aloud import aloud
from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import record_stream
from sensorium.data.world.splits import Split
from sensorium.errors import DataError

T = TypeVar("T")


class Varied(Protocol):
    """What prepares records, and may vary them by chance."""

    def augmented(self, settings: AugmentConfig, generator: np.random.Generator, /) -> Self:
        """The same, but every picture and recording is varied by chance."""


E = TypeVar("E", bound=Varied)


class Mixture(Generic[E]):
    """Draws records from data sets by weight: the next comes from the one that is furthest behind its share.

    Args:
        specs: the data sets.
        encoder: prepares records.
        settings: what else decides which batches come, fit for JSON; a state is refused where it differs.
        seed: of the shuffle, and of what is varied.
        repeat: begin data sets again when they end.
        shuffle: false keeps the order of the files.

    Attributes:
        drawn: what was taken from each data set so far, in the unit of `draw`.

    Raises:
        DataError: there is no data set.
    """

    def __init__(
        self,
        specs: Sequence[DatasetSpec],
        encoder: E,
        settings: Sequence[Any],
        *,
        seed: int,
        repeat: bool,
        shuffle: bool = True,
    ) -> None:
        if not specs:
            raise DataError("no data set is given (a mixture needs at least one)")
        self._specs, self._encoder, self._settings = tuple(specs), encoder, tuple(settings)
        self._seed, self._repeat, self._shuffle = seed, repeat, shuffle
        self._streams = [
            record_stream(spec, seed=(seed, index), shuffle=shuffle, repeat=repeat) for index, spec in enumerate(specs)
        ]
        self.drawn = [0] * len(specs)
        self._live = [True] * len(specs)
        self._fingerprint = self._digest()

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self._specs, self._encoder, self._settings, self._seed, self._repeat, self._shuffle)
        return _restored, (*given, self.state_dict())

    @property
    def live(self) -> bool:
        """Whether any data set has records left."""
        return any(self._live)

    @property
    def bad(self) -> list[str]:
        """Corrupt records met so far, as `file:line: why`."""
        return [line for stream in self._streams for line in stream.ledger.first(stream.spec.max_bad)]

    def draw(self, make: Callable[[Record, E], list[T]], size: Callable[[T], int]) -> list[T]:
        """What is made of the next record; nothing when its data set has ended, or the record is of no use.

        Args:
            make: turns a record into what batches are filled with; its `DataError` makes the record a corrupt one.
            size: how much a thing made counts towards the share of its data set.

        Raises:
            DataError: too many records are corrupt, or a data set has no usable one.
        """
        alive = [index for index, live in enumerate(self._live) if live]
        index = min(alive, key=lambda index: self.drawn[index] / self._specs[index].weight)
        stream = self._streams[index]
        try:
            record = next(stream)
        except StopIteration:
            self._live[index] = False
            return []
        try:
            made = make(self._spoken(record, index), self._encoder_for(index))
        except DataError as error:
            stream.reject(record, str(error))
            return []
        if not made:
            stream.pass_over()
        self.drawn[index] += sum(map(size, made))
        return made

    def state_dict(self) -> dict[str, Any]:
        """The place of every data set, as plain data for JSON."""
        return {
            "fingerprint": self._fingerprint,
            "streams": [stream.state_dict() for stream in self._streams],
            "drawn": list(self.drawn),
            "live": list(self._live),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises `DataError` when it was saved over other data or settings."""
        if state.get("fingerprint") != self._fingerprint:
            raise DataError(
                "the saved place in the data belongs to other data or settings (files, mixture, seed, sizes of a "
                "batch): restore them, or begin a new run"
            )
        for stream, saved in zip(self._streams, state["streams"], strict=True):
            stream.load_state_dict(saved)
        self.drawn, self._live = list(state["drawn"]), list(state["live"])

    def _encoder_for(self, index: int) -> E:
        """The encoder for the next record of a data set, whose chance depends on nothing but its place."""
        augment = self._specs[index].augment
        if augment is None:
            return self._encoder
        return self._encoder.augmented(augment, np.random.default_rng([self._seed, index, self.drawn[index]]))

    def _spoken(self, record: Record, index: int) -> Record:
        """The next record of a data set, at times with its answers said aloud."""
        spec = self._specs[index]
        if spec.aloud == 0.0:
            return record
        dice = random.Random(f"{self._seed} {index} {self.drawn[index]}")
        side: Split = "validation" if spec.split == "validation" else "train"
        return aloud(record, dice, side) if dice.random() < spec.aloud else record

    def _digest(self) -> str:
        """Of all that decides which batches come: settings, mixture, and the files by name and size."""
        left_out = {"path", "max_bad", "media_folder"}
        mixture = [spec.model_dump(mode="json", exclude=left_out, exclude_defaults=True) for spec in self._specs]
        files = [[(Path(file.name).name, file.n_bytes) for file in stream.files] for stream in self._streams]
        text = json.dumps([self._settings, mixture, files], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _restored(
    specs: tuple[DatasetSpec, ...],
    encoder: E,
    settings: tuple[Any, ...],
    seed: int,
    repeat: bool,
    shuffle: bool,
    state: Mapping[str, Any],
) -> Mixture[E]:
    """A mixture in another process."""
    mixture = Mixture(specs, encoder, settings, seed=seed, repeat=repeat, shuffle=shuffle)
    mixture.load_state_dict(state)
    return mixture
