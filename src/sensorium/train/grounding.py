"""Words in their places: each feature of a picture says what stands there, and draws the box around it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sensorium.data.pairs import PADDING, PairBatch, PairStream
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError, DataError
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.seal import LOCATION
from sensorium.train.pairs import media_flops
from sensorium.train.recipe import Stage

_EDGES = 4
_NOTHING = -1
_MOVING = ("flip", "flip_rows", "rotation")


@dataclass(frozen=True)
class GroundedBatch(PairBatch):
    """Pictures, and what each of their places is to say.

    Attributes:
        words: (w,) int64 token ids to choose from: all that the batch names, whoever works on which of its rows.
        owners: (rows, places) int64 number of the box in its row that a place belongs to, -1 for none.
        shares: (rows, boxes, w) float32 shares of the words in each name.
        edges: (rows, boxes, 4) float32 x0, y0, x1, y1 in 0..1.
    """

    words: Tensor
    owners: Tensor
    shares: Tensor
    edges: Tensor

    def to(self, device: torch.device | str) -> GroundedBatch:
        """The same batch on a device."""
        tensors = {name: getattr(self, name).to(device) for name in ("texts", "keys", "words", *_BY_ROW)}
        return replace(self, media=self.media.to(device), **tensors)

    def rows_of(self, rank: int, world: int) -> GroundedBatch:
        """The rows `rank::world`, with the words of all."""
        pairs = super().rows_of(rank, world)
        rows = {name: getattr(self, name)[rank::world] for name in _BY_ROW}
        return replace(self, media=pairs.media, texts=pairs.texts, keys=pairs.keys, **rows)


_BY_ROW = ("owners", "shares", "edges")


@dataclass(frozen=True, slots=True)
class NamedBox:
    """A box of a reply: the tokens of its name, and x0, y0, x1, y1 in 0..1 of the picture's width and height."""

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
            DataError: it names no box, or one without a name, with less or more than four edges, or inside out.
        """
        ids: list[int] = self._processor.encode_text(" " + reply).token_ids.tolist()
        spelled, known = len(LOCATION.findall(reply)), sum(token in self._bins for token in ids)
        if spelled != known:
            raise DataError(f"{reply!r} has {spelled} locations, of which the tokenizer knows {known}")
        if not self.boxes(ids):
            raise DataError(f"no box in {reply!r}: grounding needs a name with its four location tokens")
        return ids

    def boxes(self, ids: Iterable[int]) -> list[NamedBox]:
        """The boxes that tokens name. Raises `DataError` as `tokens`."""
        found: list[NamedBox] = []
        name: list[int] = []
        edges: list[float] = []
        for token in ids:
            if token in self._bins:
                edges.append((self._bins[token] + 0.5) / len(self._bins))
                continue
            if edges:
                found.append(_box(name, edges))
                name, edges = [], []
            if self._says_something(token):
                name.append(token)
        return [*found, _box(name, edges)] if edges else found

    def _says_something(self, token: int) -> bool:
        """Whether a token holds a letter or digit, or the bytes of a part of one, and not only blanks and marks."""
        if token not in self._says:
            text = self._processor.tokenizer.decode([token])
            self._says[token] = any(character.isalnum() or character == "\ufffd" for character in text)
        return self._says[token]


def _box(name: Many[int], edges: Many[float]) -> NamedBox:
    if len(edges) != _EDGES:
        raise DataError(f"a box has four location tokens side by side, and here are {len(edges)}")
    x0, y0, x1, y1 = edges
    if not name or x1 < x0 or y1 < y0:
        raise DataError(f"a box from ({x0:.2f}, {y0:.2f}) to ({x1:.2f}, {y1:.2f}) with a name of {len(name)} tokens")
    return NamedBox(tuple(name), (x0, y0, x1, y1))


class GroundingObjective:
    """Say at each place of a picture what stands there, in words of the decoder's vocabulary, and where it ends.

    A feature's place belongs to the smallest box that holds its middle, of equal ones to the later; a box that holds no
    middle has the place nearest to its own. So a box may own nothing, when smaller ones hold all of its places. A place
    shares its belief between the words of its box's name, out of all words named in the batch (Li et al. 2022, GLIP,
    arXiv:2112.03857), and tells how far it is to the four edges (Tian et al. 2019, FCOS, arXiv:1904.01355); every other
    place says that nothing is there. The loss sums the cross-entropy of the former and the mean error of the latter, in
    sides of a place.
    """

    gathers = False
    adversary = None

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
        """Pictures with the tokens that name their boxes.

        Raises:
            ConfigError: data whose pictures are flipped, turned or cropped, which would move what the boxes hold.
        """
        for spec in specs:
            moving = [name for name in _MOVING if getattr(spec.augment, name, 0.0)]
            moving += ["crop"] if getattr(spec.augment, "crop", 1.0) < 1.0 else []
            if moving:
                raise ConfigError(f"augment.{moving[0]} moves things out of their boxes: leave it out for grounding")
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
        """The batch with what each place is to say."""
        shown = [self._reader.boxes(row[row != PADDING].tolist()) for row in batch.texts]
        words = sorted({token for boxes in shown for box in boxes for token in box.name})
        column = {token: index for index, token in enumerate(words)}
        most = max(map(len, shown))
        owners = np.full((len(shown), self._grid**2), _NOTHING, dtype=np.int64)
        shares = np.zeros((len(shown), most, len(words)), dtype=np.float32)
        edges = np.zeros((len(shown), most, _EDGES), dtype=np.float32)
        for row, boxes in enumerate(shown):
            for number, box in enumerate(sorted(boxes, key=lambda each: -each.area)):
                owners[row, self._held(box)] = number
                edges[row, number] = box.edges
                for token in box.name:
                    shares[row, number, column[token]] += 1 / len(box.name)
        return GroundedBatch(
            batch.media,
            batch.texts,
            batch.keys,
            torch.tensor(words, dtype=torch.int64),
            torch.from_numpy(owners),
            torch.from_numpy(shares),
            torch.from_numpy(edges),
        )

    def conclude(self, model: Omni) -> None:
        """Nothing is left to do."""

    def count(self, batch: PairBatch) -> int:
        """Places that say what they are."""
        return len(batch.keys) * self._grid**2

    def n_bytes(self, batch: PairBatch) -> int:  # noqa: ARG002 (the protocol's)
        """None: a choice among words writes nothing."""
        return 0

    def loss(self, model: Omni, batch: GroundedBatch) -> Tensor:
        """Summed cross-entropy (nats) of all places and error (sides of a place) of those where something stands."""
        assert batch.media.images is not None
        scores, edges = model.ground(batch.media.images, batch.words)  # (rows, places, 1 + w), (rows, places, 4)
        log_probs = scores.log_softmax(-1)
        stands = batch.owners != _NOTHING  # (rows, places)
        row = torch.arange(len(batch.owners), device=stands.device)[:, None]
        box = batch.owners.clamp_min(0)
        named = (batch.shares[row, box] * log_probs[..., 1:]).sum(-1)
        cross_entropy = -torch.where(stands, named, log_probs[..., 0]).sum()
        error = (edges - batch.edges[row, box]).abs().mean(-1) * self._grid
        return cross_entropy + torch.where(stands, error, 0.0).sum()

    def flops(self, model: Omni, batch: PairBatch) -> float:
        """Those of the eyes."""
        return media_flops(model, batch.media)

    def _held(self, box: NamedBox) -> np.ndarray:
        """The places, row by row, whose middles a box holds, or the one nearest to its own middle."""
        middles = (np.arange(self._grid) + 0.5) / self._grid
        x0, y0, x1, y1 = box.edges
        columns = np.flatnonzero((middles >= x0) & (middles <= x1))
        lines = np.flatnonzero((middles >= y0) & (middles <= y1))
        if not len(columns) or not len(lines):
            columns = np.array([np.abs(middles - (x0 + x1) / 2).argmin()])
            lines = np.array([np.abs(middles - (y0 + y1) / 2).argmin()])
        places: np.ndarray = (lines[:, None] * self._grid + columns).reshape(-1)
        return places
