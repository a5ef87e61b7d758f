"""Settings of the ears: encoders of speech, and the part of a model that they make up."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from sensorium.config.base import Config, Layers, Positive, Size
from sensorium.config.media import AudioConfig, PlaceholderConfig
from sensorium.config.projector import ProjectorConfig
from sensorium.config.transformer import Activation, TransformerConfig


class WhisperConfig(Config):
    """Whisper's encoder (Radford et al. 2022, arXiv:2212.04356): two convolutions, the second of stride 2, and blocks.

    `pool` 2 averages pairs before the final norm, as Qwen2-Audio does. `trim` shows a decoder only the features of
    real sound (and hides the rest inside), otherwise the silence that fills the window is shown as well.
    """

    kind: Literal["whisper"] = "whisper"
    n_mels: Size = 80
    dim: Size
    n_layers: Layers
    n_heads: Size
    hidden_dim: Size
    max_frames: Size = 3000
    activation: Activation = "gelu"
    pool: Literal[1, 2] = 1
    trim: bool = False

    def n_features(self, frames: int) -> int:
        """Feature vectors of so many mel frames."""
        if not self.trim:
            return self.max_frames // 2 // self.pool
        halved = (frames - 1) // 2 + 1
        return halved if self.pool == 1 else (halved - 2) // 2 + 1

    def blocks(self) -> TransformerConfig:
        """The blocks as settings of the one transformer; Whisper's keys have no bias, which is then zero."""
        return TransformerConfig(
            vocab_size=1,
            dim=self.dim,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            hidden_dim=self.hidden_dim,
            max_positions=self.max_frames // 2,
            positions="none",
            norm="layer",
            norm_eps=1e-5,
            activation=self.activation,
            gated_mlp=False,
            qkv_bias=True,
            attention_output_bias=True,
            mlp_bias=True,
            causal=False,
        )


class ConvSpeechConfig(Config):
    """A small encoder to train from nothing: convolutions over mel frames, each of a stride, then rotary blocks."""

    kind: Literal["conv"] = "conv"
    n_mels: Size = 80
    dim: Size
    n_layers: Layers
    n_heads: Size
    hidden_dim: Size
    strides: Annotated[tuple[Literal[1, 2, 4], ...], Field(min_length=1)] = (2, 2)
    kernel: Literal[3, 5, 7, 9] = 5
    max_frames: Size = 3000

    def n_features(self, frames: int) -> int:
        """Feature vectors of so many mel frames."""
        return _strided(frames, self.strides)

    def blocks(self) -> TransformerConfig:
        """The blocks as settings of the one transformer."""
        return TransformerConfig(
            vocab_size=1,
            dim=self.dim,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            hidden_dim=self.hidden_dim,
            max_positions=self.n_features(self.max_frames),
            gated_mlp=False,
            activation="gelu",
            qk_norm=True,
            causal=False,
        )


class RecurrentSpeechConfig(Config):
    """A recurrent encoder: convolutions over mel frames, each of a stride, then layers of GRU that read both ways."""

    kind: Literal["recurrent"] = "recurrent"
    n_mels: Size = 80
    dim: Size  # both directions together
    n_layers: Layers
    strides: Annotated[tuple[Literal[1, 2, 4], ...], Field(min_length=1)] = (2, 2)
    kernel: Literal[3, 5, 7, 9] = 5
    max_frames: Size = 3000

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.dim % 2:
            raise ValueError(f"dim {self.dim} is odd, and half of it reads each way")
        return self

    def n_features(self, frames: int) -> int:
        """Feature vectors of so many mel frames."""
        return _strided(frames, self.strides)


class FramesConfig(Config):
    """No encoder at all: `stack` neighbouring mel frames are a feature, for `early` fusion."""

    kind: Literal["frames"] = "frames"
    n_mels: Size = 80
    stack: Positive = 8
    max_frames: Size = 3000

    @property
    def dim(self) -> int:
        """Numbers in a feature."""
        return self.n_mels * self.stack

    def n_features(self, frames: int) -> int:
        """Features of so many mel frames; the last is filled with silence."""
        return -(-frames // self.stack)


def _strided(frames: int, strides: tuple[int, ...]) -> int:
    for stride in strides:
        frames = (frames - 1) // stride + 1
    return frames


SpeechEncoderConfig: TypeAlias = Annotated[
    WhisperConfig | ConvSpeechConfig | RecurrentSpeechConfig | FramesConfig, Field(discriminator="kind")
]


class SpeechConfig(Config):
    """Ears: how recordings are prepared, encoded and shown to the decoder.

    `ctc`: whether the encoder also spells what it hears, as UTF-8 bytes (class 0 is blank, class b + 1 is byte b).
    """

    audio: AudioConfig = AudioConfig()
    encoder: SpeechEncoderConfig
    projector: ProjectorConfig | None = ProjectorConfig()
    placeholder: PlaceholderConfig = PlaceholderConfig(token="<|audio|>", begin="<|audio_begin|>", end="<|audio_end|>")
    ctc: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.audio.n_mels != self.encoder.n_mels:
            raise ValueError(f"recordings have {self.audio.n_mels} mels, but the encoder reads {self.encoder.n_mels}")
        frames = round(self.audio.window_seconds * self.audio.sample_rate / self.audio.hop)
        if frames > self.encoder.max_frames:
            raise ValueError(
                f"a window of {self.audio.window_seconds} s has {frames} frames, above the encoder's "
                f"{self.encoder.max_frames} (shorten audio.window_seconds)"
            )
        return self

    def n_places(self, frames: int) -> int:
        """Placeholders of one window of so many mel frames."""
        return 0 if self.projector is None else self.projector.n_audio(self.encoder.n_features(frames))
