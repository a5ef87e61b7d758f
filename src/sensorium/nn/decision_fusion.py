"""Decision fusion: words alone, words with pictures and words with recordings each predict, and are combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sensorium.config import ModelConfig, TransformerConfig
from sensorium.nn.attention import KVCache
from sensorium.nn.features import Features, check_remembered, shows
from sensorium.nn.fusion import Branches, Fusion, States
from sensorium.nn.transformer import Transformer

Branch: TypeAlias = bool | None
"""What a branch is shown beside the words: recordings (True), pictures (False), or nothing."""
_NAMES: dict[Branch, str] = {None: "words", False: "pictures", True: "recordings"}
_CHUNK_SCORES = 1 << 22  # scores of a loss that exist at a time


class BranchCache(KVCache):
    """A cache with rows for each branch, the first branch's first, and which slots each must not see."""

    def __init__(
        self,
        config: TransformerConfig,
        branches: Sequence[Branch],
        batch: int,
        capacity: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(config, len(branches) * batch, capacity, dtype=dtype, device=device)
        self.branches = tuple(branches)
        self.hidden = torch.zeros((len(branches) * batch, capacity), dtype=torch.bool, device=device)
        self.shown = torch.zeros((len(branches), batch), dtype=torch.bool, device=device)  # its medium has come

    def rows(self, index: Tensor) -> Self:
        """See `KVCache.rows`."""
        batch = self.shown.shape[1]
        everywhere = torch.cat([index + branch * batch for branch in range(len(self.branches))])
        other = super().rows(everywhere)
        other.hidden, other.shown = self.hidden[everywhere], self.shown[:, index]
        return other

    def grown(self, capacity: int) -> Self:
        """See `KVCache.grown`."""
        other = super().grown(capacity)
        other.hidden = F.pad(self.hidden, (0, capacity - self.capacity))
        return other


class DecisionFusion(Fusion):
    """The decoder reads every sequence once per branch; what it predicts is a mixture of the branches' predictions.

    In a branch the placeholders of other media are hidden: no other token sees them. From the first picture or
    recording of a document on, its branch takes part; the shares are learned (a softmax over one score per branch,
    from that branch's hidden state) or even. The mixture is of probabilities.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shown: list[Branch] = [None]
        if shows(config.vision):
            shown.append(False)
        if shows(config.speech):
            shown.append(True)
        self.gates = (
            nn.ModuleDict({_NAMES[branch]: nn.Linear(config.decoder.dim, 1) for branch in shown})
            if config.fusion.combine == "gates"
            else None
        )

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:  # noqa: ARG002 (nothing is drawn)
        """Even shares at first."""
        for parameter in self.parameters():
            parameter.zero_()

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
        if features is None:
            return KVCache(config, batch, capacity, dtype=dtype, device=device)
        return BranchCache(config, _branches(features), batch, capacity, dtype=dtype, device=device)

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
        branches = cache.branches if isinstance(cache, BranchCache) else _branches(features)
        if cache is not None:
            held = branches if isinstance(cache, BranchCache) else ()
            check_remembered(features, [branch for branch in held if branch is not None])
        if len(branches) == 1:
            alone: Tensor = decoder(
                input_ids, positions=positions, document_ids=document_ids, padding=padding, cache=cache
            )
            return alone
        rows, time = input_ids.shape
        if positions is None:
            positions = torch.arange(time, device=input_ids.device).expand(rows, time)
        places = {heard: _marks(features, heard, input_ids) for heard in (False, True)}
        # Each (branches * batch, time): what a branch must not see, and where its own medium has come.
        hidden = torch.cat([torch.stack([places[k] for k in places if k is not branch]).any(0) for branch in branches])
        shown = torch.stack(
            [
                torch.ones_like(hidden[:rows]) if branch is None else _came(places[branch], document_ids)
                for branch in branches
            ]
        )  # (branches, batch, time)
        values, at = _placed(features, branches, rows, time)
        by_branch = positions.repeat(len(branches), 1)
        if isinstance(cache, BranchCache):
            cache.hidden.scatter_(1, by_branch, hidden)
            hidden = cache.hidden
            shown = shown | cache.shown[:, :, None]
            cache.shown = shown[:, :, -1]
        states: Tensor = decoder(
            input_ids.repeat(len(branches), 1),
            positions=by_branch,
            document_ids=_repeated(document_ids, len(branches)),
            padding=_repeated(padding, len(branches)),
            cache=cache,
            features=values,
            at=at,
            hidden=hidden,
        )
        states = states.view(len(branches), rows, *states.shape[1:])  # (branches, batch, time, dim)
        return Branches(states, self._log_weights(states, branches, shown))

    def scores(self, decoder: Transformer, states: States) -> Tensor:
        """The logarithm of the mixture of probabilities, (batch, time, vocab_size); of words alone, plain scores."""
        if isinstance(states, Tensor):
            return super().scores(decoder, states)
        logprobs = decoder.logits(states.states).float().log_softmax(-1)
        return (logprobs + states.log_weights[..., None]).logsumexp(0)

    def loss(self, decoder: Transformer, states: States, targets: Tensor) -> Tensor:
        """The exact negative log-likelihood of the mixture, at learned positions only, a few at a time."""
        if isinstance(states, Tensor):
            return super().loss(decoder, states, targets)
        learned = (targets.flatten() >= 0).nonzero().squeeze(1)
        flat = states.states.flatten(1, 2)[:, learned]  # (branches, learned, dim)
        weights = states.log_weights.flatten(1, 2)[:, learned]
        wanted = targets.flatten()[learned]
        rows = max(16, _CHUNK_SCORES // (len(flat) * decoder.config.vocab_size))
        chunks = zip(torch.split(flat, rows, 1), torch.split(weights, rows, 1), torch.split(wanted, rows), strict=True)
        losses = [checkpoint(_mixture_loss, decoder, *chunk, use_reentrant=False) for chunk in chunks]
        return torch.stack(losses).sum()

    def flops(self, decoder: Transformer, rows: int, time: int, *, learned: int, seen: int, heard: int) -> float:
        """See `Fusion.flops`: every branch reads all of it."""
        branches = 1 + (seen > 0) + (heard > 0)
        return branches * super().flops(decoder, rows, time, learned=learned, seen=seen, heard=heard)

    def _log_weights(self, states: Tensor, branches: Sequence[Branch], shown: Tensor) -> Tensor:
        """Logarithms of the shares, (branches, batch, time)."""
        if self.gates is None:
            scores = torch.zeros(shown.shape, device=states.device)
        else:
            gates = [self.gates[_NAMES[branch]] for branch in branches]
            scores = torch.stack([gate(each).squeeze(-1) for gate, each in zip(gates, states, strict=True)]).float()
        return scores.masked_fill(~shown, -torch.inf).log_softmax(0)


def _mixture_loss(decoder: Transformer, states: Tensor, log_weights: Tensor, targets: Tensor) -> Tensor:
    """Summed over (branches, n, dim) states, (branches, n) log weights and (n,) targets."""
    logprobs = decoder.logits(states).float().log_softmax(-1)  # (branches, n, vocab_size)
    of_targets = logprobs.gather(2, targets.expand(len(states), -1)[..., None]).squeeze(2)
    return -(of_targets + log_weights).logsumexp(0).sum()


def _branches(features: Features | None) -> tuple[Branch, ...]:
    """Words alone, and what else the features speak for."""
    if features is None:
        return (None,)
    return (None, *sorted(set(features.heard.tolist())))


def _marks(features: Features | None, heard: bool, input_ids: Tensor) -> Tensor:
    """(batch, time) boolean: the placeholders of recordings, or of pictures."""
    marks = torch.zeros(input_ids.shape, dtype=torch.bool)
    if features is not None:
        chosen = features.heard == heard
        marks[features.rows[chosen], features.at[chosen]] = True
    return marks.to(input_ids.device)


def _came(places: Tensor, document_ids: Tensor | None) -> Tensor:
    """(batch, time) boolean: whether a marked place stands at or before a token, in its document."""
    so_far = places.long().cumsum(1)
    if document_ids is None:
        return so_far > 0
    begins = torch.ones_like(places)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    before = torch.where(begins, so_far - places.long(), 0).cummax(1).values  # those of earlier documents
    return so_far > before


def _placed(
    features: Features | None, branches: Sequence[Branch], rows: int, time: int
) -> tuple[Tensor | None, Tensor | None]:
    """The features of each branch, and their places in the rows of all branches."""
    if features is None:
        return None, None
    shown = [(index, features.of(heard=branch)) for index, branch in enumerate(branches) if branch is not None]
    places = torch.cat([(index * rows + each.rows) * time + each.at for index, each in shown])
    return torch.cat([each.values for _, each in shown]), places.to(features.values.device)


def _repeated(tensor: Tensor | None, times: int) -> Tensor | None:
    return None if tensor is None else tensor.repeat(times, 1)
