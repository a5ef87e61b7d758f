"""The generated world as a stream of records that can go on from any point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.data.records import Bad, DataFile, Ledger, Record
from sensorium.data.world.source import World
from sensorium.errors import DataError

if TYPE_CHECKING:
    from sensorium.data.spec import DatasetSpec

EPOCH = 2_048  # records of an epoch, where the data set sets no limit


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many records of an epoch have been handed out, and how many of them turned out usable."""

    epoch: int = 0
    index: int = 0
    good: int = 0


class WorldStream:
    """Records of the generated world, made one by one; the interface is that of `RecordStream`.

    Training without a limit never meets a record twice: every seed draws numbers of its own. A validation split is the
    records 0 to `limit` (2,048 by default) in this order, whatever the seed, so that figures compare. Training with a
    limit has those records in a new order every epoch.

    Args:
        spec: a data set of the generated world.
        seed: which records training meets, and in what order.
        shuffle: false keeps the order of numbers.
        repeat: whether to begin again after an epoch.
        media: false leaves out pictures and recordings, for who wants words alone.

    Raises:
        DataError: from iteration: too many records were rejected, or an epoch had no usable one.
        ConfigError: from iteration: speech is asked for without the extra `world`.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        *,
        seed: int | tuple[int, ...] = 0,
        shuffle: bool = True,
        repeat: bool = True,
        media: bool = True,
    ) -> None:
        assert spec.world is not None
        self.spec = spec
        self.files: list[DataFile] = []  # it reads none
        self.ledger = Ledger(spec.name, spec.max_bad)
        self.world = World(spec.world, spec.split)
        self._seed = (seed,) if isinstance(seed, int) else seed
        self._shuffle, self._repeat, self._media = shuffle and spec.split == "train", repeat, media
        self._cursor = Cursor()
        self._order = self._epoch_order(0)

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        if self._cursor.index >= self._length:
            self._begin_again()
        record = self.world.record(self._number(self._cursor), media=self._media)
        self._cursor = replace(self._cursor, index=self._cursor.index + 1, good=self._cursor.good + 1)
        return record

    def reject(self, record: Record, why: str) -> None:
        """Count the record just handed out as unusable. Raises `DataError` when there are too many."""
        self.pass_over()
        self.ledger.add(Bad(record.where, why))

    def pass_over(self) -> None:
        """Say that the record just handed out was sound but of no use: an epoch needs one that is."""
        self._cursor = replace(self._cursor, good=self._cursor.good - 1)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as plain data for JSON."""
        return {"cursor": asdict(self._cursor), "bad": dict(self.ledger.entries)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.ledger.entries = dict(state["bad"])
        self._cursor = Cursor(**state["cursor"])
        self._order = self._epoch_order(self._cursor.epoch)

    @property
    def _length(self) -> int:
        return self.spec.limit or EPOCH

    def _epoch_order(self, epoch: int) -> list[int] | None:
        """The numbers of an epoch that shuffles a limited set; None where each follows from its place alone."""
        if not self._shuffle or self.spec.limit is None:
            return None
        order: list[int] = np.random.default_rng([*self._seed, epoch]).permutation(self.spec.limit).tolist()
        return order

    def _number(self, cursor: Cursor) -> int:
        """The world's number of the record at a place."""
        if self._order is not None:
            return self._order[cursor.index]
        if not self._shuffle:
            return cursor.index
        return int(np.random.default_rng([*self._seed, cursor.epoch, cursor.index]).integers(2**62))

    def _begin_again(self) -> None:
        if self._cursor.good == 0:
            first = f" (first: {self.ledger.first(1)[0]})" if self.ledger.entries else ""
            raise DataError(
                f"{self.spec.name} holds no usable record in its {self.spec.split} split{first}: "
                "give it longer rows, or other kinds of talk"
            )
        if not self._repeat:
            raise StopIteration
        self._cursor = Cursor(epoch=self._cursor.epoch + 1)
        self._order = self._epoch_order(self._cursor.epoch)
