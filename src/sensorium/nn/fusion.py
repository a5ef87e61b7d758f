"""How what is seen and heard meets the words: one interface, and the joint sequence of early and feature fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sensorium.config import TransformerConfig
from sensorium.nn.attention import KVCache
from sensorium.nn.features import Features
from sensorium.nn.transformer import Transformer


@dataclass(frozen=True)
class Branches:
    """The hidden states of several readings of one batch, and how much each prediction counts.

    Attributes:
        states: (branches, batch, time, dim).
        log_weights: (branches, batch, time): they add up to 1, and are -inf for a branch that has nothing to say.
    """

    states: Tensor
    log_weights: Tensor

    def __getitem__(self, index: tuple[slice | int, ...]) -> Branches:
        """A part of the batch and of time, as one would index hidden states."""
        whole = (slice(None), *index)
        return Branches(self.states[whole], self.log_weights[whole])


States: TypeAlias = Tensor | Branches
"""Hidden states (batch, time, dim), or those of several branches."""


class Fusion(nn.Module):
    """Reads a batch with its features by a decoder, and turns what was read into scores and losses.

    What is here serves every strategy on sequences without pictures or recordings: the decoder as it is.
    """

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""

    def new_cache(
        self,
        config: TransformerConfig,
        features: Features | None,  # noqa: ARG002 (strategies that remember features need it)
        batch: int,
        capacity: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> KVCache:
        """A cache for prompts that hold `features`."""
        return KVCache(config, batch, capacity, dtype=dtype, device=device)

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
        """Hidden states of a batch of tokens and features; the rest as in `Transformer.forward`.

        With a cache that remembers features, from `new_cache`, those of later calls are added to it.
        """
        raise NotImplementedError

    def scores(self, decoder: Transformer, states: States) -> Tensor:
        """Scores over the vocabulary, (batch, time, vocab_size)."""
        assert isinstance(states, Tensor)
        return decoder.logits(states)

    def loss(self, decoder: Transformer, states: States, targets: Tensor) -> Tensor:
        """Summed cross-entropy (nats) of the targets (batch, time) that are not negative."""
        assert isinstance(states, Tensor)
        return decoder.cross_entropy(states, targets)

    def flops(self, decoder: Transformer, rows: int, time: int, *, learned: int, seen: int, heard: int) -> float:  # noqa: ARG002 (as `new_cache`)
        """Floating-point operations of a forward and backward pass, encoders left out.

        Args:
            decoder: what reads.
            rows: sequences of the batch.
            time: tokens of a sequence.
            learned: tokens to be predicted, which alone pay for the output matrix.
            seen: vectors of pictures in the batch.
            heard: vectors of recordings.
        """
        head = 6.0 * decoder.head.weight.numel()
        return rows * time * (decoder.flops_per_token(time) - head) + learned * head


class JointFusion(Fusion):
    """Features take their placeholders' places in one sequence: data-level fusion of raw input, or of encoders'."""

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
        values, at = None, None
        if features is not None:
            values = features.values
            at = (features.rows * input_ids.shape[1] + features.at).to(values.device)
        states: Tensor = decoder(
            input_ids,
            positions=positions,
            document_ids=document_ids,
            padding=padding,
            cache=cache,
            features=values,
            at=at,
        )
        return states
