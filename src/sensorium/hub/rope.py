"""Rotary settings as Hugging Face spells them, old (`rope_theta`, `rope_scaling`) and new (`rope_parameters`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.config import RopeScaling, TransformerConfig
from sensorium.errors import ConfigError

_KEYS = {
    "default": set[str](),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "truncate",
    },
}
_REQUIRED = {"linear": ("factor",), "llama3": ("factor", "low_freq_factor", "high_freq_factor"), "yarn": ()}
_EVERYWHERE = {"type", "rope_type", "rope_theta", "partial_rotary_factor"}


def read_rope(settings: Mapping[str, Any], max_positions: int, where: str) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling` of ours from a Hugging Face configuration.

    Args:
        settings: the whole configuration.
        max_positions: its context, which stands in for an original context that is not given.
        where: its file, for errors.

    Raises:
        ConfigError: a kind of scaling, or a key of one, that would change the maths and that we do not know.
    """
    rope = settings.get("rope_scaling") or settings.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise ConfigError(f"{where}: rope settings must be an object, not {rope!r}")
    kind = _kind(rope, settings, where)
    theta = _given(rope, "rope_theta", _given(settings, "rope_theta", 10_000.0))
    if kind == "default":
        return {"rope_theta": theta, "rope_scaling": None}
    for key in _REQUIRED[kind]:
        if rope.get(key) is None:
            raise ConfigError(f"{where}: rope type {kind!r} needs {key!r}")
    if kind == "linear":
        return {"rope_theta": theta, "rope_scaling": {"kind": kind, "factor": rope["factor"]}}
    original = _given(settings, "original_max_position_embeddings", rope.get("original_max_position_embeddings"))
    scaling: dict[str, Any] = {
        "kind": kind,
        "factor": rope.get("factor"),
        "original_positions": original if original is not None else max_positions,
    }
    if kind == "llama3":
        scaling |= {key: rope[key] for key in ("low_freq_factor", "high_freq_factor")}
        if rope["low_freq_factor"] >= rope["high_freq_factor"]:
            raise ConfigError(f"{where}: rope type 'llama3' needs low_freq_factor below high_freq_factor")
        return {"rope_theta": theta, "rope_scaling": scaling}
    if scaling["factor"] is None:
        scaling["factor"] = max_positions / scaling["original_positions"]
    scaling |= {
        "beta_fast": rope.get("beta_fast") or 32.0,
        "beta_slow": rope.get("beta_slow") or 1.0,
        "attention_factor": rope.get("attention_factor"),
        "mscale": rope.get("mscale"),
        "mscale_all_dim": rope.get("mscale_all_dim"),
        "truncate": _given(rope, "truncate", True),
    }
    return {"rope_theta": theta, "rope_scaling": scaling}


def write_rope(config: TransformerConfig) -> dict[str, Any]:
    """The published spelling, which every version of transformers reads."""
    settings: dict[str, Any] = {"rope_theta": config.rope_theta}
    scaling = config.rope_scaling
    if scaling is None:
        return settings
    values = scaling.model_dump() | {"original_max_position_embeddings": scaling.original_positions}
    kept = {key: values[key] for key in sorted(_KEYS[scaling.kind]) if values[key] is not None}
    return settings | {"rope_scaling": {"rope_type": scaling.kind, **kept}}


def relevant_scaling(scaling: RopeScaling | None) -> RopeScaling | None:
    """The same scaling without settings that its kind never looks at."""
    if scaling is None:
        return None
    names = {"kind"} | {
        key.replace("original_max_position_embeddings", "original_positions") for key in _KEYS[scaling.kind]
    }
    return RopeScaling(**scaling.model_dump(include=names))


def _kind(rope: dict[str, Any], settings: Mapping[str, Any], where: str) -> str:
    """Which scaling it is, once every key that comes with it is known to be one we honour."""
    for source in (rope, settings):
        if source.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise ConfigError(
                f"{where}: partial_rotary_factor {source['partial_rotary_factor']!r} is not supported (only 1)"
            )
    kind = rope.get("rope_type", rope.get("type", "default"))
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ConfigError(f"{where}: rope type {kind!r} is not supported (only {', '.join(_KEYS)})")
    unknown = sorted(key for key, value in rope.items() if value is not None and key not in _KEYS[kind] | _EVERYWHERE)
    if unknown:
        raise ConfigError(f"{where}: rope type {kind!r} with {unknown[0]!r} is not supported")
    return kind


def _given(settings: Mapping[str, Any], key: str, default: Any) -> Any:
    value = settings.get(key)
    return default if value is None else value
