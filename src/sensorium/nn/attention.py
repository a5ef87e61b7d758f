"""Scaled dot-product attention with many, grouped or single key heads, and the cache it reads while decoding."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import TransformerConfig
from sensorium.nn.linear import apply_linear
from sensorium.nn.norms import make_norm
from sensorium.nn.positions import Rotation, rotate


def learn_in_float32(attend: Callable[[Tensor, Tensor, Tensor], Tensor], *heads: Tensor) -> Tensor:
    """Attend with queries, keys and values; in float32 where a CPU is to learn through it in half precision.

    The backward pass of torch 2.13 takes two to five times as long there in bfloat16 as in float32.
    """
    queries, keys, values = heads
    half = values.device.type == "cpu" and values.dtype in (torch.bfloat16, torch.float16)
    if not half or not any(each.requires_grad for each in heads):
        return attend(queries, keys, values)
    with torch.autocast("cpu", enabled=False):
        return attend(queries.float(), keys.float(), values.float()).to(values.dtype)


class KVCache:
    """Keys and values of the tokens already read, one slot per position, for a batch of sequences.

    A token's slot is its position, so rows of different length live side by side: each writes where it stands,
    and a query sees only slots up to its own position. What lies beyond is stale and never read.

    Each layer has tensors of its own: one tensor for all would be copied whole at each write of a compiled step.
    """

    def __init__(
        self, config: TransformerConfig, batch: int, capacity: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (batch, config.kv_heads, capacity, config.head_size)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self.codes_in_a_row = torch.zeros(batch, dtype=torch.long, device=device)  # of a picture, up to the last token

    @property
    def capacity(self) -> int:
        """Number of slots; whoever decodes keeps it above every position in use."""
        return self.keys[0].shape[2]

    def write(self, layer: int, keys: Tensor, values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Store (batch, kv heads, time, head size) at `positions` (batch, time); return all slots."""
        slots = positions[:, None, :, None].expand_as(keys)
        return self.keys[layer].scatter_(2, slots, keys), self.values[layer].scatter_(2, slots, values)

    def rows(self, index: Tensor) -> Self:
        """A cache of the rows at `index` (any order, repeats allowed)."""
        return self._changed(lambda stored: stored[index], self.codes_in_a_row[index])

    def grown(self, capacity: int) -> Self:
        """A cache of more slots that holds what this one does."""
        wider = (0, 0, 0, capacity - self.capacity)
        return self._changed(lambda stored: F.pad(stored, wider), self.codes_in_a_row.clone())

    def beside(self, other: KVCache) -> KVCache:
        """A cache of the rows of both, these first."""
        capacity = max(self.capacity, other.capacity)
        one, two = self.grown(capacity), other.grown(capacity)
        one.codes_in_a_row = torch.cat((one.codes_in_a_row, two.codes_in_a_row))
        one.keys = [torch.cat(pair) for pair in zip(one.keys, two.keys, strict=True)]
        one.values = [torch.cat(pair) for pair in zip(one.values, two.values, strict=True)]
        return one

    def _changed(self, change: Callable[[Tensor], Tensor], codes_in_a_row: Tensor) -> Self:
        other = copy(self)
        other.codes_in_a_row = codes_in_a_row
        other.keys, other.values = [change(keys) for keys in self.keys], [change(values) for values in self.values]
        return other


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which keys each query may see: a boolean mask, (batch or 1, 1, queries, keys), or plain `causal` or full.

    With `lengths`, the last two hold within each document: all tokens of the batch in order, cut into these lengths.
    """

    mask: Tensor | None = None
    causal: bool = False
    lengths: tuple[int, ...] | None = None


def visibility(
    config: TransformerConfig,
    window: int | None,
    positions: Tensor,
    *,
    document_ids: Tensor | None = None,
    padding: Tensor | None = None,
    hidden: Tensor | None = None,
    extent: int | None = None,
) -> Visibility:
    """Causality, sliding window, document borders, padding and what is hidden, in the cheapest form that holds them.

    Args:
        config: the model's settings (`causal`).
        window: keys visible to a query, itself included; None for all.
        positions: (batch, time) positions of the queries.
        document_ids: (batch, time); tokens of different documents do not see each other. A document is contiguous.
        padding: (batch, time), true where a token is real.
        hidden: (batch, keys), true where a key is seen by its own token alone.
        extent: number of cache slots when decoding; keys are then slots, and a slot is a position.
    """
    time = positions.shape[1]
    cached = extent is not None
    plain = padding is None and hidden is None and not cached
    if document_ids is not None and plain and _splits_documents(document_ids):
        lengths = _document_lengths(document_ids)
        if window is None or max(lengths) <= window:
            return Visibility(causal=config.causal, lengths=lengths)
    if window is not None and (extent or time) <= window:
        window = None
    if document_ids is None and window is None and plain:
        return Visibility(causal=config.causal and time > 1)

    if cached:
        queries, keys = positions[:, :, None], torch.arange(extent or 0, device=positions.device)[None, None, :]
    else:
        index = torch.arange(time, device=positions.device)
        queries, keys = index[None, :, None], index[None, None, :]
    mask = torch.ones((1, 1, 1), dtype=torch.bool, device=positions.device)
    if config.causal:
        mask = mask & (keys <= queries)
    if window is not None:
        mask = mask & (keys > queries - window)
        if not config.causal:
            mask = mask & (keys < queries + window)
    if document_ids is not None:
        mask = mask & (document_ids[:, :, None] == document_ids[:, None, :])
    if padding is not None:
        # A padding query sees itself: a row with nothing to see would turn into NaN.
        mask = (mask & padding[:, None, :]) | torch.eye(time, dtype=torch.bool, device=mask.device)
    if hidden is not None:
        mask = (mask & ~hidden[:, None, :]) | (keys == queries)
    return Visibility(mask=mask[:, None])


def _splits_documents(document_ids: Tensor) -> bool:
    """Whether attention goes document by document, which on a CPU costs the squares of their lengths, not of a row's.

    A GPU would wait for the lengths and then be fed crumbs, and a compiled graph cannot depend on them: both mask.
    """
    return document_ids.device.type == "cpu" and not torch.compiler.is_compiling()


def _document_lengths(document_ids: Tensor) -> tuple[int, ...]:
    """Lengths of the runs of equal ids, row after row."""
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    borders = begins.flatten().nonzero().squeeze(1)
    ends = torch.cat((borders[1:], borders.new_tensor([document_ids.numel()])))
    return tuple((ends - borders).tolist())


class Attention(nn.Module):
    """Attention of one layer (Vaswani et al. 2017; GQA, Ainslie et al. 2023). (batch, time, dim) → the same."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.kv_heads, self.head_size = config.n_heads, config.kv_heads, config.head_size
        self.scale = config.attention_scale
        self.dropout = config.attention_dropout
        inner, kv_inner = self.n_heads * self.head_size, self.kv_heads * self.head_size
        self.q = nn.Linear(config.dim, inner, bias=config.qkv_bias)
        self.k = nn.Linear(config.dim, kv_inner, bias=config.qkv_bias)
        self.v = nn.Linear(config.dim, kv_inner, bias=config.qkv_bias)
        self.o = nn.Linear(inner, config.dim, bias=config.attention_output_bias)
        self.q_norm = make_norm(config.norm, self.head_size, config.norm_eps) if config.qk_norm else None
        self.k_norm = make_norm(config.norm, self.head_size, config.norm_eps) if config.qk_norm else None

    def forward(
        self,
        hidden_states: Tensor,
        positions: Tensor,
        rotation: Rotation | None,
        visible: Visibility,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Attend within a batch, or to a cache.

        Args:
            hidden_states: (batch, time, dim).
            positions: (batch, time), where the cache stores the new keys and values.
            rotation: the rotation of `positions`, for rotary models.
            visible: which keys each query may see.
            cache: earlier keys and values.
        """
        batch, time, _ = hidden_states.shape
        queries = self._heads(apply_linear(self.q, hidden_states), self.n_heads)  # (batch, heads, time, head size)
        keys = self._heads(apply_linear(self.k, hidden_states), self.kv_heads)  # (batch, kv heads, time, head size)
        values = self._heads(apply_linear(self.v, hidden_states), self.kv_heads)
        if self.q_norm is not None and self.k_norm is not None:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        if cache is not None:
            keys, values = cache.write(self.layer, keys, values, positions)
        # (batch, heads, time, head size)
        attended = learn_in_float32(partial(self._attend, visible=visible), queries, keys, values)
        return apply_linear(self.o, attended.transpose(1, 2).reshape(batch, time, -1))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, visible: Visibility) -> Tensor:
        if visible.lengths is not None:
            return self._attend_by_document(queries, keys, values, visible)
        return F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=visible.mask,
            is_causal=visible.causal,
            dropout_p=self.dropout if self.training else 0.0,
            scale=self.scale,
            enable_gqa=self.n_heads != self.kv_heads,
        )

    def _attend_by_document(self, queries: Tensor, keys: Tensor, values: Tensor, visible: Visibility) -> Tensor:
        assert visible.lengths is not None
        within = Visibility(causal=visible.causal)
        # Every (batch, heads, time, head size) becomes one (heads, length, head size) per document.
        documents = zip(*(_by_document(each, visible.lengths) for each in (queries, keys, values)), strict=True)
        attended = [self._attend(q[None], k[None], v[None], within)[0] for q, k, v in documents]
        tokens = torch.cat([each.transpose(0, 1) for each in attended])  # (batch * time, heads, head size)
        return tokens.view(queries.shape[0], queries.shape[2], *tokens.shape[1:]).transpose(1, 2)

    def _heads(self, projected: Tensor, heads: int) -> Tensor:
        return projected.view(*projected.shape[:2], heads, self.head_size).transpose(1, 2)


def _by_document(heads: Tensor, lengths: tuple[int, ...]) -> list[Tensor]:
    tokens = heads.transpose(1, 2).flatten(0, 1)  # (batch * time, heads, head size)
    return [each.transpose(0, 1) for each in torch.split(tokens, list(lengths))]
