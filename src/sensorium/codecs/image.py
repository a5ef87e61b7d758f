"""The image codec: a picture as a grid of codes, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.codecs.blocks import ResidualBlock, draw
from sensorium.codecs.fsq import FSQ
from sensorium.config import ImageCodecConfig
from sensorium.errors import RequestError


class ImageCodec(nn.Module):
    """A convolutional autoencoder around FSQ. Pixels lie within -1..1."""

    def __init__(self, config: ImageCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.quantiser = FSQ(config.levels)
        down: list[nn.Module] = []
        before = 3
        for dim, depth in zip(config.dims, config.encoder_depths, strict=True):
            down += [nn.Conv2d(before, dim, 4, stride=2, padding=1), *(ResidualBlock(dim) for _ in range(depth))]
            before = dim
        self.encoder = nn.Sequential(*down)
        self.to_code = nn.Conv2d(before, len(config.levels), 1)
        self.from_code = nn.Conv2d(len(config.levels), before, 3, padding=1)
        up: list[nn.Module] = []
        after = [3, *config.dims[:-1]]
        for dim, depth, smaller in zip(config.dims[::-1], config.decoder_depths[::-1], after[::-1], strict=True):
            kernel = 3 if smaller == 3 else 1  # pixels are smoothed over the edges of their squares
            up += [
                *(ResidualBlock(dim) for _ in range(depth)),
                nn.Conv2d(dim, 4 * smaller, kernel, padding=kernel // 2),
            ]
            up.append(nn.PixelShuffle(2))
        self.decoder = nn.Sequential(*up)

    @property
    def last_weight(self) -> Tensor:
        """The weights nearest to the pixels, by which losses are set against each other."""
        last = self.decoder[-2]
        assert isinstance(last, nn.Conv2d)
        return last.weight

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        draw(self, generator)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (n, 3, height, width) → what their codes give back, not clipped, and codes (n, rows, columns)."""
        values, codes = self._quantised(pixels)
        return self._drawn(values), codes

    def encode(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width) → codes (n, rows, columns) int64.

        Raises:
            RequestError: pixels of another form, or a size that the codes' squares do not divide.
        """
        return self._quantised(pixels)[1]

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, rows, columns) → pixels (n, 3, height, width) within -1..1.

        Raises:
            RequestError: a code outside the codebook, or codes that are no grid.
        """
        if codes.ndim != 3 or not codes.numel():
            raise RequestError(f"codes of shape {list(codes.shape)} are no pictures, which are (n, rows, columns)")
        values = self.quantiser.values(codes).to(self.from_code.weight.dtype)
        return self._drawn(values.permute(0, 3, 1, 2)).clamp(-1, 1)

    def _quantised(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        side = self.config.downsampling
        if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.numel() or any(n % side for n in pixels.shape[2:]):
            raise RequestError(
                f"pixels of shape {list(pixels.shape)} do not fit this codec, which takes (n, 3, height, width) in "
                f"multiples of {side}"
            )
        x = self.encoder(pixels.contiguous(memory_format=torch.channels_last))
        values, codes = self.quantiser(self.to_code(x).permute(0, 2, 3, 1))
        return values.permute(0, 3, 1, 2), codes

    def _drawn(self, values: Tensor) -> Tensor:
        """Values (n, len(levels), rows, columns) → pixels."""
        x = self.from_code(values.contiguous(memory_format=torch.channels_last))
        drawn: Tensor = self.decoder(F.silu(x))
        return drawn
