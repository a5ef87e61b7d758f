"""Settings of the codecs: what turns pictures and speech into codes of the decoder's vocabulary, and back."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sensorium.config.base import Config, Positive, Size
from sensorium.config.media import Side

FSQLevels = Annotated[tuple[Annotated[int, Field(ge=2, le=64)], ...], Field(min_length=1, max_length=16)]
Depth = Annotated[int, Field(ge=0, le=64)]
Id = Annotated[int, Field(ge=0, lt=2**24)]


class CodeRange(Config):
    """A range of the decoder's vocabulary: code 0 is token `first_id`; a piece stands between `begin` and `end`."""

    first_id: Id = 0
    begin: str
    end: str

    @property
    def codebook_size(self) -> int:
        """How many codes there are."""
        raise NotImplementedError

    @property
    def ids(self) -> range:
        """Token ids of the codes."""
        return range(self.first_id, self.first_id + self.codebook_size)


class ImageCodecConfig(CodeRange):
    """A convolutional autoencoder with finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505).

    Each of `dims` is the width after one more halving of the picture, so that a code stands for a square of
    `2 ** len(dims)` pixels; `encoder_depths` and `decoder_depths` are residual blocks at each of those sizes. `levels`
    are the steps of each number that a code is made of. `size` is (height, width) of the pictures that a model draws;
    the codec itself takes any size that divides.
    """

    kind: Literal["fsq"] = "fsq"
    size: tuple[Side, Side] = (64, 64)
    dims: Annotated[tuple[Size, ...], Field(min_length=1, max_length=6)] = (32, 64, 96)
    encoder_depths: tuple[Depth, ...] = (0, 1, 1)
    decoder_depths: tuple[Depth, ...] = (1, 2, 3)
    levels: FSQLevels = (8, 5, 5, 5)
    begin: str = "<|image_begin|>"
    end: str = "<|image_end|>"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("encoder_depths", "decoder_depths"):
            if len(getattr(self, name)) != len(self.dims):
                raise ValueError(f"{len(getattr(self, name))} {name} for {len(self.dims)} dims: one for each")
        if any(side % self.downsampling for side in self.size):
            raise ValueError(f"size {self.size} does not divide by the {self.downsampling} pixels of a code")
        return self

    @property
    def downsampling(self) -> int:
        """Pixels along a side of one code."""
        return 1 << len(self.dims)

    @property
    def codebook_size(self) -> int:
        """How many codes there are."""
        return math.prod(self.levels)

    @property
    def grid(self) -> tuple[int, int]:
        """Codes of a drawn picture: rows, columns."""
        return self.size[0] // self.downsampling, self.size[1] // self.downsampling

    @property
    def n_codes(self) -> int:
        """Codes of a drawn picture."""
        return self.grid[0] * self.grid[1]


class SpeechCodecConfig(CodeRange):
    """Speech as one row of codes, and a vector of who speaks, which says what codes need not say.

    The encoder reads log-mel frames (one each `hop` samples), `frames_per_code` of them to a code (FSQ with `levels`).
    The decoder is in the manner of Vocos (Siuzdak 2023, arXiv:2306.00814): `code_layers` blocks at the rate of codes,
    `frame_layers` at that of frames, and an inverse short-time Fourier transform. `voices` are the names of the voices
    it comes with, the first of which is the model's own.
    """

    kind: Literal["fsq"] = "fsq"
    sample_rate: Annotated[int, Field(ge=1_000, le=192_000)] = 16_000
    hop: Positive = 160
    n_fft: Positive = 640
    n_mels: Size = 80
    frames_per_code: Literal[1, 2, 4, 8] = 4
    encoder_dim: Size = 128
    encoder_layers: Depth = 3
    dim: Size = 176
    code_layers: Depth = 2
    frame_layers: Depth = 4
    levels: FSQLevels = (8, 8, 6, 5)
    voice_dim: Size = 64
    voices: tuple[str, ...] = ()
    begin: str = "<|audio_begin|>"
    end: str = "<|audio_end|>"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n_fft % 2 or self.hop % 2 or self.n_fft < 2 * self.hop:
            raise ValueError(f"n_fft {self.n_fft} and hop {self.hop} must be even, and frames overlap by half or more")
        if len(set(self.voices)) < len(self.voices):
            raise ValueError("two voices have the same name")
        return self

    @property
    def codebook_size(self) -> int:
        """How many codes there are."""
        return math.prod(self.levels)

    @property
    def samples_per_code(self) -> int:
        """Samples that one code stands for."""
        return self.hop * self.frames_per_code

    @property
    def codes_per_second(self) -> float:
        """Codes of a second of speech."""
        return self.sample_rate / self.samples_per_code
