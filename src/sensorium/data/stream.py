"""A data set as a seeded, endless stream of records that can go on from any point."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sensorium.data.formats import READERS
from sensorium.data.media_files import media_digest
from sensorium.data.records import START, Bad, Content, DataFile, Item, Ledger, Position, Record
from sensorium.data.requests import as_request
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError

_BLOCK_CHARACTERS = 2**23  # a block of the shuffle ends here, however few records it has
_BLOCK_MEDIA_BYTES = 2**27  # and here, of pictures and recordings that records hold themselves


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next block of records begins, and how many of it have been handed out.

    `file` counts in the epoch's order; `kept` and `good` are the records of this epoch that passed the split, and
    those that turned out usable.
    """

    epoch: int = 0
    block: int = 0
    file: int = 0
    position: Position = START
    kept: int = 0
    good: int = 0
    index: int = 0


class RecordStream:
    """Records of a data set, shuffled within blocks, its files in a new order every epoch.

    Args:
        spec: what to read.
        seed: of the shuffle; the same seed gives the same order.
        shuffle: false keeps the order of the files.
        repeat: whether to begin again after the last record, in a new order.

    Raises:
        DataError: from iteration too: a broken file, too many corrupt records, or no usable record at all.
    """

    def __init__(
        self, spec: DatasetSpec, *, seed: int | tuple[int, ...] = 0, shuffle: bool = True, repeat: bool = True
    ):
        self.spec = spec
        self.files = spec.files()
        self.ledger = Ledger(spec.name, spec.max_bad)
        self._seed = (seed,) if isinstance(seed, int) else seed
        self._shuffle = shuffle
        self._repeat = repeat
        self._cursor = Cursor()
        self._start(Cursor())

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        if self._cursor.index >= len(self._block):
            self._advance()
        record = self._block[self._cursor.index]
        self._cursor = replace(self._cursor, index=self._cursor.index + 1, good=self._cursor.good + 1)
        return record

    def reject(self, record: Record, why: str) -> None:
        """Count the record just handed out as corrupt after all. Raises `DataError` when there are too many."""
        self.pass_over()
        self.ledger.add(Bad(record.where, why))

    def pass_over(self) -> None:
        """Say that the record just handed out was sound but of no use: an epoch needs one that is."""
        self._cursor = replace(self._cursor, good=self._cursor.good - 1)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as plain data for JSON."""
        cursor = {**asdict(self._cursor), "position": list(self._cursor.position)}
        return {"cursor": cursor, "bad": dict(self.ledger.entries)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, reading one block again."""
        cursor = dict(state["cursor"])
        cursor["position"] = tuple(cursor["position"])
        self.ledger.entries = dict(state["bad"])
        self._start(Cursor(**cursor))

    def _start(self, cursor: Cursor) -> None:
        self._order = self._epoch_order(cursor.epoch)
        self._items: Iterator[Item] | None = None
        self._block: list[Record] = []
        self._cursor = cursor
        self._next_block = cursor
        if cursor.index:
            self._read_block()

    def _epoch_order(self, epoch: int) -> list[DataFile]:
        # With a limit the same records must come first in every epoch.
        if not self._shuffle or self.spec.limit is not None:
            return self.files
        generator = np.random.default_rng([*self._seed, epoch, 0])
        return [self.files[index] for index in generator.permutation(len(self.files))]

    def _advance(self) -> None:
        """Make the next non-empty block the current one, beginning a new epoch where one ends."""
        while True:
            good = self._cursor.good
            self._cursor = replace(self._next_block, good=good, index=0)
            self._read_block()
            if self._block:
                return
            if good == 0:
                raise DataError(self._nothing())
            if not self._repeat:
                raise StopIteration
            self._start(Cursor(epoch=self._cursor.epoch + 1))

    def _nothing(self) -> str:
        split = "" if self.spec.split == "all" else f" in its {self.spec.split} split"
        bad = f" ({len(self.ledger)} corrupt: {self.ledger.first(1)[0]})" if self.ledger.entries else ""
        way_out = "give it more data, longer rows, or another split or format"
        return f"{self.spec.name} holds no usable record{split}{bad}: {way_out}"

    def _read_block(self) -> None:
        """Read the records of the block that begins at the cursor, and remember where the next one begins."""
        cursor = self._cursor
        file, position, filled = cursor.file, cursor.position, 0.0
        records: list[Record] = []
        while file < len(self._order) and not self._enough(cursor, records):
            for item, after in self._reading(file, position):
                if isinstance(item, Bad):
                    self.ledger.add(item)
                elif (
                    in_split(item, self.spec, self._order[file]) and (record := _asked_for(item, self.spec)) is not None
                ):
                    records.append(record)
                    filled += record.n_characters / _BLOCK_CHARACTERS + record.n_media_bytes / _BLOCK_MEDIA_BYTES
                    if self._enough(cursor, records):
                        break
                if after is not None and (len(records) >= self.spec.shuffle_window or filled >= 1.0):
                    position = after
                    break
            else:
                self._items = None
                file, position = file + 1, START
                continue
            break
        self._next_block = Cursor(cursor.epoch, cursor.block + 1, file, position, cursor.kept + len(records))
        if self._shuffle:
            generator = np.random.default_rng([*self._seed, cursor.epoch, 1, cursor.block])
            records = [records[index] for index in generator.permutation(len(records))]
        self._block = records

    def _reading(self, file: int, position: Position) -> Iterator[Item]:
        """The items of a file from a position on; goes on where the last block stopped."""
        if self._items is None:
            self._items = READERS[self._order[file].format](self._order[file], position)
        return self._items

    def _enough(self, cursor: Cursor, records: list[Record]) -> bool:
        return self.spec.limit is not None and cursor.kept + len(records) >= self.spec.limit


def _asked_for(record: Record, spec: DatasetSpec) -> Record | None:
    """The record as it is learned: where there are prompts, a text becomes the answer to one; None if none fits."""
    if not spec.prompts or not isinstance(record.content, str):
        return record
    conversation = as_request(record.content, spec.prompts)
    return None if conversation is None else replace(record, content=conversation)


def in_split(record: Record, spec: DatasetSpec, file: DataFile) -> bool:
    """Whether a record of a file belongs to the split that a data set asks for.

    A source with a given split holds out the groups it names. Otherwise the hash decides: of the record's group, else
    of its pictures and recordings, else of its words.
    """
    if spec.split == "all":
        return True
    if file.held_out:
        held_out = record.group in file.held_out
    else:
        share = _share(record.group.encode()) if record.group else content_hash(record.content)
        held_out = share < spec.validation_fraction
    return held_out == (spec.split == "validation")


def content_hash(content: Content) -> float:
    """A number in [0, 1) drawn from the words of a record, whatever their case and spacing.

    Where it has pictures or recordings, they alone count: all that is said about one falls on one side. Of several,
    the one with the least number decides, so that what one record holds out is in no record of the other side.
    """
    media = Record(content, "").media
    if media:
        return min(_share(media_digest(part)) for part in media)
    text = content if isinstance(content, str) else "\n".join(message.text for message in content)
    return _share(" ".join(text.casefold().split()).encode("utf-8"))


def _share(key: bytes) -> float:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
