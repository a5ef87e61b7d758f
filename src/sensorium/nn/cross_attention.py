"""Attention of queries to something else than themselves: a few learned vectors that gather what a sequence holds."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.nn.attention import learn_in_float32
from sensorium.nn.linear import apply_linear


class CrossAttention(nn.Module):
    """Queries (n, queries, dim) attend to a context (n, places, dim) and become (n, queries, dim)."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tensor, real: Tensor | None = None) -> Tensor:
        """Attend to the places of the context that are `real` (n, places), or to all of them."""
        mask = None if real is None else real[:, None, None, :]  # (n, 1, 1, places)
        attended = learn_in_float32(
            partial(F.scaled_dot_product_attention, attn_mask=mask),
            self._heads(apply_linear(self.q, queries)),
            self._heads(apply_linear(self.k, context)),
            self._heads(apply_linear(self.v, context)),
        )  # (n, heads, queries, head size)
        return apply_linear(self.o, attended.transpose(1, 2).flatten(2))

    def _heads(self, projected: Tensor) -> Tensor:
        n, places, dim = projected.shape
        return projected.view(n, places, self.n_heads, dim // self.n_heads).transpose(1, 2)
