"""Batches for training and validation: data sets mixed by weight, encoded, packed, and resumable to the bit."""

from __future__ import annotations

import hashlib
import json
import queue
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sensorium.data.encoding import Encoder, fitted
from sensorium.data.packing import IGNORED, Piece, pack, pieces
from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import Stream, record_stream
from sensorium.errors import DataError

_GROUP_ROWS = 256  # rows that are packed together


@dataclass(frozen=True)
class Batch:
    """Packed rows, each tensor (rows, time), int64.

    `targets` are already shifted: what is to be predicted at a place, -100 for nothing. `positions` begin at 0 in
    every document; `document_ids` count the documents of a row from 0, padding is -1. `n_bytes` counts the UTF-8
    bytes of all learned targets: a summed loss in nats over (n_bytes · ln 2) is bits per byte.
    """

    input_ids: Tensor
    targets: Tensor
    positions: Tensor
    document_ids: Tensor
    n_bytes: int

    @property
    def n_learned(self) -> int:
        """Number of targets."""
        return int((self.targets != IGNORED).sum())

    @property
    def n_tokens(self) -> int:
        """Number of inputs that are not padding."""
        return int((self.document_ids >= 0).sum())

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "n_bytes"}
        return Batch(**{name: tensor.to(device) for name, tensor in tensors.items()}, n_bytes=self.n_bytes)


class BatchStream(Iterator[Batch]):
    """Batches from a weighted mixture of data sets, the same for the same seed on every process and machine.

    Weights are shares of tokens: the next record comes from the data set that is furthest behind its share, so the
    mixture is exact but for the last record. Long documents are cut into windows, long conversations at turns.

    Args:
        specs: the data sets.
        processor: turns records into tokens.
        rows: rows of a batch.
        time: length of a row.
        seed: of the shuffle.
        repeat: begin data sets again when they end; otherwise each record comes once, and the last batch is filled up
            with padding.
        shift: targets are the next tokens (causal); without it the tokens themselves (masked).
        shuffle: false keeps the order of the files.
        prefetch: batches made ahead by a background thread; 0 makes them in the caller's.

    Raises:
        DataError: from iteration too; see `RecordStream`.
    """

    def __init__(
        self,
        specs: Sequence[DatasetSpec],
        processor: Encoder,
        *,
        rows: int,
        time: int,
        seed: int = 0,
        repeat: bool = True,
        shift: bool = True,
        shuffle: bool = True,
        prefetch: int = 2,
    ) -> None:
        if not specs:
            raise DataError("no data set is given (a mixture needs at least one)")
        self._packer = _Packer(specs, processor, rows, time, seed, repeat=repeat, shift=shift, shuffle=shuffle)
        self._prefetch = prefetch
        self._state = self._packer.state_dict()
        self._ahead: Iterator[tuple[Batch, dict[str, Any]]] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        if self._ahead is None:
            made = self._packer.batches()
            self._ahead = _Ahead(made, self._prefetch) if self._prefetch else made
        batch, self._state = next(self._ahead)
        return batch

    @property
    def bad(self) -> list[str]:
        """Corrupt records met so far (those read ahead included), as `file:line: why`."""
        return [line for stream in self._packer.streams for line in stream.ledger.first(stream.spec.max_bad)]

    @property
    def truncated(self) -> int:
        """Exchanges met so far (those read ahead included) that were longer than a row, and lost their end."""
        return self._packer.truncated

    @property
    def tokens_drawn(self) -> tuple[int, ...]:
        """Tokens taken from each data set so far."""
        return tuple(self._state["drawn"])

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch handed out, as plain data for JSON."""
        copy: dict[str, Any] = json.loads(json.dumps(self._state))
        return copy

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next batch is the one that followed it, bit for bit.

        Raises:
            DataError: when the state was saved over other data or settings.
        """
        self.close()
        self._packer.load_state_dict(state)
        self._state = dict(state)

    def close(self) -> None:
        """Stop making batches ahead. Iterating again goes on from the same place."""
        if isinstance(self._ahead, _Ahead):
            self._ahead.close()
        if self._ahead is not None:
            self._ahead = None
            self._packer.load_state_dict(self._state)


