"""What a batch shows and says, as vectors of the decoder's width, and the place each of them belongs to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.config import ModelConfig, SpeechConfig, VisionConfig
from sensorium.errors import RequestError
from sensorium.nn.media import Media


@dataclass(frozen=True)
class Features:
    """Vectors of pictures and recordings, in any order; where they belong is known to the CPU (see `Media`).

    Attributes:
        values: (n, dim), on the model's device.
        rows: (n,) row of the batch.
        at: (n,) place in the row. In cross fusion all vectors of a picture or recording share its one place.
        heard: (n,) boolean: of a recording, else of a picture.
    """

    values: Tensor
    rows: Tensor
    at: Tensor
    heard: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, start: int, stop: int) -> Features:
        """Those at the places `start` to `stop` of every row, with places counted from `start`."""
        inside = (self.at >= start) & (self.at < stop)
        return Features(self.values[inside], self.rows[inside], self.at[inside] - start, self.heard[inside])

    def of(self, *, heard: bool) -> Features:
        """Those of recordings only, or of pictures only."""
        chosen = self.heard == heard
        return Features(self.values[chosen], self.rows[chosen], self.at[chosen], self.heard[chosen])


def joined(parts: Sequence[Features]) -> Features:
    """Several sets of features as one."""
    first, *more = parts
    if not more:
        return first
    return Features(*(torch.cat([getattr(part, name) for part in parts]) for name in ("values", "rows", "at", "heard")))


def placed(values: Tensor, counts: Sequence[int], places: Tensor, *, heard: bool) -> Features:
    """The vectors of pictures or recordings, each at its place.

    Args:
        values: (n, most, dim), of which the first `counts[i]` of the `i`-th belong to the sequence.
        counts: vectors of each.
        places: (n, 3), checked: as many places as vectors, or one place for all of them.
        heard: whether they are recordings.
    """
    repeats = torch.tensor(counts, dtype=torch.int64)
    index = _counted(repeats)  # of each vector within its picture or recording
    owner = torch.repeat_interleave(torch.arange(len(counts)), repeats)
    rows, starts, lengths = places[owner].unbind(1)
    at = starts + torch.where(lengths == repeats[owner], index, 0)
    chosen = (owner * values.shape[1] + index).to(values.device)
    return Features(values.flatten(0, 1)[chosen], rows, at, torch.full((len(owner),), heard))


def _counted(repeats: Tensor) -> Tensor:
    """0, 1, 2, … for each count, one after the other."""
    ends = repeats.cumsum(0)
    return torch.arange(int(repeats.sum())) - torch.repeat_interleave(ends - repeats, repeats)


def check_media(media: Media, config: ModelConfig, *, rows: int, time: int) -> None:
    """Every feature has its position and every position its feature, before anything is computed.

    Args:
        media: what the batch shows and says.
        config: the model's.
        rows: sequences in the batch.
        time: tokens in a sequence.

    Raises:
        RequestError: the model has no eyes or ears, the numbers of pictures, recordings, features and placeholders
            differ, or placeholders lie outside the batch or upon each other.
    """
    n_images = 0 if media.images is None else len(media.images)
    n_audio = 0 if media.audio is None else len(media.audio)
    if (n_images or len(media.image_places)) and not shows(config.vision):
        raise RequestError("this model cannot see: it has no eyes that show pictures to its decoder")
    if (n_audio or len(media.audio_places)) and not shows(config.speech):
        raise RequestError("this model cannot hear: it has no ears that show recordings to its decoder")
    _check_numbers("picture", n_images, len(media.image_places))
    _check_numbers("recording", n_audio, len(media.audio_places))
    _check_numbers("recording", n_audio, len(media.audio_frames), "lengths in frames")
    seen, heard = media.image_places.tolist(), media.audio_places.tolist()
    _check_lengths("picture", seen, (config.image_places() for _ in seen))
    _check_lengths("recording", heard, (config.audio_places(frames) for frames in media.audio_frames.tolist()))
    _check_inside([*seen, *heard], rows, time)


def check_remembered(features: Features | None, kinds: Collection[bool]) -> None:
    """Raise `RequestError` unless a cache remembers features of the kinds (`heard` or not) that are to be read."""
    if features is not None and not set(features.heard.tolist()) <= set(kinds):
        raise RequestError(
            "the cache was made for a prompt without such pictures or recordings, and would forget them "
            "(give new_cache the features of the whole prompt)"
        )


def shows(part: VisionConfig | SpeechConfig | None) -> bool:
    """Whether a model has these eyes or ears, and they show its decoder what they take in."""
    return part is not None and part.projector is not None


def _check_numbers(what: str, given: int, placed: int, of: str = "places") -> None:
    if given != placed:
        raise RequestError(
            f"{given} {what}{'s' * (given != 1)} for {placed} {of}: each {what} stands in one place (one of each)"
        )


def _check_lengths(what: str, places: Sequence[list[int]], expected: Iterable[int]) -> None:
    for index, ((_, _, length), features) in enumerate(zip(places, expected, strict=True)):
        if length != features:
            raise RequestError(
                f"{what} {index} has {features} features for {length} placeholders "
                "(the sequence must be made with the model's own settings)"
            )


def _check_inside(places: Sequence[list[int]], rows: int, time: int) -> None:
    end_of: dict[int, int] = {}
    for row, start, length in sorted(places):
        if not (0 <= row < rows and start >= 0 and start + length <= time):
            raise RequestError(
                f"{length} placeholders from position {start} of row {row} lie outside a batch of {rows} rows of "
                f"{time} tokens (a sequence must never be cut inside a picture or recording)"
            )
        if start < end_of.get(row, 0):
            raise RequestError(f"two features would take position {start} of row {row}: placeholders overlap")
        end_of[row] = start + length
