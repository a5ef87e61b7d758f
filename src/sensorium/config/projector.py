"""Settings of what leads from an encoder to the decoder."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from sensorium.config.base import Config, Positive, Size
from sensorium.config.transformer import Activation


class ProjectorConfig(Config):
    """From an encoder's features to the decoder's width.

    `linear`; `mlp` (LLaVA's two layers); `pixel_shuffle` joins `factor`×`factor` neighbours of a picture, or `factor`
    neighbours in time, then is linear (Idefics3); `resampler` lets `n_queries` learned vectors attend to the features
    (Perceiver). `positions` adds a learned vector per place of the result (for encoders that do not tell where),
    `norm` normalises the features first, and `output_norm` the result.
    """

    kind: Literal["linear", "mlp", "pixel_shuffle", "resampler"] = "mlp"
    factor: Positive = 1
    n_queries: Positive = 16
    n_heads: Positive = 4
    hidden_dim: Size | None = None  # of the mlp; the decoder's width by default
    activation: Activation = "gelu"
    bias: bool = True
    norm: bool = False
    positions: bool = False
    output_norm: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.factor > 1 and self.kind != "pixel_shuffle":
            raise ValueError(f"factor {self.factor} belongs to pixel_shuffle, not to {self.kind!r}")
        return self

    def n_image(self, n_features: int, grid: int) -> int:
        """Vectors that the decoder is shown of a picture of `n_features` on a `grid`×`grid` square."""
        if self.kind == "resampler":
            return self.n_queries
        return (grid // self.factor) ** 2 if self.factor > 1 else n_features

    def n_audio(self, n_features: int) -> int:
        """Vectors that the decoder is shown of a recording of `n_features`."""
        return self.n_queries if self.kind == "resampler" else -(-n_features // self.factor)
