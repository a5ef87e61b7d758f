"""Speech encoders to train from nothing: convolutions with rotary blocks or GRUs behind, or stacked frames alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import ConvSpeechConfig, FramesConfig, RecurrentSpeechConfig
from sensorium.errors import RequestError
from sensorium.nn.attention import Visibility, visibility
from sensorium.nn.init import draw_weights
from sensorium.nn.norms import make_norm
from sensorium.nn.positions import RotaryPositions
from sensorium.nn.transformer import Block


def check_audio(audio: Tensor, frames: Tensor, n_mels: int, max_frames: int) -> None:
    """Raise `RequestError` unless recordings are (n, n_mels, up to max_frames), one number of frames for each."""
    if audio.ndim != 3 or audio.shape[1] != n_mels or frames.shape != audio.shape[:1]:
        raise RequestError(
            f"recordings of shape {list(audio.shape)} with {list(frames.shape)} lengths do not fit this encoder, which "
            f"reads (n, {n_mels}, frames) (prepare them by the model's own audio settings)"
        )
    if audio.shape[2] > max_frames:
        raise RequestError(
            f"{audio.shape[2]} frames exceed the encoder's {max_frames} (cut the recording into windows)"
        )


def real_places(lengths: Tensor, places: int) -> Tensor:
    """(n,) lengths → (n, places) boolean, true within each length."""
    return torch.arange(places, device=lengths.device) < lengths[:, None]


def pooled_mean(features: Tensor, lengths: Tensor) -> Tensor:
    """The mean over real features: (n, places, dim) and (n,) → (n, dim)."""
    real = real_places(lengths, features.shape[1])[..., None]
    return (features * real).sum(1) / lengths.clamp_min(1)[:, None]


def by_length(
    encode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], audio: Tensor, frames: Tensor
) -> tuple[Tensor, Tensor]:
    """What `encode` makes of recordings, those of like length together: a word need not wait for a chapter.

    A group holds what is longer than half of its longest recording. All else being equal, features differ by rounding
    only; beyond the real ones they are zeros.

    Args:
        encode: from (n, mels, frames) and (n,) real frames to (n, places, dim) and (n,) real places.
        audio: (n, mels, frames) log-mel.
        frames: (n,) real frames of each.
    """
    halvings = [max(audio.shape[2], 1).bit_length() - max(n, 1).bit_length() for n in frames.tolist()]
    if len(set(halvings)) < 2:
        return encode(audio, frames)
    of, groups = torch.tensor(halvings, device=audio.device), []
    for halving in sorted(set(halvings)):
        rows = (of == halving).nonzero()[:, 0]
        groups.append((rows, *encode(audio[rows, :, : max(int(frames[rows].max()), 1)], frames[rows])))
    longest = max(features.shape[1] for _, features, _ in groups)
    order = torch.cat([rows for rows, _, _ in groups]).argsort()
    padded = [F.pad(features, (0, 0, 0, longest - features.shape[1])) for _, features, _ in groups]
    return torch.cat(padded)[order], torch.cat([lengths for _, _, lengths in groups])[order]


class SpeechStem(nn.Module):
    """Convolutions over mel frames, each with GELU, and zeros beyond each recording before the next one reads."""

    def __init__(self, n_mels: int, dim: int, strides: tuple[int, ...], kernel: int) -> None:
        super().__init__()
        self.strides = strides
        self.convs = nn.ModuleList(
            nn.Conv1d(dim if index else n_mels, dim, kernel, stride=stride, padding=kernel // 2)
            for index, stride in enumerate(strides)
        )

    def forward(self, audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(n, mels, frames) and (n,) → (n, places, dim) and (n,) real places."""
        lengths = frames
        x = _silenced(audio, lengths)
        for stride, conv in zip(self.strides, self.convs, strict=True):
            lengths = torch.where(lengths > 0, (lengths - 1) // stride + 1, 0)
            x = _silenced(F.gelu(conv(x)), lengths)
        return x.transpose(1, 2), lengths


class ConvSpeech(nn.Module):
    """Convolutions, then rotary blocks that see the whole recording."""

    def __init__(self, config: ConvSpeechConfig) -> None:
        super().__init__()
        self.config = config
        self.block_config = config.blocks()
        self.stem = SpeechStem(config.n_mels, config.dim, config.strides, config.kernel)
        self.rotary = RotaryPositions(self.block_config)
        self.blocks = nn.ModuleList(Block(self.block_config, layer) for layer in range(config.n_layers))
        self.final_norm = make_norm(self.block_config.norm, config.dim, self.block_config.norm_eps)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        draw_weights(self, generator, n_layers=self.config.n_layers)

    def forward(self, audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Features of recordings, which never depend on what lies beyond their ends.

        Args:
            audio: (n, n_mels, frames) log-mel.
            frames: (n,) real frames of each.

        Returns:
            (n, places, dim) features, and (n,) how many are real.

        Raises:
            RequestError: another number of mels, or more frames than `max_frames`.
        """
        check_audio(audio, frames, self.config.n_mels, self.config.max_frames)
        if audio.device.type != "cpu":  # counting lengths would wait for the device
            return self._listen(audio, frames)
        return by_length(self._listen, audio, frames)

    def _listen(self, audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        x, lengths = self.stem(audio, frames)
        positions = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        rotation = self.rotary(positions, x.dtype)
        if x.device.type == "cpu" and bool((lengths == x.shape[1]).all()):
            visible = Visibility()
        else:
            visible = visibility(self.block_config, None, positions, padding=real_places(lengths, x.shape[1]))
        for block in self.blocks:
            x = block(x, positions, rotation, visible)
        return self.final_norm(x), lengths

    def pooled(self, audio: Tensor, frames: Tensor) -> Tensor:
        """(n, n_mels, frames) and (n,) → (n, dim), the mean over real features."""
        return pooled_mean(*self(audio, frames))


class RecurrentSpeech(nn.Module):
    """Convolutions, then layers of GRU (Cho et al. 2014, arXiv:1406.1078) that read both ways."""

    def __init__(self, config: RecurrentSpeechConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = SpeechStem(config.n_mels, config.dim, config.strides, config.kernel)
        self.gru = nn.GRU(config.dim, config.dim // 2, config.n_layers, batch_first=True, bidirectional=True)
        self.final_norm = make_norm("layer", config.dim, 1e-5)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        draw_weights(self, generator)

    def forward(self, audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """As `ConvSpeech.forward`."""
        check_audio(audio, frames, self.config.n_mels, self.config.max_frames)
        x, lengths = self.stem(audio, frames)
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False
        )
        x, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.final_norm(x), lengths

    def pooled(self, audio: Tensor, frames: Tensor) -> Tensor:
        """(n, n_mels, frames) and (n,) → (n, dim), the mean over real features."""
        return pooled_mean(*self(audio, frames))


class Frames(nn.Module):
    """No encoder at all: neighbouring mel frames, joined, are a feature; the last is filled up with silence."""

    def __init__(self, config: FramesConfig) -> None:
        super().__init__()
        self.config = config

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Nothing to draw: there are no weights."""

    def forward(self, audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """As `ConvSpeech.forward`; a feature holds its frames one after the other."""
        check_audio(audio, frames, self.config.n_mels, self.config.max_frames)
        stack = self.config.stack
        beyond = ~real_places(frames, audio.shape[2])[:, None]
        silence = audio.masked_fill(beyond, torch.inf).amin((1, 2), keepdim=True)  # (n, 1, 1)
        x = torch.where(beyond, silence, audio).transpose(1, 2)  # (n, frames, n_mels)
        missing = -audio.shape[2] % stack
        x = torch.cat((x, silence.expand(-1, missing, self.config.n_mels)), dim=1)
        return x.reshape(x.shape[0], -1, self.config.dim), (frames + stack - 1) // stack

    def pooled(self, audio: Tensor, frames: Tensor) -> Tensor:
        """(n, n_mels, frames) and (n,) → (n, dim), the mean over real features."""
        return pooled_mean(*self(audio, frames))


def _silenced(x: Tensor, lengths: Tensor) -> Tensor:
    """(n, channels, places), with zeros beyond each length: what a convolution also finds beyond the edge."""
    return x * real_places(lengths, x.shape[2])[:, None]
