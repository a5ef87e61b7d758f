"""Settings of published encoders, read into ours: every key that changes what one computes is honoured or refused.

Defaults of absent keys are those of the family's own configuration class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.config import TransformerConfig, ViTConfig, WhisperConfig
from sensorium.errors import ConfigError
from sensorium.hub.settings import Settings


def read_vit(found: Settings) -> ViTConfig:
    """ViT. A picture's one vector is its class token, as its classifier takes it; the pooler is another head."""
    body = _vit_body(found, dim=768, image=224, patch=16, activation="gelu", eps=1e-12)
    return ViTConfig.parse(
        body | {"qkv_bias": found.get("qkv_bias", True), "class_token": True, "pooling": "class"}, found.where
    )


def read_clip_vision(found: Settings) -> ViTConfig:
    """CLIP's eyes: a norm before the blocks, and one after them for the class token alone."""
    body = _vit_body(found, dim=768, image=224, patch=32, activation="quick_gelu", eps=1e-5)
    own = {
        "patch_bias": False,
        "class_token": True,
        "embedding_norm": True,
        "final_norm": False,
        "pooling": "class",
        "pooled_norm": True,
    }
    return ViTConfig.parse(body | own, found.where)


def read_siglip_vision(found: Settings) -> ViTConfig:
    """SigLIP's eyes: no class token, and attention that pools (`vision_use_head`)."""
    body = _vit_body(found, dim=768, image=224, patch=16, activation="gelu_pytorch_tanh", eps=1e-6)
    pooling = "attention" if found.get("vision_use_head", True) else "none"
    return ViTConfig.parse(body | {"pooling": pooling}, found.where)


def read_resnet(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """ResNet, but for the size of its pictures, which only the front end knows."""
    found = Settings(raw, where, understood=("embedding_size",))
    _three_channels(found)
    activation = found.activation("hidden_act", "relu")
    if activation not in ("relu", "gelu", "silu"):
        raise ConfigError(f"{found.where}: hidden_act {found.raw['hidden_act']!r} is not supported in a ResNet")
    return {
        "stem": "imagenet",
        "stem_dim": found.get("embedding_size", 64),
        "dims": found.get("hidden_sizes", (256, 512, 1024, 2048)),
        "depths": found.get("depths", (3, 4, 6, 3)),
        "block": found.get("layer_type", "bottleneck"),
        "activation": activation,
        "downsample_in_first_stage": found.get("downsample_in_first_stage", False),
        "downsample_in_bottleneck": found.get("downsample_in_bottleneck", False),
    }


def read_whisper(raw: Mapping[str, Any], where: str) -> WhisperConfig:
    """Whisper's encoder. `scale_embedding` concerns the words of its decoder only."""
    found = Settings(raw, where, understood=("is_encoder_decoder",))
    return WhisperConfig.parse(
        {
            "n_mels": found.get("num_mel_bins", 80),
            "dim": _number(found, "d_model", 384),
            "n_layers": _number(found, "encoder_layers", 4),
            "n_heads": _number(found, "encoder_attention_heads", 6),
            "hidden_dim": _number(found, "encoder_ffn_dim", 1536),
            "max_frames": 2 * _number(found, "max_source_positions", 1500),
            "activation": found.activation("activation_function", "gelu"),
        },
        where,
    )


def read_clip_text(found: Settings) -> TransformerConfig:
    """CLIP's words: a causal transformer."""
    body = _text_body(found, dim=512, heads=8, hidden=2048, vocab=49_408, positions=77, activation="quick_gelu")
    return TransformerConfig.parse(body | {"norm_eps": found.get("layer_norm_eps", 1e-5)}, found.where)


def read_siglip_text(found: Settings) -> TransformerConfig:
    """SigLIP's words: a transformer that sees both ways."""
    body = _text_body(found, dim=768, heads=12, hidden=3072, vocab=32_000, positions=64, activation="gelu_pytorch_tanh")
    own = {"norm_eps": found.get("layer_norm_eps", 1e-6), "causal": False}
    return TransformerConfig.parse(body | own, found.where)


def part_of(raw: Mapping[str, Any], name: str, where: str) -> Settings:
    """The settings of one half of CLIP or SigLIP, which old files hold twice: the complete ones count."""
    Settings(raw, where)  # what is refused is refused above the halves as well
    own = raw.get(f"{name}_dict")
    own = raw.get(name) if own is None else own
    if not isinstance(own, Mapping | None):
        raise ConfigError(f"{where}: {name} must hold an object of settings, not {own!r}")
    return Settings(own or {}, f"{where}: {name}")


def _vit_body(found: Settings, *, dim: int, image: int, patch: int, activation: str, eps: float) -> dict[str, Any]:
    """What ViT, CLIP's eyes and SigLIP's share, with their own defaults."""
    _three_channels(found)
    width, heads = _number(found, "hidden_size", dim), _number(found, "num_attention_heads", 12)
    if found.raw.get("head_dim") not in (None, width // heads):
        raise ConfigError(f"{found.where}: head_dim {found.raw['head_dim']!r} must be hidden_size / heads")
    return {
        "image_size": _side(found, "image_size", image),
        "patch_size": _side(found, "patch_size", patch),
        "dim": width,
        "n_layers": _number(found, "num_hidden_layers", 12),
        "n_heads": heads,
        "hidden_dim": _number(found, "intermediate_size", 3072),
        "activation": found.activation("hidden_act", activation),
        "norm_eps": found.get("layer_norm_eps", eps),
    }


def _text_body(
    found: Settings, *, dim: int, heads: int, hidden: int, vocab: int, positions: int, activation: str
) -> dict[str, Any]:
    return {
        "vocab_size": _number(found, "vocab_size", vocab),
        "dim": _number(found, "hidden_size", dim),
        "n_layers": _number(found, "num_hidden_layers", 12),
        "n_heads": _number(found, "num_attention_heads", heads),
        "hidden_dim": _number(found, "intermediate_size", hidden),
        "max_positions": _number(found, "max_position_embeddings", positions),
        "positions": "learned",
        "norm": "layer",
        "activation": found.activation("hidden_act", activation),
        "gated_mlp": False,
        "qkv_bias": True,
        "attention_output_bias": True,
        "mlp_bias": True,
    }


def _three_channels(found: Settings) -> None:
    if found.get("num_channels", 3) != 3:
        raise ConfigError(f"{found.where}: num_channels = {found.raw['num_channels']!r}, but pictures have 3 here")


def _number(found: Settings, name: str, default: int) -> int:
    return found.whole(name) if found.raw.get(name) is not None else default


def _side(found: Settings, name: str, default: int) -> int:
    """The side of a square, given as a number or as a pair of equal ones."""
    value = found.get(name, default)
    sides = list(value) if isinstance(value, list | tuple) else [value]
    side = sides[0] if sides else None
    if not isinstance(side, int) or side <= 0 or any(other != side for other in sides):
        raise ConfigError(f"{found.where}: {name} = {value!r} must be a square")
    return side
