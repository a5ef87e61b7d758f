"""Janus's image codec: a picture as a grid of codes of one learned codebook, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.codecs.blocks import draw
from sensorium.config import JanusVQConfig
from sensorium.errors import RequestError

_GROUPS, _EPS = 32, 1e-6  # of every norm


class JanusVQ(nn.Module):
    """The VQ model of Janus and LlamaGen (Sun et al. 2024, arXiv:2406.06525), as transformers computes it.

    A code is that of the nearest vector of the codebook, and stands for that vector at length 1. Pixels lie within
    -1..1.
    """

    def __init__(self, config: JanusVQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        self.to_code = nn.Conv2d(config.latent_dim, config.code_dim, 1)
        self.codebook = nn.Embedding(config.entries, config.code_dim)
        self.from_code = nn.Conv2d(config.code_dim, config.latent_dim, 1)
        self.decoder = _Decoder(config)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        draw(self, generator)
        nn.init.normal_(self.codebook.weight, generator=generator)

    def encode(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width) → codes (n, rows, columns) int64.

        Raises:
            RequestError: pixels of another form, or a size that the codes' squares do not divide.
        """
        side = self.config.downsampling
        if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.numel() or any(n % side for n in pixels.shape[2:]):
            raise RequestError(
                f"pixels of shape {list(pixels.shape)} do not fit this codec, which takes (n, 3, height, width) in "
                f"multiples of {side}"
            )
        vectors = self.to_code(self.encoder(pixels)).permute(0, 2, 3, 1)  # (n, rows, columns, code_dim)
        table = self.codebook.weight
        distances: Tensor = vectors.square().sum(-1, keepdim=True) + table.square().sum(-1) - 2 * vectors @ table.T
        return distances.argmin(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, rows, columns) → pixels (n, 3, height, width) within -1..1.

        Raises:
            RequestError: a code outside the codebook, or codes that are no grid.
        """
        if codes.ndim != 3 or not codes.numel():
            raise RequestError(f"codes of shape {list(codes.shape)} are no pictures, which are (n, rows, columns)")
        wrong = codes[(codes < 0) | (codes >= self.config.entries)]
        if len(wrong):
            raise RequestError(f"code {int(wrong[0])} is outside the codebook of 0..{self.config.entries - 1}")
        values = F.normalize(self.codebook(codes), dim=-1).permute(0, 3, 1, 2)
        drawn: Tensor = self.decoder(self.from_code(values))
        return drawn.clamp(-1, 1)


class _Encoder(nn.Module):
    def __init__(self, config: JanusVQConfig) -> None:
        super().__init__()
        widths = [config.dim * multiplier for multiplier in config.multipliers]
        self.stem = nn.Conv2d(3, config.dim, 3, padding=1)
        self.levels = nn.ModuleList()
        before = config.dim
        for place, width in enumerate(widths):
            last = place == len(widths) - 1
            resize = None if last else _Halved(width)
            self.levels.append(_Level(before, width, config.depth, resize, attention=last))
            before = width
        self.middle = _Middle(before)
        self.norm = nn.GroupNorm(_GROUPS, before, _EPS)
        self.out = nn.Conv2d(before, config.latent_dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, height, width) → (n, latent_dim, rows, columns)."""
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
        out: Tensor = self.out(F.silu(self.norm(self.middle(x))))
        return out


class _Decoder(nn.Module):
    def __init__(self, config: JanusVQConfig) -> None:
        super().__init__()
        widths = [config.dim * multiplier for multiplier in reversed(config.multipliers)]
        before = widths[0]
        self.stem = nn.Conv2d(config.latent_dim, before, 3, padding=1)
        self.middle = _Middle(before)
        self.levels = nn.ModuleList()
        for place, width in enumerate(widths):
            resize = None if place == len(widths) - 1 else _Doubled(width)
            self.levels.append(_Level(before, width, config.depth + 1, resize, attention=place == 0))
            before = width
        self.norm = nn.GroupNorm(_GROUPS, before, _EPS)
        self.out = nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, latent_dim, rows, columns) → (n, 3, height, width)."""
        x = self.middle(self.stem(x))
        for level in self.levels:
            x = level(x)
        out: Tensor = self.out(F.silu(self.norm(x)))
        return out


class _Halved(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class _Doubled(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class _Level(nn.Module):
    """Blocks at one size of the picture, at the smallest each with attention behind it; and the way to the next."""

    def __init__(self, before: int, dim: int, depth: int, resize: nn.Module | None, *, attention: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(dim if place else before, dim) for place in range(depth))
        self.attention = nn.ModuleList(_Attention(dim) for _ in range(depth)) if attention else None
        self.resize = resize

    def forward(self, x: Tensor) -> Tensor:
        for place, block in enumerate(self.blocks):
            x = block(x)
            if self.attention is not None:
                x = self.attention[place](x)
        return x if self.resize is None else self.resize(x)


class _Middle(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = _Block(dim, dim)
        self.attention = _Attention(dim)
        self.last = _Block(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.attention(self.first(x)))
        return out


class _Block(nn.Module):
    """Two 3×3 convolutions, each behind a norm, added to what came in."""

    def __init__(self, before: int, dim: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(_GROUPS, before, _EPS)
        self.first = nn.Conv2d(before, dim, 3, padding=1)
        self.last_norm = nn.GroupNorm(_GROUPS, dim, _EPS)
        self.last = nn.Conv2d(dim, dim, 3, padding=1)
        self.shortcut = nn.Conv2d(before, dim, 1) if before != dim else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.last(F.silu(self.last_norm(self.first(F.silu(self.first_norm(x))))))
        added: Tensor = inner + (x if self.shortcut is None else self.shortcut(x))
        return added


class _Attention(nn.Module):
    """Every place looks at every other, with one head, added to what came in."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, dim, _EPS)
        self.q, self.k, self.v, self.o = (nn.Conv2d(dim, dim, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(x)
        q, k, v = (part(inner).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(q, k, v)[:, 0]  # (n, rows * columns, dim)
        added: Tensor = x + self.o(seen.transpose(1, 2).reshape(x.shape))
        return added
