"""What codecs are built of, and how their fresh weights are drawn."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def draw(part: nn.Module, generator: torch.Generator | None) -> None:
    """Draw convolutions and linear maps by fan-in, the last of each residual block zero; norms and biases neutral."""
    for module in part.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=fan_in**-0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm) and module.weight is not None:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in part.modules():
        if isinstance(module, ResidualBlock | ConvNeXt):
            nn.init.zeros_(module.last.weight)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions through half the width, each behind a norm, added to what came in."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = max(dim // 2, 8)
        self.first_norm = nn.GroupNorm(8, dim)
        self.first = nn.Conv2d(dim, inner, 3, padding=1)
        self.last_norm = nn.GroupNorm(min(8, inner), inner)
        self.last = nn.Conv2d(inner, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim, height, width) → the same."""
        inner = self.first(F.silu(self.first_norm(x)))
        added: Tensor = x + self.last(F.silu(self.last_norm(inner)))
        return added


class ConvNeXt(nn.Module):
    """A depthwise convolution over time, then an MLP at each place (Liu et al. 2022, arXiv:2201.03545).

    With `condition` numbers of somebody's voice, those scale and shift what the norm gives.
    """

    def __init__(self, dim: int, kernel: int, condition: int = 0) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.voice = nn.Linear(condition, 2 * dim) if condition else None
        self.first = nn.Linear(dim, 2 * dim)
        self.last = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, voice: Tensor | None = None) -> Tensor:
        """(n, time, dim), and (n, condition) → (n, time, dim)."""
        inner = self.norm(self.depthwise(x.transpose(1, 2)).transpose(1, 2))
        if self.voice is not None and voice is not None:
            scale, shift = self.voice(voice)[:, None].chunk(2, -1)
            inner = inner * (1 + scale) + shift
        added: Tensor = x + self.last(F.gelu(self.first(inner)))
        return added
