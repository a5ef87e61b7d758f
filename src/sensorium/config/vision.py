"""Settings of the eyes: encoders of pictures, and the part of a model that they make up."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from sensorium.config.base import Config, Layers, Positive, Size
from sensorium.config.media import ImageConfig, PlaceholderConfig
from sensorium.config.projector import ProjectorConfig
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


VisionEncoderConfig: TypeAlias = Annotated[ViTConfig | ResNetConfig | PatchesConfig, Field(discriminator="kind")]


class VisionConfig(Config):
    """Eyes: how pictures are prepared, encoded and shown to the decoder. Without a projector they only embed.

    `grounding`: whether each feature also says, in the decoder's words, what stands at its place, and draws its box.
    """

    image: ImageConfig = ImageConfig()
    encoder: VisionEncoderConfig
    projector: ProjectorConfig | None = ProjectorConfig()
    placeholder: PlaceholderConfig = PlaceholderConfig(token="<|image|>", begin="<|image_begin|>", end="<|image_end|>")
    grounding: bool = False

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
        if self.grounding and self.encoder.n_features != self.encoder.grid**2:
            raise ValueError("grounding needs features on a square: set drop_class")
        if self.grounding and self.image.resize != "stretch":
            raise ValueError(f"grounding needs whole pictures, and {self.image.resize!r} moves boxes: set stretch")
        return self

    @property
    def n_places(self) -> int:
        """Placeholders of one picture (of one tile, for tiles)."""
        if self.projector is None:
            return 0
        return self.projector.n_image(self.encoder.n_features, self.encoder.grid)
