"""Settings of published codecs, read into ours: every key that changes what one computes is honoured or refused.

Defaults of absent keys are those of the family's own configuration class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.config import JanusVQConfig, MimiConfig
from sensorium.errors import ConfigError
from sensorium.hub.rope import read_rope
from sensorium.hub.settings import Settings

USUAL_CODEBOOKS = 8  # of Mimi's 32: what Moshi speaks with

_MIMI_ALONE: dict[str, Any] = {
    "audio_channels": 1,
    "use_causal_conv": True,
    "pad_mode": "constant",
    "trim_right_ratio": 1.0,
    "use_conv_shortcut": False,
    "attention_bias": False,
    "hidden_act": "gelu",
}
_JANUS_ALONE: dict[str, Any] = {"in_channels": 3, "out_channels": 3, "double_latent": False}


def read_mimi(raw: Mapping[str, Any], where: str, codebooks: int | None = None) -> MimiConfig:
    """Mimi, of which the first `codebooks` are used, by default 8 or all that it has."""
    found = Settings(raw, where)
    _only(found, _MIMI_ALONE)
    dim, heads = _number(found, "hidden_size", 512), _number(found, "num_attention_heads", 8)
    code_dim, ratios = _number(found, "codebook_dim", 256), _numbers(found, "upsampling_ratios", (8, 6, 5, 4))
    _only(found, {"num_key_value_heads": heads}, absent={"num_key_value_heads": 8})
    _only(found, {"vector_quantization_hidden_dimension": code_dim}, absent={"codebook_dim": 256})
    if found.raw.get("head_dim") not in (None, dim // heads):
        raise ConfigError(f"{where}: head_dim {found.raw['head_dim']!r} must be hidden_size / heads")
    if code_dim == dim:
        raise ConfigError(f"{where}: codebooks as wide as hidden_size ({dim}) are not supported")
    rope = read_rope(raw, _number(found, "max_position_embeddings", 8000), where)
    if rope["rope_scaling"] is not None:
        raise ConfigError(f"{where}: rope scaling is not supported in Mimi")
    total = _number(found, "num_quantizers", 32)
    if codebooks is not None and codebooks > total:
        raise ConfigError(f"{where}: it has {total} codebooks, not {codebooks} (ask for fewer)")
    return MimiConfig.parse(
        {
            "sample_rate": found.get("sampling_rate", 24_000),
            "n_codebooks": min(USUAL_CODEBOOKS, total) if codebooks is None else codebooks,
            "n_semantic": found.get("num_semantic_quantizers", 1),
            "entries": found.get("codebook_size", 2048),
            "code_dim": code_dim,
            "dim": dim,
            "filters": found.get("num_filters", 64),
            "ratios": ratios,
            "residuals": found.get("num_residual_layers", 1),
            "kernel": found.get("kernel_size", 7),
            "last_kernel": found.get("last_kernel_size", 3),
            "residual_kernel": found.get("residual_kernel_size", 3),
            "dilation_growth": found.get("dilation_growth_rate", 2),
            "compress": found.get("compress", 2),
            "frame_stride": _frame_stride(found, ratios),
            "upsample_groups": found.get("upsample_groups", 512),
            "n_layers": found.get("num_hidden_layers", 8),
            "n_heads": heads,
            "hidden_dim": found.get("intermediate_size", 2048),
            "window": found.get("sliding_window", 250),
            "rope_theta": rope["rope_theta"],
            "norm_eps": found.get("norm_eps", 1e-5),
        },
        where,
    )


def read_janus_vq(found: Settings, *, grid: int | None = None) -> JanusVQConfig:
    """Janus's VQ model. `grid` are the codes along a side of a picture, where a whole Janus says so elsewhere."""
    _only(found, _JANUS_ALONE)
    multipliers = _numbers(found, "channel_multiplier", (1, 1, 2, 2, 4))
    side = (_number(found, "num_patches", 32) if grid is None else grid) << (len(multipliers) - 1)
    return JanusVQConfig.parse(
        {
            "size": (side, side),
            "dim": found.get("base_channels", 128),
            "multipliers": multipliers,
            "depth": found.get("num_res_blocks", 2),
            "latent_dim": found.get("latent_channels", 256),
            "entries": found.get("num_embeddings", 16_384),
            "code_dim": found.get("embed_dim", 8),
        },
        found.where,
    )


def _only(found: Settings, allowed: Mapping[str, Any], *, absent: Mapping[str, Any] | None = None) -> None:
    """Raise `ConfigError` where a setting has another value than the one that we compute.

    `absent` are values of settings that are not given, where those are not the allowed ones.
    """
    for key, value in allowed.items():
        given = found.get(key, (absent or {}).get(key, value))
        if given != value:
            raise ConfigError(f"{found.where}: {key} = {given!r} is not supported (only {value!r})")


_LOWEST_RATE, _HIGHEST_RATE = 0.001, 192_000  # a second


def _frame_stride(found: Settings, ratios: Sequence[int]) -> int:
    """Places of the transformer to a frame, as the rates of both are published."""
    hop = math.prod(ratios)
    sample_rate = _number(found, "sampling_rate", 24_000)
    if sample_rate > _HIGHEST_RATE:
        raise ConfigError(f"{found.where}: sampling_rate is above {_HIGHEST_RATE}")
    rate = found.get("frame_rate", found.get("_frame_rate", sample_rate / (2 * hop)))
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise ConfigError(f"{found.where}: frame_rate = {rate!r:.40} must be within {_LOWEST_RATE} to {_HIGHEST_RATE}")
    stride = int(math.ceil(sample_rate / hop) / rate)
    if stride < 2:
        raise ConfigError(
            f"{found.where}: frame_rate {rate} is not supported (only half of {sample_rate / hop:g} or less)"
        )
    return stride


def _number(found: Settings, name: str, default: int) -> int:
    return found.whole(name) if found.raw.get(name) is not None else default


def _numbers(found: Settings, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = found.get(name, default)
    given = value if isinstance(value, list | tuple) else ()
    if not given or not all(isinstance(number, int) and 0 < number < 2**16 for number in given) or len(given) > 16:
        raise ConfigError(f"{found.where}: {name} = {value!r} must be whole numbers above 0, no more than 16")
    return tuple(given)
