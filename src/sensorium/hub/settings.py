"""Settings of the published families, read into ours and written from ours.

Every key that changes what the model computes is honoured or refused; the rest (dropouts, initialisation, caching)
cannot change a logit. Defaults of absent keys are those of the family's own configuration class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sensorium.config import TransformerConfig
from sensorium.errors import ConfigError
from sensorium.hub.rope import read_rope, write_rope

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "quick_gelu": "gelu_quick",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_ACTIVATION_NAMES = {
    "gelu": "gelu",
    "gelu_tanh": "gelu_new",
    "gelu_quick": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
}

# Keys that would change the maths in ways we do not compute, and the values that leave it alone.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "position_embedding_type": (None, "absolute", "rope"),
    "is_decoder": (None, False),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
    "scale_attn_by_inverse_layer_idx": (None, False),
    "pruned_heads": (None, {}),
    "alibi": (None, False),
    "parallel_attn": (None, False),
    "num_experts": (None, 0, 1),
    "num_local_experts": (None, 0, 1),
    "logit_scale": (None, 1, 1.0),
    "logits_scaling": (None, 1, 1.0),
    "final_logit_softcapping": (None, 0),
    "attn_logit_softcapping": (None, 0),
    "query_pre_attn_scalar": (None,),
    "attention_multiplier": (None,),
    "embedding_multiplier": (None, 1, 1.0),
    "residual_multiplier": (None, 1, 1.0),
    "embedding_size": (None,),
    "rope_interleaved": (None, False),
    "no_rope_layers": (None, []),
    "attention_chunk_size": (None,),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """A Hugging Face `config.json`, read with errors that name the file and the key.

    `understood` are keys that are refused elsewhere, and that this family means something by.
    """

    raw: Mapping[str, Any]
    where: str
    understood: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, neutral in _REFUSED.items():
            if key not in self.understood and self.raw.get(key) not in neutral:
                raise ConfigError(f"{self.where}: {key} = {self.raw[key]!r} is not supported")

    def need(self, *names: str) -> Any:
        """The value under the first name present. Raises `ConfigError` when there is none."""
        for name in names:
            if self.raw.get(name) is not None:
                return self.raw[name]
        raise ConfigError(f"{self.where}: {names[0]!r} is required but missing")

    def get(self, name: str, default: Any) -> Any:
        """The value, or the default where it is absent or null."""
        value = self.raw.get(name)
        return default if value is None else value

    def activation(self, name: str, default: str) -> str:
        """Our name of an activation."""
        value = self.get(name, default)
        if value not in _ACTIVATIONS:
            raise ConfigError(f"{self.where}: {name} {value!r} is not supported (only {', '.join(_ACTIVATIONS)})")
        return _ACTIVATIONS[value]

    def whole(self, *names: str) -> int:
        """A whole number above zero that other settings are computed from."""
        value = self.need(*names)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{self.where}: {names[0]} = {value!r} must be a whole number above 0")
        return value


def read_llama(found: Settings) -> dict[str, Any]:
    """Llama 1, 2, 3 and 3.1."""
    if found.whole("hidden_size") % found.whole("num_attention_heads"):
        raise ConfigError(f"{found.where}: hidden_size must be a multiple of num_attention_heads in a Llama")
    if not set(found.get("layer_types", ())) <= {"full_attention"}:
        raise ConfigError(f"{found.where}: layer_types {found.raw['layer_types']!r} is not supported in a Llama")
    bias = found.get("attention_bias", False)
    return _rms_body(found, max_positions=2048) | {
        "n_kv_heads": found.raw.get("num_key_value_heads"),
        "head_dim": found.raw.get("head_dim"),
        "qkv_bias": bias,
        "attention_output_bias": bias,
        "mlp_bias": found.get("mlp_bias", False),
    }


def read_mistral(found: Settings) -> dict[str, Any]:
    """Mistral: a window over every layer, or none."""
    window = found.raw.get("sliding_window", 4096)
    kinds = {"full_attention"} if window is None else {"sliding_attention"}
    if not set(found.get("layer_types", ())) <= kinds:
        raise ConfigError(f"{found.where}: layer_types must agree with sliding_window {window!r} in every layer")
    return _rms_body(found, max_positions=131_072) | {
        "n_kv_heads": found.raw.get("num_key_value_heads", 8),
        "head_dim": found.raw.get("head_dim"),
        "sliding_window": window,
    }


def read_qwen2(found: Settings) -> dict[str, Any]:
    """Qwen2 and 2.5: biases on queries, keys and values; windows over the upper layers."""
    return _rms_body(found, max_positions=32_768) | {
        "n_kv_heads": found.raw.get("num_key_value_heads", 32),
        "head_dim": found.raw.get("head_dim"),
        "qkv_bias": True,
        **_qwen_windows(found),
    }


def read_qwen3(found: Settings) -> dict[str, Any]:
    """Qwen3: a norm on every head's queries and keys, and a head size of its own."""
    bias = found.get("attention_bias", False)
    return _rms_body(found, max_positions=32_768) | {
        "n_kv_heads": found.raw.get("num_key_value_heads", 32),
        "head_dim": found.get("head_dim", 128),
        "qk_norm": True,
        "qkv_bias": bias,
        "attention_output_bias": bias,
        **_qwen_windows(found),
    }


