"""Settings of the codecs: what turns pictures and speech into codes of the decoder's vocabulary, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from sensorium.config.base import Config, Positive, Size
from sensorium.config.media import Side

FSQLevels = Annotated[tuple[Annotated[int, Field(ge=2, le=64)], ...], Field(min_length=1, max_length=16)]
Depth = Annotated[int, Field(ge=0, le=64)]
_FURTHEST = 2**14  # places that a convolution may reach back
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

    def candidates_at(self, index: int) -> range:  # noqa: ARG002 (where codebooks take turns, it matters)
        """Token ids of the codes that can stand at a place of a piece, counted from 0."""
        return self.ids


class ImageCodes(CodeRange):
    """What all codecs of pictures have. `size` is (height, width) of the pictures that a model draws.

    With `embed_places` the decoder is told the row and the column of each code that it reads.
    """

    size: tuple[Side, Side] = (64, 64)
    embed_places: bool = False
    begin: str = "<|image_begin|>"
    end: str = "<|image_end|>"

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if any(side % self.downsampling for side in self.size):
            raise ValueError(f"size {self.size} does not divide by the {self.downsampling} pixels of a code")
        return self

    @property
    def downsampling(self) -> int:
        """Pixels along a side of one code."""
        raise NotImplementedError

    @property
    def grid(self) -> tuple[int, int]:
        """Codes of a drawn picture: rows, columns."""
        return self.size[0] // self.downsampling, self.size[1] // self.downsampling

    @property
    def n_codes(self) -> int:
        """Codes of a drawn picture."""
        return self.grid[0] * self.grid[1]


class SpeechCodes(CodeRange):
    """What all codecs of speech have. `voices` are the names of the voices it comes with, its own first."""

    sample_rate: Annotated[int, Field(ge=1_000, le=192_000)] = 16_000
    voices: tuple[str, ...] = ()
    begin: str = "<|audio_begin|>"
    end: str = "<|audio_end|>"

    @property
    def takes_voice(self) -> bool:
        """Whether somebody's voice is given beside the codes, which say only what is spoken."""
        return True

    @property
    def samples_per_frame(self) -> int:
        """Samples that the codes of one frame stand for."""
        raise NotImplementedError

    @property
    def codes_per_frame(self) -> int:
        """Codes that stand for one stretch of time together."""
        return 1

    @property
    def samples_per_code(self) -> float:
        """Samples that one code stands for."""
        return self.samples_per_frame / self.codes_per_frame

    @property
    def codes_per_second(self) -> float:
        """Codes of a second of speech."""
        return self.sample_rate * self.codes_per_frame / self.samples_per_frame


class ImageCodecConfig(ImageCodes):
    """A convolutional autoencoder with finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505).

    Each of `dims` is the width after one more halving of the picture, so that a code stands for a square of
    `2 ** len(dims)` pixels; `encoder_depths` and `decoder_depths` are residual blocks at each of those sizes. `levels`
    are the steps of each number that a code is made of. The codec itself takes any size that divides.
    """

    kind: Literal["fsq"] = "fsq"
    dims: Annotated[tuple[Size, ...], Field(min_length=1, max_length=6)] = (32, 64, 96)
    encoder_depths: tuple[Depth, ...] = (0, 1, 1)
    decoder_depths: tuple[Depth, ...] = (1, 2, 3)
    levels: FSQLevels = (8, 5, 5, 5)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("encoder_depths", "decoder_depths"):
            if len(getattr(self, name)) != len(self.dims):
                raise ValueError(f"{len(getattr(self, name))} {name} for {len(self.dims)} dims: one for each")
        if any(dim != 8 and dim % 16 for dim in self.dims):
            raise ValueError(f"dims {self.dims} must be 8 or multiples of 16: norms count in groups of 8")
        return self

    @property
    def downsampling(self) -> int:
        """Pixels along a side of one code."""
        return 1 << len(self.dims)

    @property
    def codebook_size(self) -> int:
        """How many codes there are."""
        return math.prod(self.levels)


class JanusVQConfig(ImageCodes):
    """Janus's codec of pictures (Wu et al. 2024, arXiv:2410.13848): a convolutional autoencoder around a codebook.

    Each of `multipliers` times `dim` is the width at one size of the picture, halved between them, with `depth`
    residual blocks (the decoder has one more); `latent_dim` is the width around the codebook of `entries` vectors of
    `code_dim` numbers.
    """

    kind: Literal["janus_vq"] = "janus_vq"
    size: tuple[Side, Side] = (384, 384)
    dim: Size = 128
    multipliers: Annotated[tuple[Annotated[int, Field(gt=0, le=1024)], ...], Field(min_length=1, max_length=10)] = (
        1,
        1,
        2,
        2,
        4,
    )
    depth: Annotated[int, Field(gt=0, le=64)] = 2
    latent_dim: Size = 256
    entries: Annotated[int, Field(ge=2, le=2**22)] = 16_384
    code_dim: Size = 8

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dim % 32:
            raise ValueError(f"dim {self.dim} must be a multiple of 32, the groups of its norms")
        return self

    @property
    def downsampling(self) -> int:
        """Pixels along a side of one code."""
        return 1 << (len(self.multipliers) - 1)

    @property
    def codebook_size(self) -> int:
        """How many codes there are."""
        return self.entries


