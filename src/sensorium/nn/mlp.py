"""Position-wise MLPs, plain (`down(act(up(x)))`) or gated (SwiGLU, Shazeer 2020: `down(act(gate(x)) * up(x))`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import TransformerConfig
from sensorium.nn.linear import apply_linear


def quick_gelu(x: Tensor) -> Tensor:
    """The sigmoid approximation of GELU that OpenAI's CLIP uses: `x * sigmoid(1.702 x)`."""
    return x * torch.sigmoid(1.702 * x)


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of GELU that GPT-2 uses (Hendrycks & Gimpel 2016)."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "gelu_quick": quick_gelu,
    "relu": F.relu,
}


class MLP(nn.Module):
    """Two linear maps with an activation between, or three when gated. (batch, time, dim) → the same."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        bias = config.mlp_bias
        self.activation = ACTIVATIONS[config.activation]
        self.gate = nn.Linear(config.dim, config.hidden_dim, bias=bias) if config.gated_mlp else None
        self.up = nn.Linear(config.dim, config.hidden_dim, bias=bias)
        self.down = nn.Linear(config.hidden_dim, config.dim, bias=bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, time, dim) → the same."""
        up = apply_linear(self.up, hidden_states)  # (batch, time, hidden_dim)
        if self.gate is None:
            return apply_linear(self.down, self.activation(up))
        return apply_linear(self.down, self.activation(apply_linear(self.gate, hidden_states)) * up)
