"""Words in their places: each feature of a picture says what stands there, and draws the box around it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.data.pairs import PADDING, PairBatch, PairStream
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError, DataError
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.train.pairs import media_flops
from sensorium.train.recipe import Stage

_NOTHING = -1


@dataclass(frozen=True)
class GroundedBatch(PairBatch):
    """Pictures with their boxes in words, and all words of the batch to choose from, whoever works on which rows.

    Attributes:
        words: (w,) int64 token ids, in order.
    """

    words: Tensor

    def to(self, device: torch.device | str) -> GroundedBatch:
        """The same batch on a device."""
        pairs = super().to(device)
        return GroundedBatch(pairs.media, pairs.texts, pairs.keys, self.words.to(device))

    def rows_of(self, rank: int, world: int) -> GroundedBatch:
        """The rows `rank::world`, with the words of all."""
        pairs = super().rows_of(rank, world)
        return GroundedBatch(pairs.media, pairs.texts, pairs.keys, self.words)


@dataclass(frozen=True, slots=True)
class Box:
    """A named box of a reply: the tokens of its name, and x0, y0, x1, y1 in 0..1 of the picture's width and height."""

    name: tuple[int, ...]
    edges: tuple[float, float, float, float]

    @property
    def area(self) -> float:
        """The share of the picture that it covers."""
        x0, y0, x1, y1 = self.edges
        return (x1 - x0) * (y1 - y0)


