"""Settings of what looks and listens: encoders, projectors, and the speech and vision parts they make up."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from sensorium.config.base import Config, Layers, Positive, Size
from sensorium.config.media import AudioConfig, ImageConfig, PlaceholderConfig
from sensorium.config.transformer import Activation, TransformerConfig


class ViTConfig(Config):
    """A vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929): ViT, CLIP's and SigLIP's are values of these.

    `stem` `conv` replaces the one patch product by convolutions of stride 2, which learn sooner from few pictures.
    `embedding_norm` is CLIP's norm before the blocks, `final_norm` the one after them; `pooling` says how a picture
    becomes one vector (`pooled_norm`: with a norm of its own), `drop_class` leaves the class token out of what a
    decoder is shown.
    """

    kind: Literal["vit"] = "vit"
    image_size: Size = 64
    patch_size: Size = 8
    dim: Size
    n_layers: Layers
    n_heads: Size
    hidden_dim: Size
    activation: Activation = "gelu"
    norm_eps: float = Field(default=1e-6, gt=0)
    stem: Literal["patch", "conv"] = "patch"
    patch_bias: bool = True
    qkv_bias: bool = True
    class_token: bool = False
    drop_class: bool = True
    embedding_norm: bool = False
    final_norm: bool = True
    pooling: Literal["none", "class", "mean", "attention"] = "mean"
    pooled_norm: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        if self.dim % self.n_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of n_heads {self.n_heads}")
        if self.pooling == "class" and not self.class_token:
            raise ValueError("pooling 'class' needs class_token")
        if self.stem == "conv" and self.patch_size & (self.patch_size - 1):
            raise ValueError(f"stem 'conv' halves: patch_size {self.patch_size} must be a power of 2")
        return self

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def n_features(self) -> int:
        """Feature vectors that a decoder is shown of one picture."""
        return self.grid**2 + (self.class_token and not self.drop_class)

    def blocks(self) -> TransformerConfig:
        """The blocks as settings of the one transformer (without tokens or positions of their own)."""
        return TransformerConfig(
            vocab_size=1,
            dim=self.dim,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            hidden_dim=self.hidden_dim,
            max_positions=self.grid**2 + 1,
            positions="none",
            norm="layer",
            norm_eps=self.norm_eps,
            activation=self.activation,
            gated_mlp=False,
            qkv_bias=self.qkv_bias,
            attention_output_bias=True,
            mlp_bias=True,
            causal=False,
        )


class ResNetConfig(Config):
    """A residual network (He et al. 2015, arXiv:1512.03385); ResNet-18 and -50 are values of these.

    `stem` `imagenet` is 7×7 with stride 2 and a max pool (a quarter of the size), `small` 3×3 without stride. The
    first stage keeps its size, each later one halves it.
    """

    kind: Literal["resnet"] = "resnet"
    image_size: Size = 64
    stem: Literal["imagenet", "small"] = "imagenet"
    stem_dim: Size = 64
    dims: Annotated[tuple[Size, ...], Field(min_length=1)] = (256, 512, 1024, 2048)
    depths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (3, 4, 6, 3)
    block: Literal["basic", "bottleneck"] = "bottleneck"
    activation: Literal["relu", "gelu", "silu"] = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.dims) != len(self.depths):
            raise ValueError(f"{len(self.dims)} dims and {len(self.depths)} depths: one of each per stage")
        if self.image_size % self.stride:
            raise ValueError(f"image_size {self.image_size} is not a multiple of the network's stride {self.stride}")
        return self

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.dims[-1]

    @property
    def stride(self) -> int:
        """Pixels of the picture along a side of one feature."""
        halved = len(self.dims) - (not self.downsample_in_first_stage)
        return (4 if self.stem == "imagenet" else 1) << halved

    @property
    def grid(self) -> int:
        """Features along a side."""
        return self.image_size // self.stride

    @property
    def n_features(self) -> int:
        """Feature vectors of one picture."""
        return self.grid**2


class PatchesConfig(Config):
    """No encoder at all: each patch's raw pixels are a feature (Fuyu), for `early` fusion."""

    kind: Literal["patches"] = "patches"
    image_size: Size = 64
    patch_size: Size = 8

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        return self

    @property
    def dim(self) -> int:
        """Numbers in a patch."""
        return 3 * self.patch_size**2

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def n_features(self) -> int:
        """Patches of one picture."""
        return self.grid**2


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


