"""Batches for training and validation: data sets mixed by weight, encoded, packed, and resumable to the bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sensorium.data.ahead import Ahead
from sensorium.data.encoding import Encoder, fitted
from sensorium.data.packing import IGNORED, Piece, pack, pieces
from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import Stream, record_stream
from sensorium.errors import DataError
from sensorium.nn.media import Media
from sensorium.processing.media import Feature, media_of

__all__ = ["Ahead", "Batch", "BatchStream"]

_GROUP_ROWS = 256  # rows that are packed together
_MEDIA_ROWS = 8  # fewer, but at least these, where pictures and recordings reach so many bytes
_GROUP_BYTES = 2**25


@dataclass(frozen=True)
class Batch:
    """Packed rows, each tensor (rows, time), int64.

    `targets` are already shifted: what is to be predicted at a place, -100 for nothing. `positions` begin at 0 in
    every document; `document_ids` count the documents of a row from 0, padding is -1. `n_bytes` counts the UTF-8
    bytes of all learned targets: a summed loss in nats over (n_bytes · ln 2) is bits per byte. `media` are the
    pictures and recordings whose placeholders are among the inputs; no placeholder is a target.
    """

    input_ids: Tensor
    targets: Tensor
    positions: Tensor
    document_ids: Tensor
    n_bytes: int
    media: Media = field(default_factory=Media)

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
        moved: dict[str, Any] = {name: tensor.to(device, non_blocking=True) for name, tensor in self._tensors().items()}
        return replace(self, **moved, media=self.media.to(device))

    def rows_of(self, rank: int, world: int) -> Batch:
        """The rows `rank::world` with the media that stand in them; `n_bytes` stays that of all."""
        rows = range(len(self.input_ids))[rank::world]
        shares: dict[str, Any] = {name: tensor[rank::world] for name, tensor in self._tensors().items()}
        return replace(self, **shares, media=self.media.of_rows(rows) if self.media else self.media)

    def _tensors(self) -> dict[str, Tensor]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


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
        prefetch: batches made ahead by a background thread, by default as many as are packed together; 0 makes them
            in the caller's.
        workers: 1 makes them in a process of its own instead, so that the caller's never waits for its turn.

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
        prefetch: int | None = None,
        workers: int = 0,
    ) -> None:
        if not specs:
            raise DataError("no data set is given (a mixture needs at least one)")
        self._packer = _Packer(specs, processor, rows, time, seed, repeat=repeat, shift=shift, shuffle=shuffle)
        self._prefetch = -(-_GROUP_ROWS // rows) if prefetch is None else prefetch
        self._workers = workers
        self._now = self._packer.now()
        self._waited = 0.0
        self._ahead: Ahead[Batch | None] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        if self._ahead is None:
            self._ahead = Ahead(self._packer.batches, self._prefetch, workers=self._workers)
        batch, self._now = next(self._ahead)
        if batch is None:
            raise StopIteration
        return batch

    @property
    def waited(self) -> float:
        """Seconds that the caller has spent waiting for batches."""
        return self._waited + (self._ahead.waited if self._ahead is not None else 0.0)

    @property
    def bad(self) -> list[str]:
        """Corrupt records met so far, as `file:line: why`."""
        return list(self._now["bad"])

    @property
    def truncated(self) -> int:
        """Exchanges met so far that were longer than a row and lost their end, or what they are about."""
        return int(self._now["truncated"])

    @property
    def tokens_drawn(self) -> tuple[int, ...]:
        """Tokens taken from each data set so far."""
        return tuple(self._now["cursor"]["drawn"])

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch handed out, as plain data for JSON."""
        copy: dict[str, Any] = json.loads(json.dumps(self._now["cursor"]))
        return copy

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next batch is the one that followed it, bit for bit.

        Raises:
            DataError: when the state was saved over other data or settings.
        """
        self.close()
        self._packer.load_state_dict(state)
        self._now = self._packer.now()

    def close(self) -> None:
        """Stop making batches ahead. Iterating again goes on from the same place."""
        if self._ahead is not None:
            self._ahead.close()
            self._waited += self._ahead.waited
            self._ahead = None
            self._packer.load_state_dict(self._now["cursor"])


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
        self._settings = (tuple(specs), processor, rows, time, seed, repeat, shift, shuffle)
        self.specs, self.processor, self.seed = specs, processor, seed
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

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (*self._settings, self.state_dict())

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

    def now(self, cursor: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A cursor (by default where the packer stands) with what was met until now."""
        bad = [line for stream in self.streams for line in stream.ledger.first(stream.spec.max_bad)]
        return {"cursor": dict(cursor or self.state_dict()), "bad": bad, "truncated": self.truncated}

    def batches(self) -> Iterator[tuple[Batch | None, dict[str, Any]]]:
        """Batches, each with the cursor after it and what was met by then; None and the last of these at the end."""
        waiting: list[list[Piece]] = []
        skip = self.row
        cursor = self.state_dict()
        while any(self.live):
            start = {**self.state_dict(), "row": 0}
            group = self._group()
            for index in range(skip, len(group)):
                waiting.append(group[index])
                if len(waiting) == self.rows:
                    cursor = {**start, "row": index + 1}
                    yield self._batch(waiting), self.now(cursor)
                    waiting = []
            skip = 0
        if waiting:
            cursor = {**self.state_dict(), "row": 0}
            yield self._batch(waiting), self.now(cursor)
        yield None, self.now(cursor)

    def _group(self) -> list[list[Piece]]:
        """The next rows: whole records are drawn until they hold enough."""
        group: list[Piece] = []
        places = n_bytes = 0
        while places < (_GROUP_ROWS if n_bytes < _GROUP_BYTES else _MEDIA_ROWS) * self.time:
            alive = [index for index, live in enumerate(self.live) if live]
            if not alive:
                break
            index = min(alive, key=lambda index: self.drawn[index] / self.weights[index])
            made = self._next(index)
            size = sum(map(len, made))
            self.drawn[index] += size
            places += size
            n_bytes += sum(feature.values.nbytes for piece in made for feature in piece.features)
            group += made
        return [[group[index] for index in row] for row in pack([len(piece) for piece in group], self.time)]

    def _next(self, index: int) -> list[Piece]:
        """The next record of a data set as pieces; none when it has ended, or the record is of no use."""
        stream = self.streams[index]
        try:
            record = next(stream)
        except StopIteration:
            self.live[index] = False
            return []
        try:
            made = self._encode(record, self._encoder(index))
        except DataError as error:
            stream.reject(record, str(error))
            return []
        if not made:
            stream.pass_over()
        return made

    def _encoder(self, index: int) -> Encoder:
        """The processor for the next record of a data set, whose chance depends on nothing but its place."""
        augment = self.specs[index].augment
        if augment is None:
            return self.processor
        return self.processor.augmented(augment, np.random.default_rng([self.seed, index, self.drawn[index]]))

    def _encode(self, record: Record, encoder: Encoder) -> list[Piece]:
        """A record as pieces of at most a row; none when what is to be learned lies beyond it."""
        lost = 0
        if isinstance(record.content, str):
            encoded = [encoder.encode_text(record.content)]
        else:
            encoded, lost = fitted(encoder, record.content, self.time + self.shift)
        if not any(np.asarray(sequence.learned).any() for sequence in encoded):
            raise DataError("nothing is learned from it: it has no assistant turn, or no token")
        made: list[Piece] = []
        for sequence in encoded:
            token_ids, learned = np.asarray(sequence.token_ids), np.asarray(sequence.learned)
            if not isinstance(record.content, str) and len(token_ids) > self.time + self.shift:
                lost += 1
                token_ids, learned = token_ids[: self.time + self.shift], learned[: self.time + self.shift]
            made += pieces(token_ids, learned, self.time, shift=self.shift, features=sequence.features)
        self.truncated += lost
        return made

    def _batch(self, rows: list[list[Piece]]) -> Batch:
        shape = (self.rows, self.time)
        input_ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        targets, document_ids = np.full(shape, IGNORED, np.int64), np.full(shape, -1, np.int64)
        features: list[list[Feature]] = [[] for _ in rows]
        for row, row_pieces in enumerate(rows):
            begin = 0
            for document, piece in enumerate(row_pieces):
                place = (row, slice(begin, begin + len(piece)))
                input_ids[place], targets[place] = piece.inputs, piece.targets
                positions[place], document_ids[place] = np.arange(len(piece)), document
                features[row] += [feature.moved(begin) for feature in piece.features]
                begin += len(piece)
        n_bytes = self.processor.tokenizer.n_bytes(targets[targets != IGNORED].tolist())
        return Batch(
            input_ids=torch.from_numpy(input_ids),
            targets=torch.from_numpy(targets),
            positions=torch.from_numpy(positions),
            document_ids=torch.from_numpy(document_ids),
            n_bytes=n_bytes,
            media=media_of(features),
        )


def _restored(
    specs: Sequence[DatasetSpec],
    processor: Encoder,
    rows: int,
    time: int,
    seed: int,
    repeat: bool,
    shift: bool,
    shuffle: bool,
    state: Mapping[str, Any],
) -> _Packer:
    """A packer in another process."""
    packer = _Packer(specs, processor, rows, time, seed, repeat=repeat, shift=shift, shuffle=shuffle)
    packer.load_state_dict(state)
    return packer


def _fingerprint(settings: list[Any], specs: Sequence[DatasetSpec], streams: Sequence[Stream]) -> str:
    """A digest of all that decides which batches come: settings, mixture, and the files by name and size."""
    mixture = [spec.model_dump(mode="json", exclude={"path", "max_bad", "media_folder"}) for spec in specs]
    files = [[(Path(file.name).name, file.n_bytes) for file in stream.files] for stream in streams]
    text = json.dumps([settings, mixture, files], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
