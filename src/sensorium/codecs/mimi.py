"""Mimi: speech as frames of a few codes each, which say what is spoken and by whom, and back."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.codecs.blocks import draw
from sensorium.config import MimiConfig
from sensorium.errors import RequestError

_FIRST_SCALE = 0.01  # of what a block of a transformer adds


@dataclass
class Past:
    """What a causal decoder remembers of the frames before, so that it can go on where it stopped.

    Attributes:
        kept: the last inputs of each layer, or keys and values.
        position: places that the transformer has read.
    """

    kept: dict[nn.Module, Tensor] = field(default_factory=dict)
    position: int = 0

    def joined(self, layer: nn.Module, x: Tensor, length: int) -> Tensor:
        """(..., time) behind what the layer was given before; the last `length` of it are kept for the next time."""
        before = self.kept.get(layer)
        if before is not None:
            x = torch.cat((before, x), -1)
        self.kept[layer] = x[..., max(0, x.shape[-1] - length) :].clone()
        return x


class Mimi(nn.Module):
    """The codec of Moshi (Défossez et al. 2024, arXiv:2410.00037).

    Nothing in its decoder looks ahead, so that speech decoded in pieces, with a `Past`, is what it is in one.
    """

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.ModuleList(_encoder_layers(config))
        self.encoder_context = Context(config)
        stride = config.frame_stride
        # What is before the first sample is silence, but what is before the first place is the first place.
        self.downsample = CausalConv(config.dim, config.dim, 2 * stride, stride=stride, bias=False, mode="replicate")
        self.semantic = ResidualQuantiser(config, config.n_semantic)
        n_acoustic = config.n_codebooks - config.n_semantic
        self.acoustic = ResidualQuantiser(config, n_acoustic) if n_acoustic else None
        self.upsample = CausalUpsample(config.dim, config.dim, stride, groups=config.upsample_groups, bias=False)
        self.decoder_context = Context(config)
        self.decoder = nn.ModuleList(_decoder_layers(config))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        draw(self, generator)
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose1d):
                fan_in = module.in_channels * 2 // module.groups
                nn.init.normal_(module.weight, std=fan_in**-0.5, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, ResidualQuantiser):
                for table in module.tables:
                    nn.init.normal_(table, generator=generator)
            elif isinstance(module, Block):
                nn.init.constant_(module.attention_scale, _FIRST_SCALE)
                nn.init.constant_(module.mlp_scale, _FIRST_SCALE)

    def encode(self, samples: Tensor) -> Tensor:
        """Samples (n, time) within -1..1 → codes (n, frames * n_codebooks) int64, frame by frame.

        Raises:
            RequestError: no samples, or not rows of them.
        """
        if samples.ndim != 2 or not samples.numel():
            raise RequestError(
                f"samples of shape {list(samples.shape)} are no recordings, which are (n, time), not empty"
            )
        x = self.encoder_context(_through(self.encoder, samples[:, None]))  # (n, dim, places)
        x = self.downsample(x)  # (n, dim, frames)
        parts = [part.encode(x) for part in (self.semantic, self.acoustic) if part is not None]
        codes = torch.cat(parts, -1)  # (n, frames, n_codebooks)
        return (codes + self._offsets(codes)).flatten(1)

    def decode(self, codes: Tensor, voice: Tensor | None = None, *, past: Past | None = None) -> Tensor:  # noqa: ARG002
        """Codes (n, n_codes) → samples (n, frames * samples_per_frame) within -1..1. A short last frame is left out.

        Args:
            codes: of each codebook in turn.
            voice: nobody's: the codes say who speaks.
            past: of the same stretch up to these codes, which it takes in; none for the beginning.

        Raises:
            RequestError: codes that are no rows, less than a frame, or a code whose codebook it is not the turn of.
        """
        size = self.config.n_codebooks
        if codes.ndim != 2 or not codes.numel():
            raise RequestError(f"codes of shape {list(codes.shape)} are no speech, which is (n, codes)")
        self._check_turns(codes)
        frames = codes.shape[1] // size
        if not frames:
            raise RequestError(f"{codes.shape[1]} codes are less than a frame, which has {size}")
        codes = codes[:, : frames * size].reshape(-1, frames, size)
        codes = codes - self._offsets(codes)
        x = self.semantic.decode(codes[..., : self.config.n_semantic])  # (n, dim, frames)
        if self.acoustic is not None:
            x = x + self.acoustic.decode(codes[..., self.config.n_semantic :])
        x = self.decoder_context(self.upsample(x, past), past)
        return _through(self.decoder, x, past)[:, 0].clamp(-1, 1)

    def voice_of(self, samples: Tensor) -> Tensor:
        """Nobody's voice of samples (n, time), (n, 0): as other codecs are asked, but here the codes say who speaks."""
        return samples[:, :0]

    def check_turn(self, code: int, place: int) -> None:
        """Raise `RequestError` where a code at a place of a row is not one of the codebook whose turn it is."""
        codebook, entries = place % self.config.n_codebooks, self.config.entries
        first = codebook * entries
        if not first <= code < first + entries:
            raise RequestError(
                f"code {code} at place {place} is out of turn: there stands one of codebook {codebook}, "
                f"{first}..{first + entries - 1}"
            )

    def _check_turns(self, codes: Tensor) -> None:
        turns = torch.arange(codes.shape[1], device=codes.device) % self.config.n_codebooks
        wrong = (codes.div(self.config.entries, rounding_mode="floor") != turns).nonzero()
        if len(wrong):
            row, place = wrong[0].tolist()
            self.check_turn(int(codes[row, place]), place)

    def _offsets(self, codes: Tensor) -> Tensor:
        """Where the part of each codebook begins."""
        return torch.arange(codes.shape[-1], device=codes.device) * self.config.entries


