"""The one transformer: a decoder when causal, an encoder when not, by its settings any of the published families."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sensorium.config import TransformerConfig
from sensorium.errors import RequestError
from sensorium.nn.attention import Attention, KVCache, Visibility, visibility
from sensorium.nn.code_places import CodePlaces
from sensorium.nn.cross_entropy import head_cross_entropy
from sensorium.nn.init import draw_weights
from sensorium.nn.linear import apply_linear, apply_rows
from sensorium.nn.mlp import ACTIVATIONS, MLP
from sensorium.nn.norms import make_norm
from sensorium.nn.positions import RotaryPositions, Rotation, SinusoidalPositions

Interlude: TypeAlias = Callable[[int, Tensor], Tensor]
"""What happens to the hidden states (batch, time, dim) before the block of a given number."""


class Block(nn.Module):
    """Attention, then MLP, each with its residual; the norm stands before (pre) or after the sum (post)."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.pre = config.norm_placement == "pre"
        self.attention_norm = make_norm(config.norm, config.dim, config.norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = make_norm(config.norm, config.dim, config.norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden_states: Tensor,
        positions: Tensor,
        rotation: Rotation | None,
        visible: Visibility,
        cache: KVCache | None = None,
    ) -> Tensor:
        """(batch, time, dim) → the same; see `Attention.forward` for the rest."""
        if self.pre:
            attended = self.attention(self.attention_norm(hidden_states), positions, rotation, visible, cache)
            hidden_states = hidden_states + self.dropout(attended)
            summed: Tensor = hidden_states + self.dropout(self.mlp(self.mlp_norm(hidden_states)))
            return summed
        attended = self.attention(hidden_states, positions, rotation, visible, cache)
        hidden_states = self.attention_norm(hidden_states + self.dropout(attended))
        normed: Tensor = self.mlp_norm(hidden_states + self.dropout(self.mlp(hidden_states)))
        return normed


class Embeddings(nn.Module):
    """Token vectors, with learned or sinusoidal positions, token types and a norm where the settings ask for them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.scale = config.embedding_scale
        self.token = nn.Embedding(config.vocab_size, config.dim)
        self.position = nn.Embedding(config.max_positions, config.dim) if config.positions == "learned" else None
        self.token_type = nn.Embedding(config.n_token_types, config.dim) if config.n_token_types else None
        self.norm = make_norm(config.norm, config.dim, config.norm_eps) if config.embedding_norm else None
        self.dropout = nn.Dropout(config.dropout)
        self.sinusoidal = SinusoidalPositions(config) if config.positions == "sinusoidal" else None
        self.code_places: CodePlaces | None = None  # of a model that draws, where its settings ask for it

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        token_types: Tensor | None = None,
        features: Tensor | None = None,
        at: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Vectors of a batch, (batch, time, dim).

        Args:
            input_ids: (batch, time) token ids.
            positions: (batch, time).
            token_types: (batch, time) segment ids.
            features: (n, dim) vectors that take the place of tokens; they are not scaled as tokens are.
            at: (n,) their places, counted over the batch's rows one after the other.
            cache: what was read earlier.
        """
        hidden_states: Tensor = self.token(input_ids)  # (batch, time, dim)
        if self.scale != 1.0:
            hidden_states = hidden_states * self.scale
        if features is not None and at is not None:
            flat = hidden_states.flatten(0, 1).index_copy(0, at, features.to(hidden_states.dtype))
            hidden_states = flat.view_as(hidden_states)
        if self.code_places is not None:
            before = input_ids.new_zeros(len(input_ids)) if cache is None else cache.codes_in_a_row
            places, after = self.code_places(input_ids, before)
            hidden_states = hidden_states + places
            if cache is not None:
                cache.codes_in_a_row.copy_(after)
        if self.position is not None:
            hidden_states = hidden_states + self.position(positions)
        if self.sinusoidal is not None:
            hidden_states = hidden_states + self.sinusoidal(positions).to(hidden_states.dtype)
        if self.token_type is not None:
            types = torch.zeros_like(input_ids) if token_types is None else token_types
            hidden_states = hidden_states + self.token_type(types)
        if self.norm is not None:
            hidden_states = self.norm(hidden_states)
        dropped: Tensor = self.dropout(hidden_states)
        return dropped


class HeadTransform(nn.Module):
    """BERT's step before its output matrix: a linear map, the activation and a norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.dim, config.dim)
        self.activation = ACTIVATIONS[config.activation]
        self.norm = make_norm(config.norm, config.dim, config.norm_eps)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., dim) → the same."""
        transformed: Tensor = self.norm(self.activation(apply_linear(self.linear, hidden_states)))
        return transformed


class Stack(nn.Module):
    """Blocks, one after the other, and a final norm (when pre-norm): hidden states in, hidden states out."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpoint_activations = False
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.final_norm = (
            make_norm(config.norm, config.dim, config.norm_eps) if config.norm_placement == "pre" else None
        )
        self.rotary = RotaryPositions(config) if config.positions == "rope" else None

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights; those that write to the residual stream are scaled by depth."""
        for part in (self.blocks, self.final_norm):
            if part is not None:
                draw_weights(part, generator, n_layers=self.config.n_layers)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        positions: Tensor | None = None,
        document_ids: Tensor | None = None,
        padding: Tensor | None = None,
        hidden: Tensor | None = None,
        cache: KVCache | None = None,
        before: Interlude | None = None,
    ) -> Tensor:
        """Hidden states (batch, time, dim) after the blocks and the final norm; see `Transformer.forward`."""
        config = self.config
        if positions is None:
            positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)
            positions = positions.expand(hidden_states.shape[:2])
        rotation = self.rotary(positions, hidden_states.dtype) if self.rotary is not None else None
        extent = cache.capacity if cache is not None else None
        by_window = {
            window: visibility(
                config, window, positions, document_ids=document_ids, padding=padding, hidden=hidden, extent=extent
            )
            for window in {config.window_of(layer) for layer in range(config.n_layers)}
        }

        def run(layer: int, hidden_states: Tensor) -> Tensor:
            if before is not None:
                hidden_states = before(layer, hidden_states)
            visible = by_window[config.window_of(layer)]
            passed: Tensor = self.blocks[layer](hidden_states, positions, rotation, visible, cache)
            return passed

        for layer in range(config.n_layers):
            if self.checkpoint_activations and torch.is_grad_enabled():
                hidden_states = checkpoint(run, layer, hidden_states, use_reentrant=False)
            else:
                hidden_states = run(layer, hidden_states)
        return hidden_states if self.final_norm is None else self.final_norm(hidden_states)


