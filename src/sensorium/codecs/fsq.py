"""Finite scalar quantisation (FSQ, Mentzer et al. 2023, arXiv:2309.15505): a code is a few rounded numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sensorium.errors import RequestError

_SLOPE = 1.5  # of random features: values 0.7 apart are nearly strangers
_EDGE = 1e-3  # keeps the outermost steps within reach of tanh


class FSQ(nn.Module):
    """Rounds vectors to a fixed grid; nothing is learned, and no code can die for want of a codebook."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.codebook_size = math.prod(levels)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise, with gradients passed straight through the rounding.

        Args:
            z: (..., len(levels)), any numbers.

        Returns:
            Values (..., len(levels)) within -1..1, and codes (...) int64.
        """
        bounded = self._bounded(z.float())  # half precision cannot tell the outermost steps apart
        steps = bounded + (bounded.round() - bounded).detach()
        half = self._tensor([level // 2 for level in self.levels], bounded)
        return steps / half, self._codes(steps.detach() + half)

    def values(self, codes: Tensor) -> Tensor:
        """Codes (...) → values (..., len(levels)) within -1..1.

        Raises:
            RequestError: a code outside the codebook.
        """
        wrong = codes[(codes < 0) | (codes >= self.codebook_size)]
        if len(wrong):
            raise RequestError(f"code {int(wrong[0])} is outside the codebook of 0..{self.codebook_size - 1}")
        digits = []
        for level in self.levels:
            digits.append((codes % level).float() / (level // 2) - 1)
            codes = codes // level
        return torch.stack(digits, -1)

    def embedding(self, dim: int, generator: torch.Generator | None = None) -> Tensor:
        """Vectors of the codes, (codebook_size, dim) of unit spread, alike where their values are.

        Random Fourier features (Rahimi & Recht 2007) of the values: a decoder that begins with these need not find out
        which of the codes are neighbours.
        """
        values = self.values(torch.arange(self.codebook_size))
        slopes = torch.randn(len(self.levels), dim, generator=generator) * _SLOPE
        turns = torch.rand(dim, generator=generator) * 2 * math.pi
        return (values @ slopes + turns).cos() * 2**0.5

    def _bounded(self, z: Tensor) -> Tensor:
        """Numbers between the outermost steps of each level: symmetric for odd levels, one step lower for even ones."""
        half = self._tensor([(level - 1) * (1 + _EDGE) / 2 for level in self.levels], z)
        offset = self._tensor([0.0 if level % 2 else 0.5 for level in self.levels], z)
        return (z + (offset / half).atanh()).tanh() * half - offset

    def _codes(self, digits: Tensor) -> Tensor:
        """(..., len(levels)) steps counted from 0 → (...), the first level's digit the least."""
        sizes = [math.prod(self.levels[:place]) for place in range(len(self.levels))]
        return (digits.round().long() * torch.tensor(sizes, device=digits.device)).sum(-1)

    def _tensor(self, values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)
