"""Logits equal those of `transformers` for every family and every variant of its settings, and for a reason each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from sensorium.config import ModelConfig, RopeScaling
from sensorium.hub.folder import Pretrained, load_pretrained
from sensorium.nn.omni import Omni

TOLERANCE = 1e-4
BREAKS = 1e-3

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 5.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "factor": 4.0}


def rope(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10_000.0} | settings | more}


def ramp(**more: Any) -> dict[str, Any]:
    """YaRN with heads wide enough, and waves short enough, for its ramp over channels to have several steps."""
    return {"head_dim": 32} | rope(YARN, rope_theta=10.0, **more)


# name: (family, settings of theirs, what to switch off in ours; the comparison must then fail)
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama grouped queries": ("llama", {}, {"n_kv_heads": 4}),
    "llama one key head": ("llama", {"num_key_value_heads": 1}, {"n_kv_heads": 4}),
    "llama as many key heads": ("llama", {"num_key_value_heads": 4}, {"positions": "none"}),
    "llama tied": ("llama", {"tie_word_embeddings": True}, {"tie_embeddings": False}),
    "llama untied": ("llama", {"tie_word_embeddings": False}, {"tie_embeddings": True}),
    "llama attention bias": ("llama", {"attention_bias": True}, {"qkv_bias": False}),
    "llama attention output bias": ("llama", {"attention_bias": True}, {"attention_output_bias": False}),
    "llama mlp bias": ("llama", {"mlp_bias": True}, {"mlp_bias": False}),
    "llama norm": ("llama", {}, {"norm": "layer"}),
    "llama norm eps": ("llama", {"rms_norm_eps": 0.1}, {"norm_eps": 1e-6}),
    "llama causality": ("llama", {}, {"causal": False}),
    "llama placement of norms": ("llama", {}, {"norm_placement": "post"}),
    "llama gate": ("llama", {}, {"gated_mlp": False}),
    "llama theta": ("llama", rope({"rope_type": "default"}, rope_theta=500_000.0), {"rope_theta": 10_000.0}),
    "llama head size": ("llama", {"head_dim": 12}, {"attention_scale": 8**-0.5}),
    "llama silu": ("llama", {"hidden_act": "silu"}, {"activation": "gelu"}),
    "llama gelu exact": ("llama", {"hidden_act": "gelu"}, {"activation": "gelu_tanh"}),
    "llama gelu tanh": ("llama", {"hidden_act": "gelu_pytorch_tanh"}, {"activation": "gelu"}),
    "llama gelu quick": ("llama", {"hidden_act": "quick_gelu"}, {"activation": "gelu"}),
    "llama relu": ("llama", {"hidden_act": "relu"}, {"activation": "silu"}),
    "llama linear scaling": ("llama", rope(LINEAR), {"rope_scaling": None}),
    "llama linear factor": ("llama", rope(LINEAR), {"rope_scaling.factor": 2.0}),
    "llama 3.1 scaling": ("llama", rope(LLAMA3), {"rope_scaling": None}),
    "llama 3.1 factor": ("llama", rope(LLAMA3), {"rope_scaling.factor": 2.0}),
    "llama 3.1 low": ("llama", rope(LLAMA3), {"rope_scaling.low_freq_factor": 1.0}),
    "llama 3.1 high": ("llama", rope(LLAMA3), {"rope_scaling.high_freq_factor": 2.5}),
    "llama 3.1 context": ("llama", rope(LLAMA3), {"rope_scaling.original_positions": 64}),
    "llama yarn scaling": ("llama", rope(YARN), {"rope_scaling": None}),
    "llama yarn factor": ("llama", rope(YARN), {"rope_scaling.factor": 2.0}),
    "llama yarn context": ("llama", rope(YARN), {"rope_scaling.original_positions": 64}),
    "llama yarn fast": ("llama", ramp(beta_fast=2.0), {"rope_scaling.beta_fast": 32.0}),
    "llama yarn slow": ("llama", ramp(beta_fast=2.0, beta_slow=0.25), {"rope_scaling.beta_slow": 1.0}),
    "llama yarn attention": ("llama", rope(YARN, attention_factor=1.4), {"rope_scaling.attention_factor": None}),
    "llama yarn magnitude": ("llama", rope(YARN), {"rope_scaling.attention_factor": 1.0}),
    "llama yarn mscale": (
        "llama",
        rope(YARN, mscale=2.0, mscale_all_dim=0.5),
        {"rope_scaling.mscale": 1.0},
    ),
    "llama yarn mscale of all": (
        "llama",
        rope(YARN, mscale=2.0, mscale_all_dim=0.5),
        {"rope_scaling.mscale_all_dim": None},
    ),
    "llama yarn untruncated": ("llama", ramp(truncate=False, beta_fast=2.0), {"rope_scaling.truncate": True}),
    "mistral window": ("mistral", {"sliding_window": 6}, {"sliding_window": None}),
    "mistral window one wider": ("mistral", {"sliding_window": 6}, {"sliding_window": 7}),
    "mistral window one narrower": ("mistral", {"sliding_window": 6}, {"sliding_window": 5}),
    "mistral full": ("mistral", {}, {"sliding_window": 39}),
    "mistral head size": ("mistral", {"head_dim": 10}, {"attention_scale": 8**-0.5}),
    "mistral tied": ("mistral", {"tie_word_embeddings": True, "sliding_window": 9}, {"tie_embeddings": False}),
    "mistral one key head": ("mistral", {"num_key_value_heads": 1}, {"n_kv_heads": 4}),
    "mistral yarn": ("mistral", rope(YARN), {"rope_scaling": None}),
    "qwen2 bias": ("qwen2", {}, {"qkv_bias": False}),
    "qwen2 grouped queries": ("qwen2", {}, {"n_kv_heads": 4}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}, {"tie_embeddings": False}),
    "qwen2 untied": ("qwen2", {"tie_word_embeddings": False}, {"tie_embeddings": True}),
    "qwen2 upper window": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        {"sliding_layers": None},
    ),
    "qwen2 window": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0},
        {"sliding_window": None},
    ),
    "qwen2 window unused": ("qwen2", {"sliding_window": 5, "max_window_layers": 0}, {"sliding_window": 5}),
    "qwen2 listed window": (
        "qwen2",
        {
            "use_sliding_window": True,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        {"sliding_layers": (1, 2)},
    ),
    "qwen2 yarn": ("qwen2", rope(YARN), {"rope_scaling": None}),
    "qwen3 norm of heads": ("qwen3", {}, {"qk_norm": False}),
    "qwen3 head size": ("qwen3", {}, {"attention_scale": 8**-0.5}),
    "qwen3 bias": ("qwen3", {"attention_bias": True}, {"qkv_bias": False}),
    "qwen3 output bias": ("qwen3", {"attention_bias": True}, {"attention_output_bias": False}),
    "qwen3 grouped queries": ("qwen3", {}, {"n_kv_heads": 4}),
    "qwen3 norm eps": ("qwen3", {"rms_norm_eps": 0.1}, {"norm_eps": 1e-6}),
    "qwen3 tied": ("qwen3", {"tie_word_embeddings": True}, {"tie_embeddings": False}),
    "qwen3 upper window": (
        "qwen3",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2},
        {"sliding_window": None, "sliding_layers": None},
    ),
    "qwen3 theta": ("qwen3", rope({"rope_type": "default"}, rope_theta=1e6), {"rope_theta": 10_000.0}),
    "qwen3 yarn": ("qwen3", rope(YARN), {"rope_scaling": None}),
    "gpt2 positions": ("gpt2", {}, {"positions": "none"}),
    "gpt2 tied": ("gpt2", {}, {"tie_embeddings": False}),
    "gpt2 untied": ("gpt2", {"tie_word_embeddings": False}, {"tie_embeddings": True}),
    "gpt2 attention bias": ("gpt2", {}, {"qkv_bias": False}),
    "gpt2 attention output bias": ("gpt2", {}, {"attention_output_bias": False}),
    "gpt2 mlp bias": ("gpt2", {}, {"mlp_bias": False}),
    "gpt2 norm": ("gpt2", {}, {"norm": "rms"}),
    "gpt2 norm eps": ("gpt2", {"layer_norm_epsilon": 0.1}, {"norm_eps": 1e-5}),
    "gpt2 causality": ("gpt2", {}, {"causal": False}),
    "gpt2 placement of norms": ("gpt2", {}, {"norm_placement": "post"}),
    "gpt2 inner width": ("gpt2", {"n_inner": 40}, {"activation": "relu"}),
    "gpt2 unscaled": ("gpt2", {"scale_attn_weights": False}, {"attention_scale": None}),
    "gpt2 upcast": ("gpt2", {"reorder_and_upcast_attn": True}, {"attention_scale": 1.0}),
    "gpt2 gelu tanh": ("gpt2", {"activation_function": "gelu_new"}, {"activation": "gelu"}),
    "gpt2 gelu exact": ("gpt2", {"activation_function": "gelu"}, {"activation": "gelu_tanh"}),
    "gpt2 gelu quick": ("gpt2", {"activation_function": "quick_gelu"}, {"activation": "gelu"}),
    "gpt2 relu": ("gpt2", {"activation_function": "relu"}, {"activation": "gelu"}),
    "bert directions": ("bert", {}, {"causal": True}),
    "bert positions": ("bert", {}, {"positions": "none"}),
    "bert token types": ("bert", {}, {"n_token_types": 0}),
    "bert norm of embeddings": ("bert", {}, {"embedding_norm": False}),
    "bert norm": ("bert", {}, {"norm": "rms"}),
    "bert norm eps": ("bert", {"layer_norm_eps": 0.1}, {"norm_eps": 1e-12}),
    "bert placement of norms": ("bert", {}, {"norm_placement": "pre"}),
    "bert tied": ("bert", {}, {"tie_embeddings": False}),
    "bert untied": ("bert", {"tie_word_embeddings": False}, {"tie_embeddings": True}),
    "bert head transform": ("bert", {}, {"head_transform": False}),
    "bert head bias": ("bert", {}, {"head_bias": False}),
    "bert attention bias": ("bert", {}, {"qkv_bias": False}),
    "bert attention output bias": ("bert", {}, {"attention_output_bias": False}),
    "bert mlp bias": ("bert", {}, {"mlp_bias": False}),
    "bert gelu exact": ("bert", {"hidden_act": "gelu"}, {"activation": "gelu_tanh"}),
    "bert gelu tanh": ("bert", {"hidden_act": "gelu_new"}, {"activation": "gelu"}),
    "bert relu": ("bert", {"hidden_act": "relu"}, {"activation": "gelu"}),
}


def switched(pretrained: Pretrained, changes: dict[str, Any]) -> Omni:
    """The same weights under other settings; what the settings add is neutral, what they drop is left out."""
    decoder = pretrained.config.decoder
    flat = {key: value for key, value in changes.items() if "." not in key}
    inner = {key.partition(".")[2]: value for key, value in changes.items() if "." in key}
    if inner:
        assert decoder.rope_scaling is not None
        flat["rope_scaling"] = RopeScaling(**(decoder.rope_scaling.model_dump() | inner))
    model = Omni(ModelConfig(decoder=decoder.model_copy(update=flat))).eval()
    weights = pretrained.model.state_dict()
    fresh = torch.Generator().manual_seed(11)
    state = {}
    for name, blank in model.state_dict().items():
        if name in weights and weights[name].shape == blank.shape:
            state[name] = weights[name]
        elif name in weights:  # more key heads than stored: each new one gets nothing of its own
            state[name] = torch.zeros(blank.shape)
            state[name][: len(weights[name])] = weights[name]
        else:
            state[name] = torch.ones(blank.shape) if "norm" in name and "weight" in name else torch.zeros(blank.shape)
    if changes.get("tie_embeddings") is False:
        state["decoder.head.weight"] = 0.35 * torch.randn(state["decoder.head.weight"].shape, generator=fresh)
    if changes.get("tie_embeddings") is True:
        state["decoder.head.weight"] = state["decoder.embeddings.token.weight"]
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_reference_until_the_setting_is_switched_off(
    case: str,
    tmp_path: Path,
    build: Callable[..., transformers.PreTrainedModel],
    telling_logits: Callable[..., Tensor],
    input_ids: Tensor,
    error: Callable[[Tensor, Tensor], float],
) -> None:
    family, settings, off = CASES[case]
    reference = build(family, **settings)
    expected = telling_logits(reference, input_ids)
    reference.save_pretrained(tmp_path)

    pretrained = load_pretrained(tmp_path)
    with torch.no_grad():
        assert error(pretrained.model.logits(input_ids), expected) < TOLERANCE
        without = switched(pretrained, off).logits(input_ids)
    assert error(without, expected) > BREAKS


def _published(config: dict[str, Any], *, key: str) -> dict[str, Any]:
    """`config.json` as checkpoints before transformers 5 spell it."""
    parameters = dict(config.pop("rope_parameters"))
    config["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {key: kind} | parameters
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    return config


@pytest.mark.parametrize("key", ["rope_type", "type"])
@pytest.mark.parametrize("scaling", [{"rope_type": "default"}, LINEAR, LLAMA3, YARN], ids=lambda s: s["rope_type"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_the_published_spelling_means_the_same(
    family: str,
    scaling: dict[str, Any],
    key: str,
    tmp_path: Path,
    build: Callable[..., transformers.PreTrainedModel],
    input_ids: Tensor,
    error: Callable[[Tensor, Tensor], float],
) -> None:
    reference = build(family, **rope(scaling, rope_theta=20_000.0))
    reference.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(_published(json.loads(path.read_text()), key=key)))

    with torch.no_grad():
        assert error(load_pretrained(tmp_path).model.logits(input_ids), reference(input_ids).logits) < TOLERANCE


def test_a_context_that_yarn_or_llama3_does_not_state_is_the_models_own(
    tmp_path: Path, build: Any, input_ids: Tensor, error: Any
) -> None:
    for scaling in (YARN, LLAMA3):
        parameters = {key: value for key, value in scaling.items() if key != "original_max_position_embeddings"}
        reference = build("llama", **rope(parameters, factor=4.0))
        reference.save_pretrained(tmp_path)
        path = tmp_path / "config.json"
        config = json.loads(path.read_text())
        config["rope_parameters"].pop("original_max_position_embeddings", None)
        path.write_text(json.dumps(config))
        with torch.no_grad():
            assert error(load_pretrained(tmp_path).model.logits(input_ids), reference(input_ids).logits) < TOLERANCE


def test_bert_with_segments_and_padding(
    tmp_path: Path,
    build: Callable[..., transformers.PreTrainedModel],
    input_ids: Tensor,
    error: Callable[[Tensor, Tensor], float],
) -> None:
    reference = build("bert", type_vocab_size=3)
    reference.save_pretrained(tmp_path)
    segments = torch.arange(input_ids.shape[1]).expand(input_ids.shape) // 15  # (batch, time): 0, 1, 2
    real = torch.ones_like(input_ids, dtype=torch.bool)
    real[1, 30:] = False
    decoder = load_pretrained(tmp_path).model.decoder
    with torch.no_grad():
        expected = reference(input_ids, token_type_ids=segments, attention_mask=real.long()).logits
        ours = decoder.logits(decoder(input_ids, padding=real, token_types=segments))
        assert error(ours[real], expected[real]) < TOLERANCE
        assert error(decoder.logits(decoder(input_ids, padding=real))[real], expected[real]) > BREAKS
        assert error(decoder.logits(decoder(input_ids, token_types=segments))[real], expected[real]) > BREAKS