class CausalConv(nn.Module):
    """A convolution that sees what is before, and is filled up behind to whole strides."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
        mode: str = "constant",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(before, after, kernel, stride, dilation=dilation, bias=bias)
        self.stride, self.context, self.mode = stride, (kernel - 1) * dilation + 1 - stride, mode

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """(n, before, time) → (n, after, time / stride, rounded up)."""
        first = past is None or self not in past.kept
        x = F.pad(x, (self.context if first else 0, -x.shape[-1] % self.stride), self.mode)
        out: Tensor = self.conv(x if past is None else past.joined(self, x, self.context))
        return out


class CausalUpsample(nn.Module):
    """A transposed convolution whose every output comes of the input of its time and of the one before."""

    def __init__(self, before: int, after: int, stride: int, *, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(before, after, 2 * stride, stride, groups=groups, bias=bias)
        self.stride = stride

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """(n, before, time) → (n, after, time * stride)."""
        if past is None or self not in past.kept:
            x = F.pad(x, (1, 0))
        out: Tensor = self.conv(x if past is None else past.joined(self, x, 1))
        return out[..., self.stride : -self.stride]


class Residual(nn.Module):
    """Two convolutions through a smaller width, added to what came in."""

    def __init__(self, config: MimiConfig, dim: int, dilation: int) -> None:
        super().__init__()
        inner = dim // config.compress
        self.first = CausalConv(dim, inner, config.residual_kernel, dilation=dilation)
        self.last = CausalConv(inner, dim, 1)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """(n, dim, time) → the same."""
        added: Tensor = x + self.last(F.elu(self.first(F.elu(x), past)), past)
        return added


def _encoder_layers(config: MimiConfig) -> list[nn.Module]:
    dim = config.filters
    layers: list[nn.Module] = [CausalConv(1, dim, config.kernel)]
    for ratio in reversed(config.ratios):
        layers += _residuals(config, dim)
        layers += [nn.ELU(), CausalConv(dim, 2 * dim, 2 * ratio, stride=ratio)]
        dim *= 2
    return [*layers, nn.ELU(), CausalConv(dim, config.dim, config.last_kernel)]


def _decoder_layers(config: MimiConfig) -> list[nn.Module]:
    dim = config.filters << len(config.ratios)
    layers: list[nn.Module] = [CausalConv(config.dim, dim, config.kernel)]
    for ratio in config.ratios:
        layers += [nn.ELU(), CausalUpsample(dim, dim // 2, ratio)]
        dim //= 2
        layers += _residuals(config, dim)
    return [*layers, nn.ELU(), CausalConv(dim, 1, config.last_kernel)]


def _residuals(config: MimiConfig, dim: int) -> list[nn.Module]:
    return [Residual(config, dim, config.dilation_growth**index) for index in range(config.residuals)]


def _through(layers: nn.ModuleList, x: Tensor, past: Past | None = None) -> Tensor:
    for layer in layers:
        x = layer(x) if isinstance(layer, nn.ELU) else layer(x, past)
    return x


class Context(nn.Module):
    """A causal transformer whose every place sees a window of those before."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.head_size, self.theta = config.dim // config.n_heads, config.rope_theta
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """(n, dim, time) → the same."""
        x = x.transpose(1, 2)
        start = 0 if past is None else past.position
        angles = self._angles(start, x)
        for block in self.blocks:
            x = block(x, angles, past)
        if past is not None:
            past.position = start + x.shape[1]
        return x.transpose(1, 2)

    def _angles(self, start: int, x: Tensor) -> Tensor:
        """How far each half of a head is turned, (time, head_size / 2): RoPE (Su et al. 2021, arXiv:2104.09864)."""
        places = torch.arange(start, start + x.shape[1], device=x.device).float()
        steps = torch.arange(0, self.head_size, 2, device=x.device).float() / self.head_size
        return places[:, None] * (1.0 / self.theta**steps)


