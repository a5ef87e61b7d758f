"""Batches for training and validation: data sets mixed by weight, encoded, packed, and resumable to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.encoding import Encoder, fitted
from sensorium.data.mixture import Mixture
from sensorium.data.packing import IGNORED, Piece, pack, pieces
from sensorium.data.records import Record
from sensorium.data.resumable import Now, Resumable
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError
from sensorium.nn.media import Media
from sensorium.processing.media import Feature, media_of

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


class BatchStream(Resumable[Batch]):
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
        maker = _Packer(specs, processor, rows, time, seed, repeat=repeat, shift=shift, shuffle=shuffle)
        super().__init__(maker, -(-_GROUP_ROWS // rows) if prefetch is None else prefetch, workers)

    @property
    def truncated(self) -> int:
        """Exchanges met so far that were longer than a row and lost their end, or what they are about."""
        return int(self._now["truncated"])

    @property
    def tokens_drawn(self) -> tuple[int, ...]:
        """Tokens taken from each data set so far."""
        return tuple(self._now["cursor"]["drawn"])


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
        settings = (seed, time, repeat, shift, shuffle)
        self._mixture = Mixture(specs, processor, settings, seed=seed, repeat=repeat, shuffle=shuffle)
        self._tokenizer = processor.tokenizer
        self._rows, self._time, self._shift = rows, time, shift
        self._truncated = 0
        self._row = 0

    def state_dict(self) -> dict[str, Any]:
        return self._mixture.state_dict() | {"truncated": self._truncated, "row": self._row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._mixture.load_state_dict(state)
        self._truncated, self._row = state["truncated"], state["row"]

    def now(self, cursor: Mapping[str, Any] | None = None) -> Now:
        """A cursor (by default where the packer stands) with what was met until now."""
        return {"cursor": dict(cursor or self.state_dict()), "bad": self._mixture.bad, "truncated": self._truncated}

    def batches(self) -> Iterator[tuple[Batch | None, Now]]:
        """Batches, each with the cursor after it and what was met by then; None and the last of these at the end."""
        waiting: list[list[Piece]] = []
        skip = self._row
        cursor = self.state_dict()
        while self._mixture.live:
            start = {**self.state_dict(), "row": 0}
            group = self._group()
            for index in range(skip, len(group)):
                waiting.append(group[index])
                if len(waiting) == self._rows:
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
        while self._mixture.live:
            if places >= (_GROUP_ROWS if n_bytes < _GROUP_BYTES else _MEDIA_ROWS) * self._time:
                break
            made = self._mixture.draw(self._encode, len)
            places += sum(map(len, made))
            n_bytes += sum(feature.values.nbytes for piece in made for feature in piece.features)
            group += made
        return [[group[index] for index in row] for row in pack([len(piece) for piece in group], self._time)]

    def _encode(self, record: Record, encoder: Encoder) -> list[Piece]:
        """A record as pieces of at most a row; none when what is to be learned lies beyond it."""
        lost = 0
        if isinstance(record.content, str):
            encoded = [encoder.encode_text(record.content)]
        else:
            encoded, lost = fitted(encoder, record.content, self._time + self._shift)
        if not any(np.asarray(sequence.learned).any() for sequence in encoded):
            raise DataError("nothing is learned from it: it has no assistant turn, or no token")
        made: list[Piece] = []
        for sequence in encoded:
            token_ids, learned = np.asarray(sequence.token_ids), np.asarray(sequence.learned)
            if not isinstance(record.content, str) and len(token_ids) > self._time + self._shift:
                lost += 1
                token_ids, learned = token_ids[: self._time + self._shift], learned[: self._time + self._shift]
            made += pieces(token_ids, learned, self._time, shift=self._shift, features=sequence.features)
        self._truncated += lost
        return made

    def _batch(self, rows: list[list[Piece]]) -> Batch:
        shape = (self._rows, self._time)
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
        n_bytes = self._tokenizer.n_bytes(targets[targets != IGNORED].tolist())
        return Batch(
            input_ids=torch.from_numpy(input_ids),
            targets=torch.from_numpy(targets),
            positions=torch.from_numpy(positions),
            document_ids=torch.from_numpy(document_ids),
            n_bytes=n_bytes,
            media=media_of(features),
        )
