"""Where a token stands: rotary (Su et al. 2021), sinusoidal (Vaswani et al. 2017), and rotary scaling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.config import RopeScaling, TransformerConfig


@dataclass(frozen=True, slots=True)
class Rotation:
    """Cosines and sines of the positions at hand, each (batch, 1, time, head size), to turn queries and keys by."""

    cos: Tensor
    sin: Tensor


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair of channels `(i, i + half)` of (batch, heads, time, head size) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return x * rotation.cos + torch.cat((-second, first), dim=-1) * rotation.sin


class _Frequencies(nn.Module):
    """A float32 buffer of angles per position: never stored, and drawn up anew by `reset_buffers`."""

    frequencies: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.reset_buffers()

    def reset_buffers(self, device: torch.device | None = None) -> None:
        """Compute the buffer on `device`; a model that was built without memory (on `meta`) needs it once."""
        self.register_buffer("frequencies", self._compute().to(device), persistent=False)

    def _compute(self) -> Tensor:
        raise NotImplementedError

    def _angles(self, positions: Tensor) -> Tensor:
        return positions.unsqueeze(-1).float() * self.frequencies  # (batch, time, channels / 2)


class RotaryPositions(_Frequencies):
    """Rotations of any positions, computed in float32: a table of all positions would outweigh a small model."""

    magnitude: float

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Rotation:
        """(batch, time) positions → their rotation."""
        angles = self._angles(positions)
        angles = torch.cat((angles, angles), dim=-1)[:, None]  # (batch, 1, time, head size)
        return Rotation((angles.cos() * self.magnitude).to(dtype), (angles.sin() * self.magnitude).to(dtype))

    def _compute(self) -> Tensor:
        frequencies, self.magnitude = rope_frequencies(self.config)
        return frequencies


class SinusoidalPositions(_Frequencies):
    """The 2017 positions: sines on even channels, cosines on odd ones."""

    def forward(self, positions: Tensor) -> Tensor:
        """(batch, time) positions → (batch, time, dim)."""
        angles = self._angles(positions)
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)

    def _compute(self) -> Tensor:
        channels = torch.arange(0, self.config.dim, 2, dtype=torch.float32, device="cpu")
        return torch.exp(channels * (-math.log(10_000.0) / self.config.dim))


def rope_frequencies(config: TransformerConfig) -> tuple[Tensor, float]:
    """Angle per position of each channel pair, (head size / 2,), and what to multiply cosine and sine by."""
    exponents = torch.arange(0, config.head_size, 2, dtype=torch.float32, device="cpu") / config.head_size
    frequencies = 1.0 / (config.rope_theta**exponents)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies, 1.0
    if scaling.kind == "linear":
        return frequencies / scaling.factor, 1.0
    if scaling.kind == "llama3":
        return _llama3(frequencies, scaling), 1.0
    return _yarn(frequencies, scaling, config), _yarn_magnitude(scaling)


def _llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1's rule: slow waves are stretched by `factor`, fast ones kept, those between blended."""
    assert scaling.original_positions is not None
    wavelengths = 2 * math.pi / frequencies
    turns = scaling.original_positions / wavelengths
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = blend.clamp(0.0, 1.0)
    return (1 - blend) * frequencies / scaling.factor + blend * frequencies


def _yarn(frequencies: Tensor, scaling: RopeScaling, config: TransformerConfig) -> Tensor:
    """YaRN's interpolation by parts (section 3.2): a ramp over channels between `beta_fast` and `beta_slow` turns."""
    assert scaling.original_positions is not None
    size, base, original = config.head_size, config.rope_theta, scaling.original_positions

    def channel_that_turns(times: float) -> float:
        return size * math.log(original / (times * 2 * math.pi)) / (2 * math.log(base))

    low, high = channel_that_turns(scaling.beta_fast), channel_that_turns(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001  # a ramp of no width would divide by zero
    channels = torch.arange(size // 2, dtype=torch.float32, device="cpu")
    stretched = ((channels - low) / (high - low)).clamp(0.0, 1.0)
    return frequencies * (1 - stretched) + frequencies / scaling.factor * stretched


def _yarn_magnitude(scaling: RopeScaling) -> float:
    """YaRN's attention temperature, applied through cosine and sine."""

    def of(mscale: float) -> float:
        return 1.0 if scaling.factor <= 1 else 0.1 * mscale * math.log(scaling.factor) + 1.0

    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return of(scaling.mscale) / of(scaling.mscale_all_dim)
    return of(1.0)
