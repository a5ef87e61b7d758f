"""Settings of the one transformer."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from sensorium.config.base import Config, Layers, Positive, Size

Activation: TypeAlias = Literal["silu", "gelu", "gelu_tanh", "gelu_quick", "relu"]


class RopeScaling(Config):
    """How rotary positions stretch beyond the context a model was pretrained on.

    `linear` divides positions by `factor`; `llama3` (Llama 3.1) stretches low frequencies only; `yarn`
    (Peng et al. 2023, arXiv:2309.00071) interpolates by wavelength and rescales attention.
    """

    kind: Literal["linear", "llama3", "yarn"]
    factor: float = Field(gt=0)
    original_positions: Positive | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    @model_validator(mode="after")
    def _needs_original(self) -> Self:
        if self.kind != "linear" and self.original_positions is None:
            raise ValueError(f"rope scaling {self.kind!r} needs original_positions")
        return self


class TransformerConfig(Config):
    """Settings of the one transformer: GPT-2, Llama, Mistral, Qwen2/3, BERT and the 2017 original are values of these.

    `dim` is the model's width, `hidden_dim` the MLP's inner width, `max_positions` the longest context.
    """

    vocab_size: Size
    dim: Size
    n_layers: Layers
    n_heads: Size
    n_kv_heads: Size | None = None
    head_dim: Size | None = None
    hidden_dim: Size
    max_positions: Size

    positions: Literal["rope", "learned", "sinusoidal", "none"] = "rope"
    rope_theta: float = Field(default=10_000.0, gt=0)
    rope_scaling: RopeScaling | None = None

    norm: Literal["rms", "layer"] = "rms"
    norm_placement: Literal["pre", "post"] = "pre"
    norm_eps: float = Field(default=1e-5, gt=0)

    activation: Activation = "silu"
    gated_mlp: bool = True

    qkv_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    causal: bool = True
    sliding_window: Positive | None = None
    sliding_layers: tuple[int, ...] | None = None
    attention_scale: float | None = Field(default=None, gt=0)

    embedding_scale: float = 1.0
    embedding_norm: bool = False
    n_token_types: int = Field(default=0, ge=0, le=2**24)
    tie_embeddings: bool = True
    head_transform: bool = False
    head_bias: bool = False

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    attention_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @property
    def kv_heads(self) -> int:
        """Number of key and value heads: fewer than `n_heads` is grouped-query, one is multi-query attention."""
        return self.n_kv_heads if self.n_kv_heads is not None else self.n_heads

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.head_dim if self.head_dim is not None else self.dim // self.n_heads

    def window_of(self, layer: int) -> int | None:
        """The sliding window of one layer (keys visible to a query, itself included), None for full attention."""
        if self.sliding_layers is not None and layer not in self.sliding_layers:
            return None
        return self.sliding_window

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.head_dim is None and self.dim % self.n_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of n_heads {self.n_heads} (set head_dim)")
        if self.n_heads % self.kv_heads:
            raise ValueError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.kv_heads}")
        if self.positions == "rope" and self.head_size % 2:
            raise ValueError(f"rotary positions need an even head size, not {self.head_size}")
        if self.positions == "sinusoidal" and self.dim % 2:
            raise ValueError(f"sinusoidal positions need an even dim, not {self.dim}")
        if self.sliding_layers is not None:
            outside = [layer for layer in self.sliding_layers if not 0 <= layer < self.n_layers]
            if outside:
                raise ValueError(f"sliding_layers {outside} lie outside 0..{self.n_layers - 1}")
            if self.sliding_window is None:
                raise ValueError("sliding_layers needs sliding_window")
        return self
