"""From an encoder's features to vectors of the decoder's width, and to as many as the decoder is shown."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import ProjectorConfig
from sensorium.errors import ConfigError, RequestError
from sensorium.nn.cross_attention import CrossAttention
from sensorium.nn.init import draw_weights, wave_table
from sensorium.nn.linear import apply_linear
from sensorium.nn.mlp import ACTIVATIONS
from sensorium.nn.speech import real_places


class TwoLayers(nn.Module):
    """LLaVA's projector: a linear map, an activation, a linear map."""

    def __init__(self, config: ProjectorConfig, in_dim: int, out_dim: int) -> None:
        super().__init__()
        hidden_dim = config.hidden_dim or out_dim
        self.up = nn.Linear(in_dim, hidden_dim, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.down = nn.Linear(hidden_dim, out_dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) → (..., out)."""
        return apply_linear(self.down, self.activation(apply_linear(self.up, x)))


class Resampler(nn.Module):
    """Learned queries that attend to the features, then an MLP (Perceiver, Jaegle et al. 2021, arXiv:2103.03206)."""

    def __init__(self, config: ProjectorConfig, in_dim: int, out_dim: int) -> None:
        super().__init__()
        if out_dim % config.n_heads:
            raise ConfigError(f"resampler: n_heads {config.n_heads} does not divide the decoder's width of {out_dim}")
        self.queries = nn.Embedding(config.n_queries, out_dim)
        self.input = nn.Linear(in_dim, out_dim, bias=config.bias)
        self.query_norm = nn.LayerNorm(out_dim)
        self.context_norm = nn.LayerNorm(out_dim)
        self.attention = CrossAttention(out_dim, config.n_heads)
        self.mlp_norm = nn.LayerNorm(out_dim)
        self.mlp = TwoLayers(config, out_dim, out_dim)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """(n, places, in), of which those `real` (n, places) count → (n, queries, out)."""
        context = self.context_norm(apply_linear(self.input, x))
        queries = self.queries.weight.expand(x.shape[0], -1, -1)
        queries = queries + self.attention(self.query_norm(queries), context, real)
        resampled: Tensor = queries + self.mlp(self.mlp_norm(queries))
        return resampled


class Projector(nn.Module):
    """Norm, reduction, map, positions and norm, each where the settings ask for it."""

    def __init__(
        self, config: ProjectorConfig, in_dim: int, out_dim: int, *, grid: int | None, max_places: int
    ) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        self.norm = nn.LayerNorm(in_dim) if config.norm else None
        joined = in_dim * config.factor ** (1 if grid is None else 2)
        self.map: nn.Module
        if config.kind == "resampler":
            self.map = Resampler(config, in_dim, out_dim)
        elif config.kind == "mlp":
            self.map = TwoLayers(config, in_dim, out_dim)
        else:
            self.map = nn.Linear(joined, out_dim, bias=config.bias)
        self.position = nn.Embedding(max_places, out_dim) if config.positions else None
        self.output_norm = nn.LayerNorm(out_dim) if config.output_norm else None

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights; positions start as sines and cosines, queries apart from each other."""
        draw_weights(self, generator)
        if self.position is not None:
            places = self.position.num_embeddings
            side = round(places**0.5)
            on_square = self.grid is not None and self.config.kind != "resampler" and side**2 == places
            self.position.weight.copy_(
                wave_table(places, self.position.embedding_dim, grid=side if on_square else None)
            )
        if isinstance(self.map, Resampler):
            nn.init.normal_(self.map.queries.weight, generator=generator)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Project features.

        Args:
            x: (n, features, in).
            lengths: (n,) real features of each; None for all. What lies beyond never influences the result.

        Returns:
            (n, places, out), and (n,) how many places are real.

        Raises:
            RequestError: more places than there are learned positions for.
        """
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[1], dtype=torch.int64, device=x.device)
            real = None
        else:
            real = real_places(lengths, x.shape[1])
        if self.norm is not None:
            x = self.norm(x)
        if isinstance(self.map, Resampler):
            x = self.map(x, real)
            lengths = torch.full_like(lengths, x.shape[1])
        else:
            x, lengths = self._joined(x if real is None else x * real[..., None], lengths)
            x = self.map(x) if isinstance(self.map, TwoLayers) else apply_linear(self.map, x)
        if self.position is not None:
            if x.shape[1] > self.position.num_embeddings:
                raise RequestError(
                    f"{x.shape[1]} projected vectors exceed the {self.position.num_embeddings} that have a position"
                )
            x = x + self.position.weight[: x.shape[1]]
        return x if self.output_norm is None else self.output_norm(x), lengths

    def _joined(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbours in a square, or in time, one after the other in one vector."""
        factor = self.config.factor
        if factor == 1:
            return x, lengths
        n, features, dim = x.shape
        if self.grid is None:
            x = F.pad(x, (0, 0, 0, -features % factor))
            return x.reshape(n, -1, factor * dim), (lengths + factor - 1) // factor
        side = self.grid // factor
        squares = x.view(n, side, factor, side, factor, dim).transpose(2, 3)  # (n, side, side, factor, factor, dim)
        return squares.reshape(n, side**2, factor**2 * dim), lengths // factor**2


def make_projector(
    config: ProjectorConfig, in_dim: int, out_dim: int, *, grid: int | None, max_places: int
) -> Projector:
    """A projector from `in_dim` to `out_dim`.

    Args:
        config: its settings.
        in_dim: width of the encoder's features.
        out_dim: width of the decoder.
        grid: features along a side of a picture; None for a recording.
        max_places: the most vectors that come out, for learned positions.

    Raises:
        ConfigError: a resampler's heads do not divide the decoder's width.
    """
    return Projector(config, in_dim, out_dim, grid=grid, max_places=max_places)
