"""The painter: a picture in one pass from what a prompt says and shows, beside the decoder's picture code by code."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import PainterConfig
from sensorium.nn.init import draw_weights

_GROUP = 8  # channels that are normalised together
_FIRST_CONTRAST = 0.2  # of the fresh weights nearest to the pixels: where tanh is steep


class Painter(nn.Module):
    """A vector of the decoder's width and noise → pixels within -1..1.

    A linear map lays a small grid; residual blocks double it, and the vector and noise speak in every norm, as in
    BigGAN (Brock et al. 2018, arXiv:1809.11096) and, by way of a style, StyleGAN (Karras et al. 2018,
    arXiv:1812.04948). The last doubling is a shuffle of channels (Shi et al. 2016, arXiv:1609.05158).

    Args:
        config: its settings.
        dim: the decoder's width.
    """

    def __init__(self, config: PainterConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        first, *others = config.dims
        rows, columns = config.grid
        self.style = nn.Sequential(
            nn.Linear(dim + config.noise_dim, 2 * config.style_dim),
            nn.SiLU(),
            nn.Linear(2 * config.style_dim, config.style_dim),
        )
        self.ground = nn.Linear(config.style_dim, first * rows * columns)
        self.blocks = nn.ModuleList(
            UpBlock(before, after, config.style_dim) for before, after in zip(config.dims, others, strict=False)
        )
        self.last_norm = StyledNorm(config.dims[-1], config.style_dim)
        self.last = nn.Conv2d(config.dims[-1], 3 * 4, 3, padding=1)

    @property
    def last_weight(self) -> Tensor:
        """The weights nearest to the pixels, by which losses are set against each other."""
        return self.last.weight

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        draw_weights(self, generator)
        self.last.weight.mul_(_FIRST_CONTRAST)

    def forward(self, fused: Tensor, noise: Tensor) -> Tensor:
        """(n, dim) and (n, noise_dim) → (n, 3, height, width)."""
        # The decoder's final norm has a gain of its own: here every vector is as long, and as loud as the noise.
        vector = F.rms_norm(fused, fused.shape[-1:], eps=1e-6)
        style = F.silu(self.style(torch.cat((vector, noise), 1)))  # (n, style_dim)
        x = self.ground(style).view(len(fused), -1, *self.config.grid)
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, style)
        painted: Tensor = F.pixel_shuffle(self.last(F.silu(self.last_norm(x, style))), 2).tanh()
        return painted

    def flops(self) -> float:
        """Floating-point operations of a forward and backward pass for one picture: six per weight and place."""
        rows, columns = self.config.grid
        places = rows * columns
        total = 6.0 * sum(weight.numel() for part in (self.style, self.ground) for weight in part.parameters())
        for block in self.blocks:
            assert isinstance(block, UpBlock)
            total += 6.0 * places * (block.first.weight.numel() + block.shortcut.weight.numel())
            places *= 4
            total += 6.0 * places * block.second.weight.numel()
        return total + 6.0 * places * self.last.weight.numel()

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Random numbers for `n` pictures, (n, noise_dim), on the CPU: the same for the same seed on every device."""
        return torch.randn(n, self.config.noise_dim, generator=generator)


class StyledNorm(nn.Module):
    """A group norm that a style scales and shifts (AdaIN, Huang & Belongie 2017, arXiv:1703.06868)."""

    def __init__(self, dim: int, style_dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1 if dim % _GROUP else dim // _GROUP, dim, affine=False)
        self.affine = nn.Linear(style_dim, 2 * dim)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(n, dim, height, width) and (n, style_dim) → as the first."""
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, 1)
        styled: Tensor = self.norm(x) * (1 + scale) + shift
        return styled


class UpBlock(nn.Module):
    """Twice the size: two 3×3 convolutions, each behind a norm, added to a plain enlargement."""

    def __init__(self, before: int, after: int, style_dim: int) -> None:
        super().__init__()
        self.first_norm = StyledNorm(before, style_dim)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second_norm = StyledNorm(after, style_dim)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(n, before, height, width) and (n, style_dim) → (n, after, 2 · height, 2 · width)."""
        inner = self.first(F.silu(self.first_norm(x, style)))  # before it is enlarged, at a quarter of the work
        inner = F.interpolate(F.silu(self.second_norm(inner, style)), scale_factor=2.0, mode="nearest")
        enlarged: Tensor = F.interpolate(self.shortcut(x), scale_factor=2.0, mode="nearest") + self.second(inner)
        return enlarged
