"""Pictures and recordings of sequences, and of batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sensorium.errors import DataError
from sensorium.nn.media import Media

Kind: TypeAlias = Literal["image", "audio"]


@dataclass(frozen=True, slots=True)
class Feature:
    """A picture (or a tile of one) or a recording (or a window of one), and its placeholders in a sequence.

    Attributes:
        kind: what it is.
        start: position of the first placeholder.
        length: number of placeholders, one after the other.
        values: (3, height, width) float32 pixels, or (n_mels, frames) float32 log-mel.
        frames: how many of the frames are heard, where silence fills up the rest; None for all.
    """

    kind: Kind
    start: int
    length: int
    values: np.ndarray
    frames: int | None = None

    @property
    def end(self) -> int:
        """The position after the last placeholder."""
        return self.start + self.length

    def moved(self, places: int) -> Self:
        """The same, so many positions further on."""
        return replace(self, start=self.start + places) if places else self


def media_of(rows: Iterable[Sequence[Feature]]) -> Media:
    """The media of a batch: what stands in each of its rows, in order.

    Raises:
        DataError: pictures or recordings were prepared in different ways, so that they cannot be one batch.
    """
    images: list[tuple[int, Feature]] = []
    audio: list[tuple[int, Feature]] = []
    for row, features in enumerate(rows):
        for feature in features:
            (images if feature.kind == "image" else audio).append((row, feature))
    if not images and not audio:
        return Media()
    _check_alike("pictures", {feature.values.shape for _, feature in images})
    _check_alike("recordings", {feature.values.shape[:1] for _, feature in audio})
    frames = [feature.values.shape[1] if feature.frames is None else feature.frames for _, feature in audio]
    return Media(
        images=torch.from_numpy(np.stack([feature.values for _, feature in images])) if images else None,
        image_places=_places(images),
        audio=_filled([feature.values for _, feature in audio]) if audio else None,
        audio_frames=torch.tensor(frames, dtype=torch.int64),
        audio_places=_places(audio),
    )


def _check_alike(what: str, shapes: set[tuple[int, ...]]) -> None:
    if len(shapes) > 1:
        listed = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes)[:2])
        raise DataError(f"a batch holds {what} of {listed}: prepare all of them by one config")


def _places(found: Sequence[tuple[int, Feature]]) -> Tensor:
    places = [(row, feature.start, feature.length) for row, feature in found]
    return torch.tensor(places, dtype=torch.int64).reshape(-1, 3)


def _filled(recordings: Sequence[np.ndarray]) -> Tensor:
    """(n, n_mels, frames): shorter recordings are filled up with their lowest value."""
    n_mels, longest = recordings[0].shape[0], max(values.shape[1] for values in recordings)
    filled = np.empty((len(recordings), n_mels, longest), np.float32)
    for place, values in zip(filled, recordings, strict=True):
        heard = values.shape[1]
        place[:, :heard] = values
        if heard < longest:
            place[:, heard:] = values.min()
    return torch.from_numpy(filled)