class BoxReader:
    """Reads named boxes, such as `red apple<loc03><loc10><loc20><loc31>; blue cup<loc40>...`, in a reply's tokens."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._bins = {token: index for index, token in enumerate(processor.tokenizer.location_ids)}
        self._says: dict[int, bool] = {}

    def tokens(self, reply: str) -> list[int]:
        """The tokens of a reply, a blank before it, so that a word is the same first as later.

        Raises:
            DataError: it names no box, or one that has no name or is inside out.
        """
        ids: list[int] = self._processor.encode_text(" " + reply).token_ids.tolist()
        if not self.boxes(ids):
            raise DataError(f"no box in {reply!r}: grounding needs a name with its four location tokens")
        return ids

    def boxes(self, ids: Iterable[int]) -> list[Box]:
        """The boxes that tokens name. Raises `DataError` for one that has no name or is inside out."""
        found: list[Box] = []
        name: list[int] = []
        edges: list[float] = []
        for token in ids:
            if token not in self._bins:
                name += [token] if self._says_something(token) else []
                continue
            edges.append((self._bins[token] + 0.5) / len(self._bins))
            if len(edges) < 4:
                continue
            x0, y0, x1, y1 = edges
            if not name or x1 < x0 or y1 < y0:
                raise DataError(f"a box from ({x0:.2f}, {y0:.2f}) to ({x1:.2f}, {y1:.2f}) of {len(name)} words")
            found.append(Box(tuple(name), (x0, y0, x1, y1)))
            name, edges = [], []
        return found

    def _says_something(self, token: int) -> bool:
        """Whether a token holds a letter, a digit or a part of one, and not only blanks and marks."""
        if token not in self._says:
            text = self._processor.tokenizer.decode([token])
            self._says[token] = any(character.isalnum() or character == "\ufffd" for character in text)
        return self._says[token]


class Grounding:
    """Say at each place of a picture what stands there, in words of the decoder's vocabulary, and where it ends.

    A feature's place belongs to the smallest box that holds its middle; a box that holds none has the place nearest to
    its own middle. Such a place shares its belief between the words of the name, out of all words named in the batch
    (Li et al. 2022, GLIP, arXiv:2112.03857), and tells how far it is to the four edges (Tian et al. 2019, FCOS,
    arXiv:1904.01355); every other place says that nothing is there. The loss sums the cross-entropy of the former and
    the mean error of the latter, in sides of a place.
    """

    gathers = False

    def __init__(self, stage: Stage, processor: Processor, model: Omni) -> None:
        vision = model.config.vision
        if vision is None or not vision.grounding:
            raise ConfigError("objective grounding needs eyes that ground words (set vision.grounding: true)")
        if len(processor.tokenizer.location_ids) < 2:
            raise ConfigError("objective grounding needs a tokenizer with location tokens (set tokenizer.locations)")
        self._grid = vision.encoder.grid
        self._reader = BoxReader(processor)
        self._processor, self._workers = processor, stage.workers

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> PairStream:
        """Pictures with the tokens that name their boxes."""
        return PairStream(
            specs,
            self._processor,
            self._reader.tokens,
            rows=rows,
            seed=seed,
            repeat=repeat,
            kind="image",
            workers=self._workers if repeat else 0,
        )

    def prepare(self, batch: PairBatch, seed: int) -> GroundedBatch:  # noqa: ARG002 (nothing is left to chance)
        """The batch with the words that it names."""
        words = {token for row in self._boxes(batch) for box in row for token in box.name}
        return GroundedBatch(batch.media, batch.texts, batch.keys, torch.tensor(sorted(words), dtype=torch.int64))

    def count(self, batch: PairBatch) -> int:
        """Places that say what they are."""
        return len(batch.keys) * self._grid**2

    def n_bytes(self, batch: PairBatch) -> int:  # noqa: ARG002 (the protocol's)
        """None: a choice among words writes nothing."""
        return 0

    def loss(self, model: Omni, batch: GroundedBatch) -> Tensor:
        """Summed cross-entropy (nats) of all places and error (sides of a place) of those where something stands."""
        assert batch.media.images is not None
        scores, edges = model.ground(batch.media.images, batch.words)  # (n, places, 1 + w), (n, places, 4)
        with torch.autocast(scores.device.type, enabled=False):
            belief = scores.float().log_softmax(-1).flatten(0, 1)
            owners, names, boxes = self._targets(batch)
            held = (owners != _NOTHING).nonzero().squeeze(1)
            rows = owners[held]
            said = -(names[rows] * belief[held, 1:]).sum() - belief[owners == _NOTHING, 0].sum()
            error = (edges.float().flatten(0, 1)[held] - boxes[rows]).abs().mean(-1).sum()
            return said + error * self._grid

    def flops(self, model: Omni, batch: PairBatch) -> float:
        """Those of the eyes."""
        return media_flops(model, batch.media)

    def _boxes(self, batch: PairBatch) -> list[list[Box]]:
        """The boxes of each picture."""
        return [self._reader.boxes(row[row != PADDING].tolist()) for row in batch.texts.cpu()]

    def _targets(self, batch: GroundedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """(n * places,) the box of each place or -1, (boxes, w) the shares of each name's words, (boxes, 4) edges."""
        shown = self._boxes(batch)
        owners = np.full((len(shown), self._grid**2), _NOTHING, dtype=np.int64)
        every: list[Box] = []
        for row, boxes in enumerate(shown):
            for box in sorted(boxes, key=lambda each: -each.area):
                owners[row, self._held(box)] = len(every)
                every.append(box)
        column = {token: index for index, token in enumerate(batch.words.tolist())}
        names = np.zeros((len(every), len(column)), dtype=np.float32)
        for index, box in enumerate(every):
            for token in box.name:
                names[index, column[token]] += 1 / len(box.name)
        edges = np.array([box.edges for box in every], dtype=np.float32).reshape(-1, 4)
        device = batch.keys.device
        return (
            torch.from_numpy(owners.reshape(-1)).to(device),
            torch.from_numpy(names).to(device),
            torch.from_numpy(edges).to(device),
        )

    def _held(self, box: Box) -> np.ndarray:
        """The places, row by row, whose middles a box holds, or the one nearest to its own middle."""
        middles = (np.arange(self._grid) + 0.5) / self._grid
        x0, y0, x1, y1 = box.edges
        columns = np.flatnonzero((middles >= x0) & (middles <= x1))
        lines = np.flatnonzero((middles >= y0) & (middles <= y1))
        if not len(columns):
            columns = np.array([np.abs(middles - (x0 + x1) / 2).argmin()])
        if not len(lines):
            lines = np.array([np.abs(middles - (y0 + y1) / 2).argmin()])
        places: np.ndarray = (lines[:, None] * self._grid + columns).reshape(-1)
        return places
