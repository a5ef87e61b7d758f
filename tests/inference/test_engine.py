"""What must hold of replies: however they are cached, batched, compiled or streamed, they are the same."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from sensorium.config import SamplingConfig
from sensorium.errors import RequestError
from sensorium.inference.compiled import CompiledStep, plain_step
from sensorium.inference.decoding import Decoder
from sensorium.inference.engine import Engine
from sensorium.messages import Done, TextDelta
from sensorium.nn.attention import KVCache
from sensorium.nn.compilation import has_compiler

FAMILIES = {
    "llama": {},
    "llama, biased and untied": {"qkv_bias": True, "tie_embeddings": False, "rope_theta": 500.0},
    "qwen3": {"qk_norm": True, "head_dim": 16},
    "gpt2": {
        "positions": "learned", "norm": "layer", "activation": "gelu_tanh", "gated_mlp": False, "n_kv_heads": 4,
        "qkv_bias": True, "attention_output_bias": True, "mlp_bias": True,
    },
    "sliding window": {"sliding_window": 7},
    "sliding window in one layer": {"sliding_window": 5, "sliding_layers": (1,)},
    "2017": {"positions": "sinusoidal", "norm": "layer", "norm_placement": "post", "activation": "relu"},
}  # fmt: skip
TOKENS = [(7 * i * i + 3 * i + 1) % 350 for i in range(60)]


def texts(deltas) -> dict[int, str]:
    found: dict[int, str] = {}
    for delta in deltas:
        if isinstance(delta, TextDelta):
            found[delta.index] = found.get(delta.index, "") + delta.text
    return found


def ends(deltas) -> dict[int, Done]:
    return {delta.index: delta for delta in deltas if isinstance(delta, Done)}


def cached_logits(decoder: Decoder, token_ids: list[int], read: int) -> torch.Tensor:
    """Scores from the cache: `read` tokens at once, the rest one by one."""
    rows = decoder.read(token_ids[:read])
    scores = [rows.scores]
    for token in token_ids[read:]:
        decoder.step(rows, [token])
        scores.append(rows.scores)
    return torch.cat(scores)


@pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
def test_cached_scores_are_the_uncached_ones(make_model, settings):
    decoder = Decoder(make_model(**settings), threads=1, compile=False)
    expected = decoder.logits(TOKENS)
    assert expected.std() > 1
    assert torch.allclose(cached_logits(decoder, TOKENS, 20), expected[19:], rtol=1e-4, atol=1e-4)


def test_a_prompt_read_in_chunks_and_a_cache_that_grows_change_nothing(make_model, monkeypatch):
    monkeypatch.setattr("sensorium.inference.decoding.PREFILL_CHUNK", 7)
    monkeypatch.setattr("sensorium.inference.decoding.SLOTS", 4)
    decoder = Decoder(make_model(sliding_window=9), threads=1, compile=False)
    assert torch.allclose(cached_logits(decoder, TOKENS, 20), decoder.logits(TOKENS)[19:], rtol=1e-4, atol=1e-4)


def test_rows_of_different_length_decode_side_by_side_as_they_do_alone(model):
    decoder = Decoder(model, threads=1, compile=False)
    prompts = [TOKENS[:9], TOKENS[20:50]]
    alone = [decoder.read(prompt) for prompt in prompts]
    together = KVCache(model.config.decoder, 2, 128, dtype=torch.float32, device=model.device)
    for row, one in enumerate(alone):
        for layer in range(len(together.keys)):
            together.keys[layer][row] = one.cache.keys[layer][0]
            together.values[layer][row] = one.cache.values[layer][0]
    both = type(alone[0])(
        together, torch.cat([one.positions for one in alone]), torch.cat([one.scores for one in alone])
    )
    for token in TOKENS[10:16]:
        decoder.step(both, [token, token])
        for row, one in enumerate(alone):
            decoder.step(one, [token])
            assert torch.allclose(both.scores[row], one.scores[0], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="no C++ compiler on this machine")
def test_the_compiled_step_gives_the_plain_scores_at_every_length_of_the_cache(make_model):
    model = make_model(n_layers=2, qk_norm=True, qkv_bias=True, sliding_window=40, sliding_layers=(1,))
    compiled = CompiledStep(model, threads=1)
    compiled.prepare(wait=True)
    assert compiled.step is not None
    plain = plain_step(model)
    with torch.inference_mode():
        for capacity in (16, 64, 90):
            caches = [
                KVCache(model.config.decoder, 1, capacity, dtype=torch.float32, device=model.device) for _ in "ab"
            ]
            for position, token in enumerate(TOKENS[: min(capacity, 60)]):
                inputs = torch.tensor([[token]]), torch.tensor([[position]])
                expected = plain(*inputs, caches[0])
                assert torch.allclose(compiled.step(*inputs, caches[1]), expected, rtol=1e-4, atol=1e-4)


def test_without_a_compiler_the_engine_goes_on_uncompiled(model, processor, engine, prompt, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    sampling = SamplingConfig(temperature=1.0, seed=3, max_tokens=20)
    bare = Engine(model, processor, threads=1, compile=True)
    assert list(bare.stream(prompt, sampling)) == list(engine.stream(prompt, sampling))


def test_reply_i_of_n_is_the_single_reply_of_seed_plus_i(engine, prompt):
    sampling = SamplingConfig(temperature=1.2, seed=10, max_tokens=40, n=4)
    batched = list(engine.stream(prompt, sampling))
    assert len(set(texts(batched).values())) == 4
    for index in range(4):
        single = list(engine.stream(prompt, sampling.model_copy(update={"seed": 10 + index, "n": 1})))
        assert texts(single)[0] == texts(batched)[index]
        assert ends(single)[0].completion_tokens == ends(batched)[index].completion_tokens


def test_replies_of_different_length_end_apart(engine, prompt):
    sampling = SamplingConfig(temperature=1.0, seed=0, n=6, max_tokens=30, stop_token_ids=tuple(range(40, 80)))
    done = ends(engine.stream(prompt, sampling))
    assert set(done) == set(range(6))
    assert len({end.completion_tokens for end in done.values()}) > 1


@pytest.mark.parametrize("seed", range(5))
def test_streaming_gives_what_is_decoded_at_once(engine, tokenizer, prompt, seed):
    chosen: list[int] = []

    def no_end(token_ids):
        chosen[:] = token_ids
        allowed = torch.ones(tokenizer.vocab_size, dtype=torch.bool)
        allowed[:32] = False
        return allowed

    deltas = list(engine.stream(prompt, SamplingConfig(temperature=1.5, seed=seed, max_tokens=50), constraint=no_end))
    before_the_last = tokenizer.stream_decoder(prompt)
    expected = "".join(before_the_last.push(token) for token in chosen)
    assert texts(deltas)[0].startswith(expected)
    assert len(chosen) == 49
    assert ends(deltas)[0] == Done("length", len(prompt), 50)


@pytest.mark.parametrize("seed", range(8))
def test_a_stop_string_ends_the_reply_and_no_part_of_it_is_shown(engine, prompt, seed):
    sampling = SamplingConfig(temperature=1.0, seed=seed, max_tokens=40)
    whole = texts(engine.stream(prompt, sampling))[0]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
    deltas = list(engine.stream(prompt, sampling.model_copy(update={"stop": ("never in it", stop)})))
    assert texts(deltas).get(0, "") == whole[: whole.index(stop)]
    assert ends(deltas)[0].finish_reason == "stop"


def test_a_stop_token_ends_the_reply_unseen_and_is_counted(engine, prompt):
    scores = engine.logits(prompt)[-1]
    best = int(scores.argmax())
    deltas = list(engine.stream(prompt, SamplingConfig(temperature=0, stop_token_ids=(best,))))
    assert deltas == [Done("stop", len(prompt), 1)]


def test_greedy_replies_take_the_best_token_of_the_uncached_scores(engine, tokenizer, prompt):
    ids = list(prompt)
    for _ in range(15):
        ids.append(int(engine.logits(ids)[-1][: tokenizer.vocab_size].argmax()))
    deltas = list(engine.stream(prompt, SamplingConfig(temperature=0, max_tokens=15)))
    assert texts(deltas)[0] == tokenizer.decode(ids[len(prompt) :])
    assert ends(deltas)[0] == Done("length", len(prompt), 15)


def test_a_reply_that_reaches_the_context_ends_with_length(engine, prompt):
    keep_going = SamplingConfig(temperature=1.0, seed=1, logit_bias=dict.fromkeys(range(32), -1000000000.0))
    done = ends(engine.stream(prompt, keep_going))[0]
    assert (done.finish_reason, done.prompt_tokens + done.completion_tokens) == ("length", 96)


def test_a_set_event_ends_every_reply_as_cancelled_with_what_it_has(engine, prompt):
    cancel = threading.Event()
    sampling = SamplingConfig(temperature=1.0, seed=1, n=2, logit_bias=dict.fromkeys(range(32), -1000000000.0))
    whole = texts(engine.stream(prompt, sampling))
    deltas = []
    for delta in engine.stream(prompt, sampling, cancel=cancel):
        deltas.append(delta)
        if len(deltas) == 6:
            cancel.set()
    assert {end.finish_reason for end in ends(deltas).values()} == {"cancelled"}
    for index, text in texts(deltas).items():
        assert whole[index].startswith(text.rstrip("\ufffd"))
    assert all(end.completion_tokens < 20 for end in ends(deltas).values())


def test_an_event_that_is_set_beforehand_writes_nothing(engine, prompt):
    cancel = threading.Event()
    cancel.set()
    assert list(engine.stream(prompt, SamplingConfig(), cancel=cancel)) == [Done("cancelled", len(prompt), 0)]


def test_log_probabilities_are_those_of_the_uncached_scores_and_cover_every_token(engine, prompt):
    sampling = SamplingConfig(
        temperature=1.0, seed=4, max_tokens=25, logprobs=3, logit_bias=dict.fromkeys(range(32), -1000000000.0)
    )
    entries = [e for d in engine.stream(prompt, sampling) if isinstance(d, TextDelta) for e in d.logprobs]
    assert len(entries) == 25
    ids = [*prompt, *(entry.token_id for entry in entries)]
    expected = torch.from_numpy(engine.logits(ids)[len(prompt) - 1 : -1]).log_softmax(-1)
    for row, entry in enumerate(entries):
        assert entry.logprob == pytest.approx(float(expected[row, entry.token_id]), abs=1e-3)
        assert [value for _, value in entry.top] == pytest.approx(expected[row].topk(3).values.tolist(), abs=1e-3)


def test_logits_are_float32_of_time_by_vocabulary(engine, model):
    scores = engine.logits(TOKENS)
    assert scores.dtype == np.float32
    assert scores.shape == (60, model.config.decoder.vocab_size)


@pytest.mark.parametrize(
    ("token_ids", "sampling", "message"),
    [
        ([], {}, "the prompt is empty"),
        ([1] * 96, {}, "96 tokens leaves no room to answer in the model's context of 96"),
        ([1, 9999], {}, "names token 9999"),
        ([1], {"stop": ("",)}, "stop holds an empty string"),
        ([1], {"stop_token_ids": (-1,)}, "stop_token_ids names token -1"),
        ([1], {"logit_bias": {5000: 1.0}}, "logit_bias names token 5000"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_first_delta(engine, token_ids, sampling, message):
    with pytest.raises(RequestError, match=message) as caught:
        engine.stream(token_ids, SamplingConfig(**sampling))
    assert "\n" not in str(caught.value)


def test_a_model_that_reads_both_ways_scores_but_does_not_write(make_model, processor):
    bert = Engine(make_model(causal=False), processor, threads=1, compile=False)
    assert bert.logits([5, 6]).shape[0] == 2
    with pytest.raises(RequestError, match="cannot write"):
        bert.stream([5, 6], SamplingConfig())


def test_a_model_without_a_tokenizer_scores_but_does_not_write(model):
    bare = Engine(model, None, threads=1, compile=False)
    assert bare.logits([5, 6]).shape[0] == 2
    with pytest.raises(RequestError, match="without a tokenizer"):
        bare.stream([5, 6], SamplingConfig())


def test_the_thread_count_is_the_engines_own_and_only_while_it_computes(model, processor, prompt):
    before = torch.get_num_threads()
    seen = []
    handle = model.decoder.blocks[0].register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    try:
        for _ in Engine(model, processor, threads=before + 1, compile=False).stream(
            prompt, SamplingConfig(max_tokens=3)
        ):
            assert torch.get_num_threads() == before
    finally:
        handle.remove()
    assert set(seen) == {before + 1}
