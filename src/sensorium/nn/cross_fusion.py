"""Cross fusion: gated layers between a decoder's blocks, which may stay frozen, read what is seen and heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from sensorium.config import ModelConfig, TransformerConfig
from sensorium.errors import ConfigError
from sensorium.nn.attention import Attention, KVCache, Visibility
from sensorium.nn.features import Features, check_remembered
from sensorium.nn.fusion import Fusion, States
from sensorium.nn.init import draw_weights
from sensorium.nn.linear import apply_linear
from sensorium.nn.mlp import MLP
from sensorium.nn.norms import make_norm
from sensorium.nn.positions import RotaryPositions, Rotation, rotate
from sensorium.nn.transformer import Transformer

_NOWHERE = 2**62  # where there is no feature: after every token


@dataclass(frozen=True)
class Memory:
    """The features of each sequence, as the layers attend to them.

    Attributes:
        keys: of each layer, (batch, kv heads, n, head size).
        values: likewise.
        at: (batch, n) where each feature stands, in the order of tokens; beyond all of them where there is none.
        document_ids: (batch, n) whose document it stands in, for packed batches.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    at: Tensor
    document_ids: Tensor | None = None

    def rows(self, index: Tensor) -> Memory:
        """That of the sequences at `index`."""
        return Memory(tuple(k[index] for k in self.keys), tuple(v[index] for v in self.values), self.at[index])

    def followed_by(self, later: Memory) -> Memory:
        """Both, one after the other."""
        keys = tuple(torch.cat(pair, dim=2) for pair in zip(self.keys, later.keys, strict=True))
        values = tuple(torch.cat(pair, dim=2) for pair in zip(self.values, later.values, strict=True))
        return Memory(keys, values, torch.cat((self.at, later.at), dim=1))


class CrossCache(KVCache):
    """A cache that also remembers what was seen and heard."""

    memory: Memory | None = None

    def rows(self, index: Tensor) -> Self:
        """See `KVCache.rows`."""
        other = super().rows(index)
        other.memory = None if self.memory is None else self.memory.rows(index)
        return other


class FeatureAttention(Attention):
    """Tokens attend to features: queries of the ones, keys and values of the others."""

    def remember(self, features: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor]:
        """Keys and values, each (batch, kv heads, n, head size), of features (batch, n, dim)."""
        keys = self._heads(apply_linear(self.k, features), self.kv_heads)
        values = self._heads(apply_linear(self.v, features), self.kv_heads)
        if self.k_norm is not None:
            keys = self.k_norm(keys)
        return keys if rotation is None else rotate(keys, rotation), values

    def read(
        self, hidden_states: Tensor, rotation: Rotation | None, keys: Tensor, values: Tensor, visible: Visibility
    ) -> Tensor:
        """What tokens (batch, time, dim) find in the features that are visible to them: (batch, time, dim)."""
        queries = self._heads(apply_linear(self.q, hidden_states), self.n_heads)  # (batch, heads, time, head size)
        if self.q_norm is not None:
            queries = self.q_norm(queries)
        if rotation is not None:
            queries = rotate(queries, rotation)
        attended = self._attend(queries, keys, values, visible)
        return apply_linear(self.o, attended.transpose(1, 2).flatten(2))


@dataclass(frozen=True)
class Sight:
    """Which features each token of a batch sees.

    Attributes:
        visible: as a mask (batch, 1, time, n). A token that sees none is shown all, and the result left out.
        reads: (batch, time, 1), 1 where a token sees any feature, else 0.
        rotation: that of the tokens' positions, where positions count.
    """

    visible: Visibility
    reads: Tensor
    rotation: Rotation | None