class SpeechCodecConfig(SpeechCodes):
    """Speech as one row of codes, and a vector of who speaks, which says what codes need not say.

    The encoder reads log-mel frames (one each `hop` samples), `frames_per_code` of them to a code (FSQ with `levels`).
    The decoder is in the manner of Vocos (Siuzdak 2023, arXiv:2306.00814): `code_layers` blocks at the rate of codes,
    `frame_layers` at that of frames, and an inverse short-time Fourier transform. `voices` are the names of the voices
    it comes with, the first of which is the model's own.
    """

    kind: Literal["fsq"] = "fsq"
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
    def samples_per_frame(self) -> int:
        """Samples that one code stands for."""
        return self.samples_per_code

    @property
    def samples_per_code(self) -> int:
        """Samples that one code stands for."""
        return self.hop * self.frames_per_code


class MimiConfig(SpeechCodes):
    """Mimi, Moshi's codec of speech (Défossez et al. 2024, arXiv:2410.00037): every voice lies in the codes themselves.

    Causal convolutions (SEANet, Tagliasacchi et al. 2020, arXiv:2009.02095) shrink time by each of `ratios`, the last
    one first; `filters` is their width at the rate of samples, doubled at each, and `residuals` blocks of growing
    dilation stand before each. A transformer that sees `window` places back follows, and a convolution of
    `frame_stride` to the rate of frames. Of each frame, `n_semantic` codebooks hold one residual sum and the rest
    another, `n_codebooks` together, of `entries` vectors each.

    A frame's codes stand in a row, one of each codebook, and each codebook has its own part of the range.
    """

    kind: Literal["mimi"] = "mimi"
    sample_rate: Annotated[int, Field(ge=1_000, le=192_000)] = 24_000
    voices: tuple[()] = ()
    n_codebooks: Annotated[int, Field(gt=0, le=256)] = 8
    n_semantic: Annotated[int, Field(gt=0, le=256)] = 1
    entries: Annotated[int, Field(ge=2, le=2**20)] = 2048
    code_dim: Size = 256
    dim: Size = 512
    filters: Size = 64
    ratios: Annotated[tuple[Annotated[int, Field(gt=0, le=256)], ...], Field(min_length=1, max_length=8)] = (8, 6, 5, 4)
    residuals: Depth = 1
    kernel: Annotated[int, Field(gt=0, le=256)] = 7
    last_kernel: Annotated[int, Field(gt=0, le=256)] = 3
    residual_kernel: Annotated[int, Field(gt=0, le=256)] = 3
    dilation_growth: Annotated[int, Field(gt=0, le=16)] = 2
    compress: Positive = 2
    frame_stride: Annotated[int, Field(gt=0, le=64)] = 2
    upsample_groups: Positive = 512
    n_layers: Depth = 8
    n_heads: Size = 8
    hidden_dim: Size = 2048
    window: Positive = 250
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n_semantic > self.n_codebooks:
            raise ValueError(f"n_codebooks {self.n_codebooks} leave out some of the {self.n_semantic} semantic ones")
        if self.dim % (2 * self.n_heads):
            raise ValueError(f"dim {self.dim} does not divide into {self.n_heads} heads of an even size")
        if self.dim % self.upsample_groups:
            raise ValueError(f"dim {self.dim} does not divide by upsample_groups {self.upsample_groups}")
        if (self.residual_kernel - 1) * self.dilation_growth ** max(self.residuals - 1, 0) > _FURTHEST:
            raise ValueError(f"{self.residuals} residuals of dilation_growth {self.dilation_growth} reach too far back")
        if self.filters < self.compress:
            raise ValueError(f"filters {self.filters} compressed by {self.compress} leave nothing")
        return self

    @property
    def takes_voice(self) -> bool:
        """No: the codes say who speaks."""
        return False

    @property
    def codebook_size(self) -> int:
        """How many codes there are, those of all codebooks together."""
        return self.n_codebooks * self.entries

    @property
    def codes_per_frame(self) -> int:
        """Codes of a frame: one of each codebook."""
        return self.n_codebooks

    @property
    def samples_per_frame(self) -> int:
        """Samples that the codes of one frame stand for."""
        return math.prod(self.ratios) * self.frame_stride

    def candidates_at(self, index: int) -> range:
        """Token ids of the codebook whose turn it is."""
        first = self.first_id + index % self.n_codebooks * self.entries
        return range(first, first + self.entries)


def _with_kind(settings: Any) -> Any:
    """Settings that name no kind are those of a codec of our own."""
    return {"kind": "fsq"} | dict(settings) if isinstance(settings, Mapping) else settings


AnyImageCodecConfig: TypeAlias = Annotated[
    Annotated[ImageCodecConfig | JanusVQConfig, Field(discriminator="kind")], BeforeValidator(_with_kind)
]
AnySpeechCodecConfig: TypeAlias = Annotated[
    Annotated[SpeechCodecConfig | MimiConfig, Field(discriminator="kind")], BeforeValidator(_with_kind)
]
