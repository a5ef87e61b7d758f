"""Normalisation over the last axis: layer norm (Ba et al. 2016) and RMS norm (Zhang & Sennrich 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """`x / sqrt(mean(x²) + eps) * weight`, computed in float32 whatever the input's dtype."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., dim) → the same."""
        scaled = F.rms_norm(hidden_states.float(), (hidden_states.shape[-1],), eps=self.eps)
        return self.weight * scaled.to(hidden_states.dtype)


def make_norm(kind: str, dim: int, eps: float) -> nn.Module:
    """A `rms` or `layer` norm over `dim` channels."""
    return RMSNorm(dim, eps) if kind == "rms" else nn.LayerNorm(dim, eps=eps)