class CrossLayer(nn.Module):
    """Attention to the features, then an MLP, each through a gate `tanh(g)` that is closed at first (Flamingo)."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.feature_norm = make_norm(config.norm, config.dim, config.norm_eps)
        self.attention_norm = make_norm(config.norm, config.dim, config.norm_eps)
        self.attention = FeatureAttention(config, layer)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.mlp_norm = make_norm(config.norm, config.dim, config.norm_eps)
        self.mlp = MLP(config)
        self.mlp_gate = nn.Parameter(torch.zeros(1))
        self.dropout = nn.Dropout(config.dropout)

    def remember(self, features: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor]:
        """Keys and values of features (batch, n, dim); see `FeatureAttention.remember`."""
        return self.attention.remember(self.feature_norm(features), rotation)

    def forward(self, hidden_states: Tensor, keys: Tensor, values: Tensor, sight: Sight) -> Tensor:
        """(batch, time, dim) → the same; a token that sees no feature is left as it was, to the bit."""
        found = self.attention.read(self.attention_norm(hidden_states), sight.rotation, keys, values, sight.visible)
        hidden_states = hidden_states + self.attention_gate.tanh() * sight.reads * self.dropout(found)
        thought = self.dropout(self.mlp(self.mlp_norm(hidden_states)))
        summed: Tensor = hidden_states + self.mlp_gate.tanh() * sight.reads * thought
        return summed


class CrossFusion(Fusion):
    """The sequence holds one placeholder per picture or recording; before every `every`-th block a layer reads them.

    A token sees the features of all media of its own document that stand before it, or at its own place. Which of
    them comes first is told by rotary positions: tokens at their own, features at their placeholder's. Text alone is
    read as by the decoder alone. (Flamingo, Alayrac et al. 2022, arXiv:2204.14198.)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        decoder = config.decoder
        self.every = config.fusion.every
        if self.every > decoder.n_layers:
            raise ConfigError(f"fusion.every = {self.every} exceeds the decoder's {decoder.n_layers} layers")
        self.causal = decoder.causal
        self.layers = nn.ModuleList(CrossLayer(decoder, index) for index in range(decoder.n_layers // self.every))
        self.rotary = RotaryPositions(decoder) if decoder.head_size % 2 == 0 else None

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights behind closed gates: the decoder begins as it was."""
        draw_weights(self, generator, n_layers=len(self.layers))
        for layer in self.layers:
            assert isinstance(layer, CrossLayer)
            layer.attention_gate.zero_()
            layer.mlp_gate.zero_()

    def new_cache(
        self,
        config: TransformerConfig,
        features: Features | None,
        batch: int,
        capacity: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> KVCache:
        """See `Fusion.new_cache`."""
        kind = KVCache if features is None else CrossCache
        return kind(config, batch, capacity, dtype=dtype, device=device)

    def hidden_states(
        self,
        decoder: Transformer,
        input_ids: Tensor,
        features: Features | None,
        *,
        positions: Tensor | None = None,
        document_ids: Tensor | None = None,
        padding: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> States:
        """See `Fusion.hidden_states`."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device).expand(input_ids.shape)
        positions = places if positions is None else positions
        # In a cache a token is known by its position, in a packed batch by its place.
        order = places if cache is None else positions
        memory = None
        if features is not None and len(features):
            memory = self._memory(features, order, positions, document_ids)
        if cache is not None and not isinstance(cache, CrossCache):
            check_remembered(features, ())
        if isinstance(cache, CrossCache):
            if cache.memory is not None:
                memory = cache.memory if memory is None else cache.memory.followed_by(memory)
            cache.memory = memory

        before = None
        if memory is not None:
            known, sight = memory, self._sight(memory, order, positions, document_ids, decoder)

            def before(layer: int, hidden_states: Tensor) -> Tensor:
                index, rest = divmod(layer + 1, self.every)
                if rest:
                    return hidden_states
                read: Tensor = self.layers[index - 1](
                    hidden_states, known.keys[index - 1], known.values[index - 1], sight
                )
                return read

        states: Tensor = decoder(
            input_ids, positions=positions, document_ids=document_ids, padding=padding, cache=cache, before=before
        )
        return states

    def flops(self, decoder: Transformer, rows: int, time: int, *, learned: int, seen: int, heard: int) -> float:
        """See `Fusion.flops`; a token is taken to see half of its row's features."""
        alone = super().flops(decoder, rows, time, learned=learned, seen=seen, heard=heard)
        vectors = seen + heard
        if not vectors:
            return alone
        of_features = sum(
            matrix.weight.numel()
            for layer in self.layers
            if isinstance(layer, CrossLayer)
            for matrix in (layer.attention.k, layer.attention.v)
        )
        of_tokens = sum(each.weight.numel() for each in self.modules() if isinstance(each, nn.Linear)) - of_features
        width = decoder.config.n_heads * decoder.config.head_size
        attention = 2.0 * len(self.layers) * width * time * vectors
        return alone + 6.0 * (of_tokens * rows * time + of_features * vectors) + 3 * attention

    def _memory(self, features: Features, order: Tensor, positions: Tensor, document_ids: Tensor | None) -> Memory:
        """The features of each row side by side, as keys and values of every layer."""
        values, places, real = _by_row(features, len(order))  # (batch, n, dim), (batch, n), (batch, n)
        rotation = None
        if self.rotary is not None:
            rotation = self.rotary(positions.gather(1, places), values.dtype)
        pairs = [layer.remember(values, rotation) for layer in self.layers]  # type: ignore[operator] # of a ModuleList
        at = torch.where(real, order.gather(1, places), _NOWHERE)
        documents = None if document_ids is None else document_ids.gather(1, places)
        return Memory(tuple(keys for keys, _ in pairs), tuple(values for _, values in pairs), at, documents)

    def _sight(
        self, memory: Memory, order: Tensor, positions: Tensor, document_ids: Tensor | None, decoder: Transformer
    ) -> Sight:
        latest = order[:, :, None] if self.causal else torch.full_like(order, _NOWHERE - 1)[:, :, None]
        mask = memory.at[:, None, :] <= latest  # (batch, time, n)
        if document_ids is not None and memory.document_ids is not None:
            mask = mask & (memory.document_ids[:, None, :] == document_ids[:, :, None])
        reads = mask.any(-1, keepdim=True)
        dtype = decoder.embeddings.token.weight.dtype
        rotation = None if self.rotary is None else self.rotary(positions, dtype)
        return Sight(Visibility(mask=(mask | ~reads)[:, None]), reads.to(dtype), rotation)


def _by_row(features: Features, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features of each row, in order of their places, filled up: vectors (rows, n, dim), places and which are real."""
    order = (features.rows * (int(features.at.max()) + 1) + features.at).argsort(stable=True)
    owner = features.rows[order]
    counts = torch.bincount(owner, minlength=rows)
    rank = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    longest = int(counts.max())
    places = owner.new_zeros((rows, longest)).index_put((owner, rank), features.at[order])
    real = torch.arange(longest) < counts[:, None]
    device = features.values.device
    order, owner, rank = order.to(device), owner.to(device), rank.to(device)
    values = features.values.new_zeros((rows, longest, features.values.shape[1]))
    values = values.index_put((owner, rank), features.values[order])
    return values, places.to(device), real.to(device)
