"""Pictures cut into squares: the whole of an encoder for early fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.config import PatchesConfig
from sensorium.errors import RequestError


def check_pixels(pixels: Tensor, size: int) -> None:
    """Raise `RequestError` unless the pictures are (n, 3, size, size)."""
    if pixels.ndim != 4 or pixels.shape[1:] != (3, size, size):
        raise RequestError(
            f"pictures of shape {list(pixels.shape)} do not fit this encoder, which reads (n, 3, {size}, {size}) "
            "(prepare them by the model's own image settings)"
        )


def cut_patches(pixels: Tensor, patch: int) -> Tensor:
    """(n, 3, height, width) → (n, patches row by row, 3 * patch²), each patch a channel after the other."""
    n, channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    squares = pixels.reshape(n, channels, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(n, rows * columns, channels * patch**2)


class Patches(nn.Module):
    """No encoder at all: each patch's raw pixels are a feature (Fuyu)."""

    def __init__(self, config: PatchesConfig) -> None:
        super().__init__()
        self.config = config

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Nothing to draw: there are no weights."""

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width) → (n, patches, 3 * patch²). Raises `RequestError` for pictures of another size."""
        check_pixels(pixels, self.config.image_size)
        return cut_patches(pixels, self.config.patch_size)

    def pooled(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width) → (n, 3 * patch²), the mean patch."""
        mean: Tensor = self(pixels).mean(1)
        return mean