def read_gpt2(found: Settings) -> dict[str, Any]:
    """GPT-2, whose keys go by two names each."""
    dim = found.whole("n_embd", "hidden_size")
    return {
        "vocab_size": found.need("vocab_size"),
        "dim": dim,
        "n_layers": found.need("n_layer", "num_hidden_layers"),
        "n_heads": found.need("n_head", "num_attention_heads"),
        "hidden_dim": found.get("n_inner", 4 * dim),
        "max_positions": found.need("n_positions", "max_position_embeddings"),
        "positions": "learned",
        "norm": "layer",
        "norm_eps": found.get("layer_norm_epsilon", 1e-5),
        "activation": found.activation("activation_function", "gelu_new"),
        "gated_mlp": False,
        "qkv_bias": True,
        "attention_output_bias": True,
        "mlp_bias": True,
        "attention_scale": None if found.get("scale_attn_weights", True) else 1.0,
        "tie_embeddings": found.get("tie_word_embeddings", True),
        "dropout": found.get("resid_pdrop", 0.1),
        "attention_dropout": found.get("attn_pdrop", 0.1),
    }


def read_bert(found: Settings) -> dict[str, Any]:
    """BERT with its masked-language-model head."""
    return {
        "vocab_size": found.need("vocab_size"),
        "dim": found.need("hidden_size"),
        "n_layers": found.need("num_hidden_layers"),
        "n_heads": found.need("num_attention_heads"),
        "hidden_dim": found.need("intermediate_size"),
        "max_positions": found.get("max_position_embeddings", 512),
        "positions": "learned",
        "norm": "layer",
        "norm_placement": "post",
        "norm_eps": found.get("layer_norm_eps", 1e-12),
        "activation": found.activation("hidden_act", "gelu"),
        "gated_mlp": False,
        "qkv_bias": True,
        "attention_output_bias": True,
        "mlp_bias": True,
        "causal": False,
        "embedding_norm": True,
        "n_token_types": found.get("type_vocab_size", 2),
        "tie_embeddings": found.get("tie_word_embeddings", True),
        "head_transform": True,
        "head_bias": True,
        "dropout": found.get("hidden_dropout_prob", 0.1),
        "attention_dropout": found.get("attention_probs_dropout_prob", 0.1),
    }


def write_llama(config: TransformerConfig) -> dict[str, Any]:
    """Llama's spelling."""
    return _write_rms_body(config) | {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}


def write_mistral(config: TransformerConfig) -> dict[str, Any]:
    """Mistral's spelling."""
    return _write_rms_body(config) | {"sliding_window": config.sliding_window}


def write_qwen2(config: TransformerConfig) -> dict[str, Any]:
    """Qwen2's spelling."""
    return _write_rms_body(config) | _write_qwen_windows(config)


def write_qwen3(config: TransformerConfig) -> dict[str, Any]:
    """Qwen3's spelling."""
    return _write_rms_body(config) | {"attention_bias": config.qkv_bias} | _write_qwen_windows(config)


def write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    """GPT-2's spelling."""
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.dim,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.hidden_dim,
        "n_positions": config.max_positions,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": _ACTIVATION_NAMES[config.activation],
        "scale_attn_weights": config.attention_scale is None,
        "tie_word_embeddings": config.tie_embeddings,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
    }


def write_bert(config: TransformerConfig) -> dict[str, Any]:
    """BERT's spelling."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.hidden_dim,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.n_token_types,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": _ACTIVATION_NAMES[config.activation],
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
    }


def _rms_body(found: Settings, *, max_positions: int) -> dict[str, Any]:
    """What Llama, Mistral and Qwen share."""
    context = found.whole("max_position_embeddings") if "max_position_embeddings" in found.raw else max_positions
    return {
        "vocab_size": found.need("vocab_size"),
        "dim": found.need("hidden_size"),
        "n_layers": found.whole("num_hidden_layers"),
        "n_heads": found.need("num_attention_heads"),
        "hidden_dim": found.need("intermediate_size"),
        "max_positions": context,
        "norm_eps": found.get("rms_norm_eps", 1e-6),
        "activation": found.activation("hidden_act", "silu"),
        "tie_embeddings": found.get("tie_word_embeddings", False),
        "attention_dropout": found.get("attention_dropout", 0.0),
        **read_rope(found.raw, context, found.where),
    }


def _write_rms_body(config: TransformerConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_size,
        "intermediate_size": config.hidden_dim,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": _ACTIVATION_NAMES[config.activation],
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": config.attention_dropout,
        **write_rope(config),
    }


def _qwen_windows(found: Settings) -> dict[str, Any]:
    """Which layers slide: those listed in `layer_types`, or those from `max_window_layers` up."""
    layers = found.whole("num_hidden_layers")
    window = found.raw.get("sliding_window", 4096) if found.get("use_sliding_window", False) else None
    first = found.get("max_window_layers", 28)
    kinds = found.raw.get("layer_types")
    if kinds is None:
        kinds = ["sliding_attention" if window is not None and i >= first else "full_attention" for i in range(layers)]
    if not set(kinds) <= {"full_attention", "sliding_attention"} or len(kinds) != layers:
        raise ConfigError(
            f"{found.where}: layer_types must list full_attention or sliding_attention for each of {layers} layers"
        )
    sliding = tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")
    if not sliding:
        return {}
    if window is None:
        raise ConfigError(f"{found.where}: layer_types asks for sliding_attention, but no sliding_window is in use")
    return {"sliding_window": window, "sliding_layers": sliding if len(sliding) < layers else None}


def _write_qwen_windows(config: TransformerConfig) -> dict[str, Any]:
    if config.sliding_window is None:
        return {"use_sliding_window": False}
    sliding = [config.window_of(layer) is not None for layer in range(config.n_layers)]
    return {
        "use_sliding_window": True,
        "sliding_window": config.sliding_window,
        "max_window_layers": sliding.index(True) if True in sliding else config.n_layers,
        "layer_types": ["sliding_attention" if slides else "full_attention" for slides in sliding],
    }
