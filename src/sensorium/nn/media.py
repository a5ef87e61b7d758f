"""The pictures and recordings of a batch, and where in its sequences they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


def _no_places() -> Tensor:
    return torch.zeros((0, 3), dtype=torch.int64)


@dataclass(frozen=True)
class Media:
    """Pictures and recordings, each with the row, the first position and the number of its placeholders.

    Places and lengths are checked and counted before anything is computed: they stay on the CPU, wherever pictures and
    recordings are, so that no GPU is waited for.

    Attributes:
        images: (n_images, 3, height, width) float32, or None where there is no picture.
        image_places: (n_images, 3) int64: row of the batch, first placeholder, number of placeholders.
        audio: (n_audio, n_mels, frames) float32 log-mel, filled up with its lowest value where shorter, or None.
        audio_frames: (n_audio,) int64: real frames of each recording.
        audio_places: (n_audio, 3) int64, as `image_places`.
    """

    images: Tensor | None = None
    image_places: Tensor = field(default_factory=_no_places)
    audio: Tensor | None = None
    audio_frames: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    audio_places: Tensor = field(default_factory=_no_places)

    def __bool__(self) -> bool:
        return self.images is not None or self.audio is not None

    def to(self, device: torch.device | str) -> Media:
        """The same with pictures and recordings on a device."""
        return replace(
            self,
            images=None if self.images is None else self.images.to(device, non_blocking=True),
            audio=None if self.audio is None else self.audio.to(device, non_blocking=True),
        )

    def of_rows(self, rows: Sequence[int]) -> Media:
        """What stands in these rows of the batch, which are then counted from 0 in the order given."""
        new = {row: index for index, row in enumerate(rows)}

        def chosen(places: Tensor) -> tuple[Tensor, Tensor]:
            kept = [index for index, row in enumerate(places[:, 0].tolist()) if row in new]
            index = torch.tensor(kept, dtype=torch.int64)
            moved = places[index].clone()
            moved[:, 0] = torch.tensor([new[row] for row in moved[:, 0].tolist()], dtype=torch.int64)
            return index, moved

        seen, image_places = chosen(self.image_places)
        heard, audio_places = chosen(self.audio_places)
        return Media(
            self.images[seen] if self.images is not None and len(seen) else None,
            image_places,
            self.audio[heard] if self.audio is not None and len(heard) else None,
            self.audio_frames[heard],
            audio_places,
        )