class _Packer:
    """Draws records, encodes them and packs them in groups; a state is the start of a group and a row within it."""

    def __init__(
        self,
        specs: Sequence[DatasetSpec],
        processor: Encoder,
        rows: int,
        time: int,
        seed: int,
        *,
        repeat: bool,
        shift: bool,
        shuffle: bool,
    ) -> None:
        self.processor = processor
        self.rows, self.time, self.shift = rows, time, shift
        self.weights = [spec.weight for spec in specs]
        self.streams = [
            record_stream(spec, seed=(seed, index), shuffle=shuffle, repeat=repeat) for index, spec in enumerate(specs)
        ]
        self.drawn = [0] * len(specs)
        self.live = [True] * len(specs)
        self.truncated = 0
        self.row = 0
        settings = [seed, time, repeat, shift, shuffle]
        self.fingerprint = _fingerprint(settings, specs, self.streams)

    def state_dict(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "streams": [stream.state_dict() for stream in self.streams],
            "drawn": list(self.drawn),
            "live": list(self.live),
            "truncated": self.truncated,
            "row": self.row,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("fingerprint") != self.fingerprint:
            raise DataError(
                "the saved place in the data belongs to other data or settings (files, mixture, seed, time): "
                "restore them, or begin a new run"
            )
        for stream, saved in zip(self.streams, state["streams"], strict=True):
            stream.load_state_dict(saved)
        self.drawn, self.live = list(state["drawn"]), list(state["live"])
        self.truncated, self.row = state["truncated"], state["row"]

    def batches(self) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Batches, each with the state after it."""
        waiting: list[list[Piece]] = []
        skip = self.row
        while any(self.live):
            start = {**self.state_dict(), "row": 0}
            group = self._group()
            for index in range(skip, len(group)):
                waiting.append(group[index])
                if len(waiting) == self.rows:
                    yield self._batch(waiting), {**start, "row": index + 1}
                    waiting = []
            skip = 0
        if waiting:
            yield self._batch(waiting), {**self.state_dict(), "row": 0}

    def _group(self) -> list[list[Piece]]:
        """The next rows: whole records are drawn until they hold enough."""
        group: list[Piece] = []
        places = 0
        while places < _GROUP_ROWS * self.time:
            alive = [index for index, live in enumerate(self.live) if live]
            if not alive:
                break
            index = min(alive, key=lambda index: self.drawn[index] / self.weights[index])
            stream = self.streams[index]
            try:
                record = next(stream)
            except StopIteration:
                self.live[index] = False
                continue
            try:
                made = self._encode(record)
            except DataError as error:
                stream.reject(record, str(error))
                continue
            if not made:
                stream.pass_over()
                continue
            size = sum(map(len, made))
            self.drawn[index] += size
            places += size
            group += made
        return [[group[index] for index in row] for row in pack([len(piece) for piece in group], self.time)]

    def _encode(self, record: Record) -> list[Piece]:
        """A record as pieces of at most a row; none when what is to be learned lies beyond it."""
        if isinstance(record.content, str):
            encoded = [self.processor.encode_text(record.content)]
        else:
            encoded = fitted(self.processor, record.content, self.time + self.shift)
        if not any(np.asarray(sequence.learned).any() for sequence in encoded):
            raise DataError("nothing is learned from it: it has no assistant turn, or no token")
        made: list[Piece] = []
        for sequence in encoded:
            token_ids, learned = np.asarray(sequence.token_ids), np.asarray(sequence.learned)
            if not isinstance(record.content, str) and len(token_ids) > self.time + self.shift:
                self.truncated += 1
                token_ids, learned = token_ids[: self.time + self.shift], learned[: self.time + self.shift]
            made += pieces(token_ids, learned, self.time, shift=self.shift)
        return made

    def _batch(self, rows: list[list[Piece]]) -> Batch:
        shape = (self.rows, self.time)
        input_ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        targets, document_ids = np.full(shape, IGNORED, np.int64), np.full(shape, -1, np.int64)
        for row, row_pieces in enumerate(rows):
            begin = 0
            for document, piece in enumerate(row_pieces):
                place = (row, slice(begin, begin + len(piece)))
                input_ids[place], targets[place] = piece.inputs, piece.targets
                positions[place], document_ids[place] = np.arange(len(piece)), document
                begin += len(piece)
        n_bytes = self.processor.tokenizer.n_bytes(targets[targets != IGNORED].tolist())
        return Batch(
            input_ids=torch.from_numpy(input_ids),
            targets=torch.from_numpy(targets),
            positions=torch.from_numpy(positions),
            document_ids=torch.from_numpy(document_ids),
            n_bytes=n_bytes,
        )


def _fingerprint(settings: list[Any], specs: Sequence[DatasetSpec], streams: Sequence[Stream]) -> str:
    """A digest of all that decides which batches come: settings, mixture, and the files by name and size."""
    mixture = [spec.model_dump(mode="json", exclude={"path", "max_bad"}) for spec in specs]
    files = [[(Path(file.name).name, file.path.stat().st_size) for file in stream.files] for stream in streams]
    text = json.dumps([settings, mixture, files], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class _Ahead(Iterator[tuple[Batch, dict[str, Any]]]):
    """Takes from an iterator in a background thread, a few items ahead; an error arrives where its item would."""

    def __init__(self, made: Iterator[tuple[Batch, dict[str, Any]]], n: int) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(n)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=_fill, args=(made, self._queue, self._stop), daemon=True)
        self._thread.start()
        # An abandoned stream must not leave its thread behind.
        self._finalizer = weakref.finalize(self, self._stop.set)

    def __next__(self) -> tuple[Batch, dict[str, Any]]:
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._queue.put(item)  # and again for whoever asks again
            raise item
        taken: tuple[Batch, dict[str, Any]] = item
        return taken

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def _fill(made: Iterator[Any], out: queue.Queue[Any], stop: threading.Event) -> None:
    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                out.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    try:
        for item in made:
            put(item)
            if stop.is_set():
                return
        put(StopIteration())
    except BaseException as error:  # whatever it is, it must reach the thread that waits
        put(error)