class Transformer(Stack):
    """Embeddings, a stack of blocks, and one output matrix over the vocabulary.

    `forward` gives hidden states, `logits` turns them into scores, `loss` does both for learned positions only.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.head_transform = HeadTransform(config) if config.head_transform else None
        self.head = nn.Linear(config.dim, config.vocab_size, bias=config.head_bias)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make the output matrix the embedding matrix, where the settings say so; needed again after loading."""
        if self.config.tie_embeddings:
            self.head.weight = self.embeddings.token.weight

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: linear maps by fan-in, with those that write to the residual stream scaled by depth."""
        draw_weights(self.embeddings, generator)
        super().reset_parameters(generator)
        if self.head_transform is not None:
            draw_weights(self.head_transform, generator)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        if not self.config.tie_embeddings:
            nn.init.normal_(self.head.weight, std=0.02, generator=generator)

    def forward(
        self,
        input_ids: Tensor,
        *,
        positions: Tensor | None = None,
        document_ids: Tensor | None = None,
        padding: Tensor | None = None,
        token_types: Tensor | None = None,
        cache: KVCache | None = None,
        features: Tensor | None = None,
        at: Tensor | None = None,
        hidden: Tensor | None = None,
        before: Interlude | None = None,
    ) -> Tensor:
        """Hidden states of a batch.

        Args:
            input_ids: (batch, time) token ids.
            positions: (batch, time); counts from 0 by default. Packed documents each start at 0 again.
            document_ids: (batch, time); tokens of different documents do not see each other. A document is contiguous.
            padding: (batch, time) boolean, true where a token is real.
            token_types: (batch, time) segment ids, for BERT.
            cache: keys and values of earlier tokens; the new ones are written at `positions`.
            features: (n, dim) vectors in the place of tokens.
            at: (n,) their places, counted over the batch's rows one after the other.
            hidden: (batch, keys) boolean, true where only the token itself sees its key: of this batch, or with a
                cache of all its slots.
            before: what happens to the hidden states before each block.

        Returns:
            (batch, time, dim) hidden states after the final norm.

        Raises:
            RequestError: more tokens than the model's context.
        """
        time = input_ids.shape[1]
        if time > self.config.max_positions:
            raise RequestError(
                f"{time} tokens exceed the model's context of {self.config.max_positions} (shorten the input)"
            )
        if positions is None:
            positions = torch.arange(time, device=input_ids.device).expand(input_ids.shape)
        embedded: Tensor = self.embeddings(input_ids, positions, token_types, features, at, cache)
        return super().forward(
            embedded,
            positions=positions,
            document_ids=document_ids,
            padding=padding,
            hidden=hidden,
            cache=cache,
            before=before,
        )

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Scores over the vocabulary: (..., dim) → (..., vocab_size)."""
        if self.head_transform is not None:
            hidden_states = self.head_transform(hidden_states)
        return apply_linear(self.head, hidden_states)

    def logits_among(self, hidden_states: Tensor, tokens: slice) -> Tensor:
        """Scores of some tokens, without gradients: (..., dim) → (..., tokens)."""
        if self.head_transform is not None:
            hidden_states = self.head_transform(hidden_states)
        return apply_rows(self.head, hidden_states, tokens)

    def loss(
        self,
        input_ids: Tensor,
        targets: Tensor,
        *,
        positions: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """Summed cross-entropy (nats) over the positions whose target is not negative.

        `targets[b, t]` is the token to be predicted at position t (already shifted), or -100 where nothing is
        learned; only learned positions pay for the output matrix.
        """
        return self.cross_entropy(self(input_ids, positions=positions, document_ids=document_ids), targets)

    def cross_entropy(self, hidden_states: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy (nats) of hidden states (..., dim) against targets (...), negative where none."""
        if self.head_transform is not None:
            hidden_states = self.head_transform(hidden_states)
        return head_cross_entropy(hidden_states, self.head.weight, self.head.bias, targets)

    def n_parameters(self, *, embeddings: bool = True) -> int:
        """Number of weights, shared ones counted once; without the input tables if `embeddings` is false."""
        total = sum(parameter.numel() for parameter in self.parameters())
        if not embeddings:
            tables = [self.embeddings.position, self.embeddings.token_type]
            places = self.embeddings.code_places
            tables += [] if places is None else [places.row, places.column]
            tables += [] if self.config.tie_embeddings else [self.embeddings.token]
            total -= sum(table.weight.numel() for table in tables if table is not None)
        return total

    def flops_per_token(self, time: int, *, training: bool = True) -> float:
        """Floating-point operations per token at sequences of `time` tokens, attention and output head included.

        A multiply and its add count as two; backward counts twice the forward (Kaplan et al. 2020). Attention
        counts the keys a query really sees, so a causal layer costs half of a full one.
        """
        config = self.config
        matrices = sum(module.weight.numel() for module in self.modules() if isinstance(module, nn.Linear))
        keys = 0.0
        for layer in range(config.n_layers):
            window = min(config.window_of(layer) or time, time)
            backwards = window - window * (window - 1) / (2 * time)  # a query's mean of keys up to its own
            keys += backwards if config.causal else 2 * backwards - 1
        attention = 4.0 * keys * config.n_heads * config.head_size
        forward = 2.0 * matrices + attention
        return 3 * forward if training else forward