class Block(nn.Module):
    """Attention and an MLP, each behind a norm, scaled channel by channel and added to what came in."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        dim = config.dim
        self.n_heads, self.window = config.n_heads, config.window
        self.attention_norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.attention_scale = nn.Parameter(torch.full((dim,), _FIRST_SCALE))
        self.mlp_norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.up = nn.Linear(dim, config.hidden_dim, bias=False)
        self.down = nn.Linear(config.hidden_dim, dim, bias=False)
        self.mlp_scale = nn.Parameter(torch.full((dim,), _FIRST_SCALE))

    def forward(self, x: Tensor, angles: Tensor, past: Past | None = None) -> Tensor:
        """(n, time, dim), (time, head_size / 2) → (n, time, dim)."""
        x = x + self.attention_scale * self._attended(self.attention_norm(x), angles, past)
        added: Tensor = x + self.mlp_scale * self.down(F.gelu(self.up(self.mlp_norm(x))))
        return added

    def _attended(self, x: Tensor, angles: Tensor, past: Past | None) -> Tensor:
        # (n, heads, time, head_size)
        heads = (*x.shape[:2], self.n_heads, -1)
        q, k, v = (part(x).reshape(heads).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = _turned(q, angles), _turned(k, angles)
        if past is not None:
            k, v = past.joined(self, torch.stack((k, v)).transpose(-1, -2), self.window - 1).transpose(-1, -2)
        out: Tensor = self.o(_windowed(q, k, v, self.window).transpose(1, 2).flatten(2))
        return out


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def _windowed(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention to the last `window` keys up to a query's own, the last query's being the last; by stretches of them.

    Memory grows with time, and not with its square.
    """
    time, before = q.shape[2], k.shape[2] - q.shape[2]
    found = []
    for start in range(0, time, window):
        stop = min(start + window, time)
        first, last = max(0, before + start - window + 1), before + stop
        distance = torch.arange(before + start, last, device=q.device)[:, None] - torch.arange(
            first, last, device=q.device
        )
        found.append(
            F.scaled_dot_product_attention(
                q[:, :, start:stop],
                k[:, :, first:last],
                v[:, :, first:last],
                attn_mask=(distance >= 0) & (distance < window),
            )
        )
    return torch.cat(found, 2)


class ResidualQuantiser(nn.Module):
    """Codebooks of which each holds what those before it left over (Zeghidour et al. 2021, arXiv:2107.03312)."""

    def __init__(self, config: MimiConfig, n_codebooks: int) -> None:
        super().__init__()
        self.to_code = nn.Conv1d(config.dim, config.code_dim, 1, bias=False)
        self.tables = nn.ParameterList(
            nn.Parameter(torch.zeros(config.entries, config.code_dim)) for _ in range(n_codebooks)
        )
        self.from_code = nn.Conv1d(config.code_dim, config.dim, 1, bias=False)

    def encode(self, x: Tensor) -> Tensor:
        """(n, dim, frames) → (n, frames, codebooks) int64."""
        left = self.to_code(x).transpose(1, 2)  # (n, frames, code_dim)
        codes: list[Tensor] = []
        for table in self.tables:
            codes.append(torch.cdist(left.flatten(0, 1), table).argmin(-1).view(left.shape[:2]))
            left = left - F.embedding(codes[-1], table)
        return torch.stack(codes, -1)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, frames, codebooks) → (n, dim, frames)."""
        vectors = [F.embedding(code, table) for code, table in zip(codes.unbind(-1), self.tables, strict=True)]
        out: Tensor = self.from_code(torch.stack(vectors).sum(0).transpose(1, 2))
        return out
