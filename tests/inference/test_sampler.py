"""The sampler against a plain NumPy reading of each rule, and against the distribution it should draw from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.config import SamplingConfig
from sensorium.errors import RequestError
from sensorium.inference.sampler import Sampler, raw_logprobs

VOCAB = 12
SCORES = st.lists(st.floats(-8, 8, width=32), min_size=VOCAB, max_size=VOCAB, unique=True)


def reference(scores: np.ndarray, config: SamplingConfig, prompt: list[int], reply: list[int]) -> np.ndarray:
    """The probabilities of the next token, rule by rule, in float64."""
    scores = scores.astype(np.float64).copy()
    for token in {*prompt, *reply}:
        scores[token] = (
            scores[token] / config.repetition_penalty
            if scores[token] > 0
            else scores[token] * config.repetition_penalty
        )
    for token in set(reply):
        scores[token] -= config.presence_penalty + config.frequency_penalty * reply.count(token)
    for token, bias in config.logit_bias.items():
        scores[token] += bias
    if config.temperature == 0:
        return np.eye(len(scores))[scores.argmax()]
    probabilities = np.exp((scores - scores.max()) / config.temperature)
    probabilities /= probabilities.sum()
    order = list(np.argsort(-probabilities, kind="stable"))
    kept = order[: config.top_k or None]
    total, mass, nucleus = probabilities[kept].sum(), 0.0, []
    for token in kept:
        if mass / total >= config.top_p:
            break
        nucleus.append(token)
        mass += probabilities[token]
    nucleus = [token for token in nucleus if probabilities[token] >= config.min_p * probabilities.max()]
    result = np.zeros(len(scores))
    result[nucleus] = probabilities[nucleus]
    return result / result.sum()


def draws(config: SamplingConfig, scores: np.ndarray, count: int, prompt: list[int], reply: list[int]) -> np.ndarray:
    """How often each token is chosen after `reply` by one generator."""
    sampler = Sampler(config, VOCAB, prompt=prompt)
    counts = np.zeros(VOCAB, dtype=int)
    for token in reply:
        sampler.record(token)
    for _ in range(count):
        counts[sampler.pick(torch.from_numpy(scores))] += 1
    return counts


CASES = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0, "top_k": 4},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"temperature": 1.5, "top_k": 6, "top_p": 0.8, "min_p": 0.15},
    {"repetition_penalty": 1.8},
    {"presence_penalty": 1.2, "frequency_penalty": 0.4},
    {"presence_penalty": -1.0, "repetition_penalty": 0.7},
    {"logit_bias": {0: 2.5, 7: -1e9}},
    {"repetition_penalty": 1.3, "frequency_penalty": 0.3, "logit_bias": {3: 1.0}, "top_p": 0.9, "temperature": 0.9},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_draws_follow_the_reference_distribution(case):
    config = SamplingConfig.model_validate({"temperature": 1.0, "seed": 7, **case})
    scores = np.random.default_rng(5).normal(0, 1.2, VOCAB).astype(np.float32)
    prompt, reply = [1, 3, 5], [3, 3, 8, 0]
    expected = reference(scores, config, prompt, reply)
    counts = draws(config, scores, 1500, prompt, reply)
    deviation = np.sqrt(1500 * expected * (1 - expected))
    assert counts[expected == 0].sum() == 0
    assert (np.abs(counts - 1500 * expected) <= 4 * deviation + 1e-6).all()


@settings(max_examples=80)
@given(
    scores=SCORES,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    top_k=st.integers(0, VOCAB + 3),
    top_p=st.floats(0.01, 1.0),
    min_p=st.floats(0.0, 1.0),
    penalty=st.sampled_from([0.5, 1.0, 1.7]),
    reply=st.lists(st.integers(0, VOCAB - 1), max_size=6),
)
def test_only_tokens_with_a_share_in_the_reference_are_chosen(scores, temperature, top_k, top_p, min_p, penalty, reply):
    config = SamplingConfig(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty, seed=1
    )
    array = np.array(scores, dtype=np.float32)
    expected = reference(array, config, [2], reply)
    # A token on the very edge of a filter may fall either way by rounding: widen the edge, not the rule.
    wider = reference(
        array,
        config.model_copy(update={"top_p": min(1.0, top_p + 1e-5), "min_p": max(0.0, min_p - 1e-5)}),
        [2],
        reply,
    )
    for token in np.flatnonzero(draws(config, array, 8, [2], reply)):
        assert expected[token] > 0 or wider[token] > 0


def test_a_seed_gives_the_same_tokens_and_reply_i_of_n_is_the_only_reply_of_seed_plus_i():
    scores = torch.linspace(-1, 1, VOCAB)
    config = SamplingConfig(temperature=1.0, seed=40)

    def reply(config, index):
        sampler = Sampler(config, VOCAB, index=index)
        return [sampler.choose(scores) for _ in range(30)]

    assert reply(config, 0) == reply(config, 0)
    assert reply(config, 2) == reply(config.model_copy(update={"seed": 42}), 0)
    assert reply(config, 0) != reply(config, 1)
    unseeded = SamplingConfig(temperature=1.0)
    assert reply(unseeded, 0) != reply(unseeded, 0)


def test_sampling_neither_reads_nor_moves_the_global_random_state():
    before = torch.get_rng_state()
    Sampler(SamplingConfig(temperature=1.0), VOCAB).choose(torch.zeros(VOCAB))
    assert torch.equal(before, torch.get_rng_state())


def test_a_tiny_temperature_is_greedy_and_does_not_overflow():
    scores = torch.tensor([1e30, 3e30, -1e30, 2.9e30])
    assert Sampler(SamplingConfig(temperature=1e-30, seed=0), 4).choose(scores) == 1


def test_penalties_count_the_reply_and_the_repetition_penalty_the_prompt_too():
    scores = torch.tensor([2.0, 1.9, 0.0])
    assert Sampler(SamplingConfig(temperature=0, presence_penalty=2), 3, prompt=[0]).choose(scores) == 0
    assert Sampler(SamplingConfig(temperature=0, repetition_penalty=2), 3, prompt=[0]).choose(scores) == 1
    penalised = Sampler(SamplingConfig(temperature=0, frequency_penalty=0.5), 3)
    assert [penalised.choose(scores) for _ in range(4)] == [0, 1, 0, 1]


def test_a_constraint_sees_the_reply_and_decides_what_may_follow():
    seen = []

    def after_each_token(token_ids):
        seen.append(list(token_ids))
        allowed = torch.zeros(VOCAB, dtype=torch.bool)
        allowed[len(token_ids) + 3] = True
        return allowed if len(token_ids) < 2 else None

    sampler = Sampler(SamplingConfig(temperature=1.0, top_k=3, seed=0), VOCAB, constraint=after_each_token)
    tokens = [sampler.choose(torch.zeros(VOCAB)) for _ in range(3)]
    assert tokens[:2] == [3, 4]
    assert seen == [[], [3], [3, 4]]


def test_padding_of_the_output_matrix_is_never_chosen():
    scores = torch.tensor([0.0, 1.0, 9.0, 9.0])
    assert Sampler(SamplingConfig(temperature=0), 2).choose(scores) == 1
    sampler = Sampler(SamplingConfig(temperature=1.0, seed=0), 2)
    assert {sampler.choose(scores) for _ in range(50)} == {0, 1}


@pytest.mark.parametrize("scores", [[math.nan, 0.0, 1.0], [-math.inf] * 3, [math.inf, 0.0, 1.0]])
def test_scores_without_a_choice_are_an_error_not_a_token(scores):
    with pytest.raises(RequestError, match="no next token to choose"):
        Sampler(SamplingConfig(), 3).choose(torch.tensor(scores))


def test_a_bias_for_a_token_that_does_not_exist_names_it_and_the_range():
    with pytest.raises(RequestError, match=r"logit_bias names token 12, but the vocabulary has 0\.\.11"):
        Sampler(SamplingConfig(logit_bias={12: 1.0}), VOCAB)


@given(SCORES, st.integers(0, VOCAB - 1), st.integers(0, 20))
def test_log_probabilities_are_the_models_own(scores, token, top):
    array = np.array(scores, dtype=np.float64)
    expected = array - array.max() - np.log(np.exp(array - array.max()).sum())
    logprob, best = raw_logprobs(torch.tensor(scores), token, top)
    assert logprob == pytest.approx(expected[token], abs=1e-4)
    assert [value for _, value in best] == pytest.approx([expected[found] for found, _ in best], abs=1e-4)
    assert [value for _, value in best] == pytest.approx(sorted(expected, reverse=True)[:top], abs=1e-4)
