"""Small checkpoints made with `transformers`, every weight of them drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

VOCAB, TIME = 61, 40

_BODY = {"vocab_size": VOCAB, "num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32}
_CAUSAL = _BODY | {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
_NO_ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_TINY: dict[str, dict[str, Any]] = {
    "llama": _CAUSAL,
    "mistral": _CAUSAL | {"sliding_window": None},
    "qwen2": _CAUSAL,
    "qwen3": _CAUSAL | {"head_dim": 16},
    "gpt2": {"vocab_size": VOCAB, "n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 64},
    "bert": _BODY | {"intermediate_size": 48, "max_position_embeddings": 64},
}

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def _build(family: str, **settings: Any) -> transformers.PreTrainedModel:
    config = transformers.AutoConfig.for_model(family, **(_TINY[family] | _NO_ENDS | settings))
    kind = transformers.AutoModelForMaskedLM if family == "bert" else transformers.AutoModelForCausalLM
    model = kind.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            is_norm_weight = tensor.dim() == 1 and name.endswith("weight")
            tensor.copy_(1 + 0.4 * noise if is_norm_weight else 0.3 * noise if tensor.dim() == 1 else 0.35 * noise)
    return model.eval()


def _assert_telling(model: transformers.PreTrainedModel, input_ids: Tensor) -> Tensor:
    """The model's logits, once they are shown to depend on everything: wide, and from attention that chooses."""
    with torch.no_grad():
        output = model(input_ids, output_attentions=True)
    assert output.logits.std() >= 1
    for attention in output.attentions:  # (batch, heads, queries, keys)
        visible = (attention > 0).sum(-1, keepdim=True)
        distance = (attention - (attention > 0) / visible).abs().sum(-1) / 2
        assert distance[visible[..., 0] > 2].mean() > 0.2, "attention is close to uniform"
    return output.logits


@pytest.fixture(scope="session")
def build() -> Callable[..., transformers.PreTrainedModel]:
    """`build(family, **settings)`: a tiny reference model with every tensor randomised."""
    return _build


@pytest.fixture(scope="session")
def telling_logits() -> Callable[[transformers.PreTrainedModel, Tensor], Tensor]:
    """Logits of a reference model, refused unless their spread and its attention make a comparison meaningful."""
    return _assert_telling


@pytest.fixture(scope="session")
def input_ids() -> Tensor:
    """(2, TIME) token ids."""
    return torch.randint(0, VOCAB, (2, TIME), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def error() -> Callable[[Tensor, Tensor], float]:
    """The largest difference of two sets of logits, relative to the spread of the second."""
    return lambda ours, theirs: float((ours - theirs).abs().max() / theirs.std())
