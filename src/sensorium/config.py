"""Typed, frozen, validated settings, saved beside the weights they describe."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sensorium.errors import ConfigError

Positive = typing.Annotated[int, Field(gt=0)]
# Sizes of a model: far beyond any that is built, so that a wrong digit in a file costs an error and not all memory.
Size = typing.Annotated[int, Field(gt=0, le=2**24)]
Layers = typing.Annotated[int, Field(gt=0, le=4096)]
Probability = typing.Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error that names the nearest valid one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def parse(cls, data: object, where: str) -> Self:
        """Validate plain data (parsed YAML or JSON).

        Args:
            data: a mapping of settings.
            where: what to call its origin in an error, such as a file name.

        Raises:
            ConfigError: one line that names the key, its value, and what is allowed.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_one_line(cls, error)}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate a JSON file. Raises `ConfigError` when it is missing, broken or invalid."""
        return cls.parse(read_json(path), str(path))


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

    activation: Literal["silu", "gelu", "gelu_tanh", "gelu_quick", "relu"] = "silu"
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


class ModelConfig(Config):
    """`config.json` of a model folder: one setting group per part of the model."""

    format: Literal["sensorium"] = "sensorium"
    version: Literal[1] = 1
    decoder: TransformerConfig


class SamplingConfig(Config):
    """How the next token is chosen; also `generation_config.json`. Temperature 0 is greedy.

    Penalties follow CTRL (`repetition_penalty`, 1 is off) and OpenAI's API (`presence_penalty` and
    `frequency_penalty`, 0 is off). `top_k` 0, `top_p` 1 and `min_p` 0 switch each filter off.
    """

    max_tokens: Positive | None = None
    temperature: float = Field(default=0.8, ge=0.0, le=100.0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    min_p: Probability = 0.0
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=100.0)
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    logit_bias: dict[int, float] = Field(default_factory=dict)
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    n: int = Field(default=1, ge=1, le=128)
    logprobs: int | None = Field(default=None, ge=0, le=20)


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises `ConfigError` that names the file, and the line where it breaks."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise ConfigError(f"{path} is not valid JSON: {error}") from None


def nearest(word: str, choices: typing.Iterable[str]) -> str:
    """A hint such as ` (did you mean 'dropout'?)` or, when nothing is close, ` (one of: …)`."""
    names = sorted(choices)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (one of: {', '.join(names)})"


def _one_line(model: type[BaseModel], error: ValidationError) -> str:
    """The first problem of a pydantic error, in one line, with the nearest valid key for an unknown one."""
    problems = error.errors(include_url=False)
    # A list one of whose items is wrong is also called too short.
    problems = [p for p in problems if p["type"] != "too_short" or len(problems) == 1] or problems
    # An unknown key usually explains the other complaints (a misspelt required key is also "missing").
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = [part for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    name = ".".join(str(part) for part in location) or "the whole"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        valid = _fields_at(model, location[:-1])
        return f"unknown key {name!r}{nearest(str(location[-1]), valid) if valid else ''}"
    if first["type"] == "missing":
        return f"{name!r} is required but missing{more}"
    reason = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], Mapping | list) or not location:
        return f"{name}: {reason}{more}" if location else f"{reason}{more}"
    return f"{name} = {first['input']!r}: {reason}{more}"


def _fields_at(model: type[BaseModel], path: list[int | str]) -> set[str]:
    """Names of the settings valid at a place inside a nested config."""
    models = [model]
    for step in path:
        if isinstance(step, int):
            continue
        fields = [found.model_fields[step].annotation for found in models if step in found.model_fields]
        # A step that is no field is the tag of a union: the models at hand already cover it.
        models = [inner for annotation in fields for inner in _models_in(annotation)] or models
    return {name for found in models for name in found.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for inner in typing.get_args(annotation):
            yield from _models_in(inner)
