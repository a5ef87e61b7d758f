"""Settings of the painter: what turns all that a prompt says and shows into a picture at once."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sensorium.config.base import Config, Size
from sensorium.config.media import Side


class PainterConfig(Config):
    """A conditional GAN's generator (Goodfellow et al. 2014, arXiv:1406.2661): a vector and noise become a picture.

    `size` is (height, width) of the pictures. Each of `dims` is the width at one size, the first at the coarsest; each
    doubles the picture, so that painting begins on a grid `2 ** len(dims)` times smaller. The vector and `noise_dim`
    random numbers become a style of `style_dim`, by which every norm scales and shifts.
    """

    kind: Literal["gan"] = "gan"
    size: tuple[Side, Side] = (64, 64)
    dims: Annotated[tuple[Size, ...], Field(min_length=1, max_length=8)] = (96, 96, 64, 32)
    style_dim: Size = 64
    noise_dim: Size = 32

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(side % self.upsampling for side in self.size):
            raise ValueError(f"size {self.size} does not divide by {self.upsampling}, which {len(self.dims)} dims make")
        return self

    @property
    def upsampling(self) -> int:
        """How many times larger the picture is than the grid that painting begins on."""
        return 1 << len(self.dims)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns that painting begins on."""
        return self.size[0] // self.upsampling, self.size[1] // self.upsampling