VisionEncoderConfig: TypeAlias = Annotated[ViTConfig | ResNetConfig | PatchesConfig, Field(discriminator="kind")]
SpeechEncoderConfig: TypeAlias = Annotated[
    WhisperConfig | ConvSpeechConfig | RecurrentSpeechConfig | FramesConfig, Field(discriminator="kind")
]


class ProjectorConfig(Config):
    """From an encoder's features to the decoder's width.

    `linear`; `mlp` (LLaVA's two layers); `pixel_shuffle` joins `factor`×`factor` neighbours of a picture, or `factor`
    neighbours in time, then is linear (Idefics3); `resampler` lets `n_queries` learned vectors attend to the features
    (Perceiver). `positions` adds a learned vector per place of the result (for encoders that do not tell where),
    `norm` normalises the features first, and `output_norm` the result.
    """

    kind: Literal["linear", "mlp", "pixel_shuffle", "resampler"] = "mlp"
    factor: Positive = 1
    n_queries: Positive = 16
    n_heads: Positive = 4
    hidden_dim: Size | None = None  # of the mlp; the decoder's width by default
    activation: Activation = "gelu"
    bias: bool = True
    norm: bool = False
    positions: bool = False
    output_norm: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.factor > 1 and self.kind != "pixel_shuffle":
            raise ValueError(f"factor {self.factor} belongs to pixel_shuffle, not to {self.kind!r}")
        return self

    def n_image(self, n_features: int, grid: int) -> int:
        """Vectors that the decoder is shown of a picture of `n_features` on a `grid`×`grid` square."""
        if self.kind == "resampler":
            return self.n_queries
        return (grid // self.factor) ** 2 if self.factor > 1 else n_features

    def n_audio(self, n_features: int) -> int:
        """Vectors that the decoder is shown of a recording of `n_features`."""
        return self.n_queries if self.kind == "resampler" else -(-n_features // self.factor)


class VisionConfig(Config):
    """Eyes: how pictures are prepared, encoded and shown to the decoder. Without a projector they only embed."""

    image: ImageConfig = ImageConfig()
    encoder: VisionEncoderConfig
    projector: ProjectorConfig | None = ProjectorConfig()
    placeholder: PlaceholderConfig = PlaceholderConfig(token="<|image|>", begin="<|image_begin|>", end="<|image_end|>")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        size = self.encoder.image_size
        if self.image.size != (size, size):
            raise ValueError(f"pictures are prepared as {self.image.size}, but the encoder reads {size}x{size}")
        projector = self.projector
        if projector is not None and projector.factor > 1:
            if self.encoder.grid % projector.factor:
                raise ValueError(f"factor {projector.factor} does not divide the encoder's grid of {self.encoder.grid}")
            if self.encoder.n_features != self.encoder.grid**2:
                raise ValueError("pixel_shuffle needs features on a square: set drop_class")
        return self

    @property
    def n_places(self) -> int:
        """Placeholders of one picture (of one tile, for tiles)."""
        if self.projector is None:
            return 0
        return self.projector.n_image(self.encoder.n_features, self.encoder.grid)


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


class FusionConfig(Config):
    """How what is seen and heard meets the words.

    `early` (data level): raw patches and frames, projected straight into the decoder's sequence. `feature`: encoders,
    projectors, one joint sequence. `cross` (Flamingo, Alayrac et al. 2022, arXiv:2204.14198): the sequence holds one
    placeholder per picture or recording, and gated cross-attention before every `every`-th block reads the features;
    the decoder can stay frozen. `decision` (late): the decoder reads words alone, words with pictures, and words with
    recordings, and the predictions are combined by learned gates or by an even `vote`.
    """

    strategy: Literal["early", "feature", "cross", "decision"] = "feature"
    every: Positive = 1
    combine: Literal["gates", "vote"] = "gates"


class EmbedderConfig(Config):
    """Vectors of words, pictures and recordings in one space of `dim`, compared by cosine (CLIP, SigLIP).

    `text_pool`: the mean of the decoder's states, its last one, or the one at the first `eos_id` (CLIP).
    """

    dim: Size
    text_pool: Literal["mean", "last", "eos"] = "mean"
    eos_id: Annotated[int, Field(ge=0)] | None = None
    text_bias: bool = False
    project_images: bool = True  # SigLIP's pooled vectors are in the space already
    logit_bias: bool = False  # SigLIP
