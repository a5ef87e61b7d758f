"""The speech codec: a waveform as a row of codes and a voice, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.codecs.blocks import ConvNeXt, draw
from sensorium.codecs.fsq import FSQ
from sensorium.codecs.spectra import log_mel_frames, overlap_added
from sensorium.config import SpeechCodecConfig
from sensorium.errors import RequestError

_CODE_KERNEL, _FRAME_KERNEL = 3, 7
_LOUDEST = 1e2  # of a bin of a spectrum: an exponent must not run away


class VoiceEncoder(nn.Module):
    """Who speaks, whatever is said: the mean and spread over time of what a few convolutions hear, as a unit vector."""

    def __init__(self, config: SpeechCodecConfig) -> None:
        super().__init__()
        dim = 64
        self.stem = nn.Conv1d(config.n_mels, dim, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(ConvNeXt(dim, _FRAME_KERNEL) for _ in range(2))
        self.out = nn.Linear(2 * dim, config.voice_dim)

    def forward(self, mels: Tensor) -> Tensor:
        """Log-mel (n, n_mels, frames) → (n, voice_dim) of length 1."""
        x = F.gelu(self.stem(mels)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        spread = x.var(1, unbiased=False).clamp_min(1e-6).sqrt()
        vector: Tensor = F.normalize(self.out(torch.cat((x.mean(1), spread), -1)), dim=-1)
        return vector


class SpeechCodec(nn.Module):
    """Encoder on mel frames, FSQ, and a decoder whose last step is an inverse short-time Fourier transform.

    Nothing in the decoder reaches further than `context` codes, so that speech decoded in pieces is what it is in one.
    """

    def __init__(self, config: SpeechCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.quantiser = FSQ(config.levels)
        dim, n_frames = config.encoder_dim, config.frames_per_code
        self.stem = nn.Conv1d(config.n_mels, dim, 5, padding=2)
        self.encoder = nn.ModuleList(ConvNeXt(dim, _FRAME_KERNEL) for _ in range(config.encoder_layers))
        self.to_code = nn.Linear(dim * n_frames, len(config.levels))
        self.voice_encoder = VoiceEncoder(config)
        self.voices = nn.Embedding(len(config.voices), config.voice_dim) if config.voices else None
        self.from_code = nn.Linear(len(config.levels), config.dim)
        self.from_voice = nn.Linear(config.voice_dim, config.dim)
        self.code_blocks = nn.ModuleList(
            ConvNeXt(config.dim, _CODE_KERNEL, config.voice_dim) for _ in range(config.code_layers)
        )
        self.to_frames = nn.Linear(config.dim, config.dim * n_frames)
        self.frame_blocks = nn.ModuleList(
            ConvNeXt(config.dim, _FRAME_KERNEL, config.voice_dim) for _ in range(config.frame_layers)
        )
        self.final_norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.n_fft + 2)

    @property
    def last_weight(self) -> Tensor:
        """The weights nearest to the sound, by which losses are set against each other."""
        return self.head.weight

    @property
    def context(self) -> int:
        """Codes before and after one that have a part in its sound."""
        config = self.config
        frames = config.frame_layers * (_FRAME_KERNEL // 2) + -(-config.n_fft // config.hop) // 2 + 1
        return config.code_layers * (_CODE_KERNEL // 2) + -(-frames // config.frames_per_code)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        draw(self, generator)
        if self.voices is not None:
            with torch.no_grad():
                nn.init.normal_(self.voices.weight, generator=generator)
                self.voices.weight.copy_(F.normalize(self.voices.weight, dim=-1))

    def forward(self, samples: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (n, time) → what their codes give back in the voice of `reference` (n, any time), and the codes.

        The time is a multiple of `samples_per_code`.
        """
        values, codes = self._quantised(samples)
        return self._spoken(values, self.voice_of(reference)), codes

    def encode(self, samples: Tensor) -> Tensor:
        """Samples (n, time) within -1..1 → codes (n, n_codes) int64; silence fills up the last code.

        Raises:
            RequestError: no samples, or not rows of them.
        """
        _check(samples)
        missing = -samples.shape[1] % self.config.samples_per_code
        return self._quantised(F.pad(samples, (0, missing)))[1]

    def voice_of(self, samples: Tensor) -> Tensor:
        """Who speaks in samples (n, time): (n, voice_dim) of length 1.

        Raises:
            RequestError: no samples, or not rows of them.
        """
        _check(samples)
        voice: Tensor = self.voice_encoder(self._mels(samples))
        return voice

    def voice_named(self, name: str | None = None) -> Tensor:
        """A voice that the codec comes with, by default its first: (voice_dim,).

        Raises:
            RequestError: it has no such voice, or none at all.
        """
        names = self.config.voices
        if self.voices is None or not names:
            raise RequestError("this codec comes without voices (give a recording of the voice instead)")
        if name is None:
            name = names[0]
        if name not in names:
            raise RequestError(f"there is no voice {name!r} (one of: {', '.join(names)}; or give a recording)")
        return self.voices.weight[names.index(name)]

    def decode(self, codes: Tensor, voice: Tensor) -> Tensor:
        """Codes (n, n_codes) and voices (n, voice_dim) → samples (n, n_codes * samples_per_code) within -1..1.

        Raises:
            RequestError: a code outside the codebook, or codes that are no rows.
        """
        if codes.ndim != 2 or not codes.numel():
            raise RequestError(f"codes of shape {list(codes.shape)} are no speech, which is (n, codes)")
        return self._spoken(self.quantiser.values(codes).to(self.head.weight.dtype), voice).clamp(-1, 1)

    def _mels(self, samples: Tensor) -> Tensor:
        config = self.config
        return log_mel_frames(samples, config.sample_rate, config.n_fft, config.hop, config.n_mels)

    def _quantised(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(self._mels(samples)).transpose(1, 2)  # (n, frames, dim)
        for block in self.encoder:
            x = block(x)
        x = x.reshape(x.shape[0], -1, x.shape[2] * self.config.frames_per_code)  # (n, codes, dim * frames_per_code)
        values: tuple[Tensor, Tensor] = self.quantiser(self.to_code(x))
        return values

    def _spoken(self, values: Tensor, voice: Tensor) -> Tensor:
        x = self.from_code(values) + self.from_voice(voice)[:, None]  # (n, codes, dim)
        for block in self.code_blocks:
            x = block(x, voice)
        x = self.to_frames(x).reshape(x.shape[0], -1, self.config.dim)  # (n, frames, dim)
        for block in self.frame_blocks:
            x = block(x, voice)
        size, phase = self.head(self.final_norm(x)).float().chunk(2, -1)
        size = size.clamp_max(math.log(_LOUDEST)).exp()
        spectrum = torch.complex(size * phase.cos(), size * phase.sin())  # (n, frames, n_fft // 2 + 1)
        return overlap_added(spectrum, self.config.n_fft, self.config.hop)


def _check(samples: Tensor) -> None:
    if samples.ndim != 2 or not samples.numel():
        raise RequestError(f"samples of shape {list(samples.shape)} are no recordings, which are (n, time), not empty")
