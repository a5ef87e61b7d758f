"""Choosing the next token from the model's scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sensorium.config import SamplingConfig
from sensorium.errors import RequestError

Constraint = Callable[[Sequence[int]], Tensor | None]
"""From the tokens of a reply so far to the ones allowed next: a boolean tensor (vocab_size,), or None for all."""

Logprobs = tuple[float, tuple[tuple[int, float], ...]]
"""The log-probability of a chosen token, and the likeliest tokens with theirs."""


_PLAUSIBLE = 0.1  # of the likeliest token: less likely ones are no choice when guided


class Sampler:
    """Chooses the tokens of one reply, one after another, and remembers them for the penalties.

    The steps, in order: repetition penalty (tokens of prompt and reply; Keskar et al. 2019), presence and frequency
    penalties (tokens of the reply, as OpenAI's API defines them), logit bias, allowed tokens, then, unless greedy,
    temperature, top-k, top-p (Holtzman et al. 2020, over what top-k left) and min-p (Nguyen et al. 2024).
    """

    def __init__(
        self,
        sampling: SamplingConfig,
        vocab_size: int,
        *,
        prompt: Sequence[int] = (),
        index: int = 0,
        constraint: Constraint | None = None,
    ) -> None:
        """Prepare one reply.

        Args:
            sampling: the settings.
            vocab_size: how many tokens may be chosen; scores beyond it are padding of the output matrix.
            prompt: tokens already read, which the repetition penalty counts.
            index: which of `n` replies this is. Reply i draws from its own generator, seeded `seed + i`.
            constraint: which tokens are allowed next; none means all.

        Raises:
            RequestError: a biased token lies outside the vocabulary.
        """
        check_token_ids("logit_bias", sampling.logit_bias, vocab_size)
        self._sampling = sampling
        self._vocab_size = vocab_size
        self._constraint = constraint
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed((sampling.seed + index) % 2**63)
        self._bias_ids = torch.tensor(list(sampling.logit_bias), dtype=torch.long)
        self._bias = torch.tensor(list(sampling.logit_bias.values()), dtype=torch.float32)
        self._counts = torch.zeros(vocab_size) if sampling.presence_penalty or sampling.frequency_penalty else None
        self._seen: Tensor | None = None
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool)
            self._seen[torch.tensor(prompt, dtype=torch.long)] = True
        self.token_ids: list[int] = []

    def choose(self, logits: Tensor) -> int:
        """The next token of the reply, from scores (at least vocab_size,) on the CPU. Raises as `pick` does."""
        token = self.pick(logits)
        self.record(token)
        return token

    def pick(self, logits: Tensor) -> int:
        """A next token, drawn but not recorded.

        Raises:
            RequestError: no token is allowed, or the scores are not numbers.
        """
        scores = self._penalised(logits[: self._vocab_size].float())
        token = int(scores.argmax())
        best = float(scores[token])
        if not math.isfinite(best):
            raise RequestError(
                f"no next token to choose: the best score is {best} (either the weights are broken, "
                "or logit_bias or a constraint forbids every token)"
            )
        return self._draw((scores - best) / self._sampling.temperature) if self._sampling.temperature else token

    def record(self, token: int) -> None:
        """Take a token into the reply, for the penalties to count."""
        self.token_ids.append(token)
        if self._seen is not None:
            self._seen[token] = True
        if self._counts is not None:
            self._counts[token] += 1

    def _penalised(self, scores: Tensor) -> Tensor:
        sampling = self._sampling
        if self._seen is not None:
            penalty = sampling.repetition_penalty
            punished = torch.where(scores > 0, scores / penalty, scores * penalty)
            scores = torch.where(self._seen, punished, scores)
        if self._counts is not None:
            scores = scores - sampling.frequency_penalty * self._counts - sampling.presence_penalty * (self._counts > 0)
        if len(self._bias):
            scores = scores.index_add(0, self._bias_ids, self._bias)
        if self._constraint is not None:
            allowed = self._constraint(self.token_ids)
            if allowed is not None:
                scores = scores.masked_fill(~allowed[: self._vocab_size], -math.inf)
        return scores

    def _draw(self, scores: Tensor) -> int:
        """Sample from scores whose largest is 0, after the filters."""
        sampling = self._sampling
        if not sampling.top_k and sampling.top_p == 1.0:
            if sampling.min_p:
                scores = scores.masked_fill(scores < math.log(sampling.min_p), -math.inf)
            return int(torch.multinomial(scores.softmax(0), 1, generator=self._generator))
        kept = min(sampling.top_k or len(scores), len(scores))
        scores, tokens = scores.topk(kept)  # best first
        probabilities = scores.softmax(0)
        before = probabilities.cumsum(0) - probabilities  # mass of the tokens ahead of each
        # The best token always stays: nothing is ahead of it.
        dropped = (before >= sampling.top_p) | (probabilities < sampling.min_p * probabilities[0])
        probabilities = probabilities.masked_fill(dropped, 0.0)
        return int(tokens[torch.multinomial(probabilities, 1, generator=self._generator)])


def guided(scores: Tensor, blind: Tensor, guidance: float) -> Tensor:
    """Scores that lean on what is seen: log p + guidance · (log p - log q), (vocab_size,) each.

    q is what the model believes of the same conversation without its pictures: the habits of words (Leng et al. 2023,
    arXiv:2311.16922; the form is that of classifier-free guidance, Ho & Salimans 2022, arXiv:2207.12598).
    Tokens less than a tenth as likely as the likeliest are left out, since q says nothing of them (Li et al. 2022,
    arXiv:2210.15097).
    """
    log_p, log_q = scores.float().log_softmax(-1), blind.float().log_softmax(-1)
    leaning = log_p + guidance * (log_p - log_q)
    return leaning.masked_fill(log_p < log_p.max() + math.log(_PLAUSIBLE), -math.inf)


def as_asked(scores: Tensor, wordless: Tensor, guidance: float) -> Tensor:
    """Scores of codes that lean on what was asked for: log p + guidance · (log p - log q), (…, codes) each.

    q is what the model draws or says where no words ask: classifier-free guidance (Ho & Salimans 2022,
    arXiv:2207.12598). What cannot come (-inf) stays so.
    """
    log_p, log_q = scores.float().log_softmax(-1), wordless.float().log_softmax(-1)
    return log_p + (guidance * (log_p - log_q)).where(log_p > -math.inf, 0.0)


def raw_logprobs(logits: Tensor, token: int, top: int) -> Logprobs:
    """Log-probability (nats) of a token and of the `top` likeliest ones, best first, under the model itself.

    They are taken before temperature, penalties and filters, so they say what the model believes, whatever the
    settings made of it.
    """
    logprobs = logits.float().log_softmax(-1)
    values, ids = logprobs.topk(min(top, len(logprobs)))
    return float(logprobs[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True))


def check_token_ids(name: str, token_ids: Sequence[int] | dict[int, float], vocab_size: int) -> None:
    """Raise `RequestError` when a sampling setting names a token that does not exist."""
    for token_id in token_ids:
        if not 0 <= token_id < vocab_size:
            raise RequestError(f"{name} names token {token_id}, but the vocabulary has 0..{vocab_size - 1}")
