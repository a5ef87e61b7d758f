"""The speech codec: a row of codes and a voice, decoded in one piece or while the codes still come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import SAMPLES_PER_CODE, SPEECH_CODEC, shaken

from sensorium.codecs.speech import SpeechCodec
from sensorium.codecs.streaming import SpeechStream
from sensorium.config import SpeechCodecConfig
from sensorium.errors import ConfigError, RequestError

N_CODES = 12


def build(**changes: Any) -> SpeechCodec:
    made = SpeechCodec(SpeechCodecConfig(**{**SPEECH_CODEC, **changes}))
    made.reset_parameters(torch.Generator().manual_seed(0))
    shaken(made, 0.1)
    return made


@pytest.fixture(scope="module")
def codec() -> SpeechCodec:
    return build()


def sound(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def codes_of(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, N_CODES, (1, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 2, 7, 40])
@torch.inference_mode()
def test_so_many_codes_are_so_many_samples(codec: SpeechCodec, length: int) -> None:
    spoken = codec.decode(codes_of(length), codec.voice_named()[None])
    assert spoken.shape == (1, length * SAMPLES_PER_CODE)
    assert spoken.abs().max() <= 1
    assert spoken.std() > 0.01


@pytest.mark.parametrize(("samples", "n_codes"), [(1, 1), (79, 1), (80, 1), (81, 2), (800, 10), (801, 11)])
@torch.inference_mode()
def test_silence_fills_the_last_code(codec: SpeechCodec, samples: int, n_codes: int) -> None:
    given = sound(2, samples)
    codes = codec.encode(given)
    assert codes.shape == (2, n_codes)
    filled = torch.nn.functional.pad(given, (0, n_codes * SAMPLES_PER_CODE - samples))
    assert torch.equal(codes, codec.encode(filled))


@torch.inference_mode()
def test_what_is_learned_on_is_what_codes_and_voice_give_back(codec: SpeechCodec) -> None:
    given, reference = sound(3, 10 * SAMPLES_PER_CODE), sound(3, 777, seed=1)
    spoken, codes = codec(given, reference)
    assert torch.equal(codes, codec.encode(given))
    assert torch.equal(spoken.clamp(-1, 1), codec.decode(codes, codec.voice_of(reference)))
    assert len(codes.unique()) > 3
    for row, alone in enumerate(given):
        assert torch.equal(codec.encode(alone[None])[0], codes[row])


@torch.inference_mode()
def test_another_voice_says_the_same_otherwise(codec: SpeechCodec) -> None:
    voices = torch.stack([codec.voice_named("anna"), codec.voice_named("bob")])
    assert torch.equal(codec.voice_named(), codec.voice_named("anna"))
    spoken = codec.decode(codes_of(5).expand(2, -1), voices)
    assert (spoken[0] - spoken[1]).abs().max() > 0.01
    for row, voice in enumerate(voices):
        torch.testing.assert_close(codec.decode(codes_of(5), voice[None])[0], spoken[row], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_voice_is_a_unit_vector_that_anything_heard_has(codec: SpeechCodec) -> None:
    heard = codec.voice_of(sound(2, 500))
    torch.testing.assert_close(heard.norm(dim=-1), torch.ones(2))
    assert torch.isfinite(codec.voice_of(torch.zeros(1, 10))).all()
    fresh = SpeechCodec(SpeechCodecConfig(**SPEECH_CODEC))
    fresh.reset_parameters(torch.Generator().manual_seed(0))
    torch.testing.assert_close(fresh.voice_named("bob").norm(), torch.tensor(1.0))


def streamed(codec: SpeechCodec, codes: torch.Tensor, chunk: int) -> list[torch.Tensor]:
    stream = SpeechStream(codec, codec.voice_named(), chunk=chunk)
    pieces = [stream.push(code) for code in codes[0].tolist()]
    return [piece for piece in (*pieces, stream.flush()) if piece is not None]


@settings(max_examples=60)
@given(st.lists(st.integers(0, N_CODES - 1), min_size=1, max_size=40), st.integers(1, 12))
def test_speech_in_pieces_is_speech_in_one(codec: SpeechCodec, codes: list[int], chunk: int) -> None:
    row = torch.tensor([codes])
    with torch.inference_mode():
        whole = codec.decode(row, codec.voice_named()[None])[0]
    pieces = streamed(codec, row, chunk)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-5)
    assert len(pieces) >= (len(codes) - codec.context) // chunk
    assert all(len(piece) == chunk * SAMPLES_PER_CODE for piece in pieces[:-1])


def test_a_stream_ends_and_begins_anew(codec: SpeechCodec) -> None:
    stream = SpeechStream(codec, codec.voice_named(), chunk=3)
    assert stream.flush() is None
    first = [stream.push(code) for code in [1, 2, 3, 1, 2, 3]]
    assert first == [None] * 6
    ended = stream.flush()
    assert ended is not None
    assert stream.flush() is None
    for code in [1, 2, 3, 1, 2, 3]:
        stream.push(code)
    again = stream.flush()
    assert again is not None
    assert torch.equal(again, ended)


@pytest.mark.parametrize("wrong", [-1, N_CODES])
def test_a_wrong_code_is_refused_at_once(codec: SpeechCodec, wrong: int) -> None:
    with pytest.raises(RequestError, match=rf"code {wrong} is outside the codebook of 0\.\.11"):
        SpeechStream(codec, codec.voice_named()).push(wrong)
    with pytest.raises(RequestError, match=rf"code {wrong} is outside the codebook"):
        codec.decode(torch.tensor([[0, wrong]]), codec.voice_named()[None])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"code_layers": 0, "frame_layers": 0},
        {"code_layers": 2, "frame_layers": 4, "frames_per_code": 4},
        {"n_fft": 80, "frames_per_code": 1},
        {"n_fft": 400, "frame_layers": 1, "frames_per_code": 8},
    ],
)
@torch.inference_mode()
def test_the_context_is_enough_and_hardly_more(changes: dict[str, Any]) -> None:
    """A code changed further away changes nothing; one within does, but perhaps at the very edge."""
    codec = build(**changes)
    size, context, voice = codec.config.samples_per_code, codec.context, codec.voice_named()[None]
    place = context + 3
    codes = codes_of(2 * place + 1)
    other = codes.clone()
    other[0, place] = (other[0, place] + 5) % N_CODES
    moved = (codec.decode(codes, voice) - codec.decode(other, voice)).abs()[0].reshape(-1, size).amax(1)
    assert moved[: place - context].max() == 0
    assert moved[place + context + 1 :].max() == 0
    reached = (moved > 0).nonzero().flatten()
    assert reached[0] <= place - context + 1
    assert reached[-1] >= place + context - 1


def test_what_is_no_sound_is_refused(codec: SpeechCodec) -> None:
    for wrong in (torch.zeros(5), torch.zeros(0, 5), torch.zeros(1, 0), torch.zeros(1, 1, 5)):
        with pytest.raises(RequestError, match="are no recordings"):
            codec.encode(wrong)
        with pytest.raises(RequestError, match="are no recordings"):
            codec.voice_of(wrong)
    for codes in (torch.zeros(3), torch.zeros(0, 3), torch.zeros(1, 0)):
        with pytest.raises(RequestError, match="are no speech"):
            codec.decode(codes.long(), codec.voice_named()[None])


def test_a_voice_that_nobody_has_is_named(codec: SpeechCodec) -> None:
    with pytest.raises(RequestError, match=r"there is no voice 'carl' \(one of: anna, bob; or give a recording\)"):
        codec.voice_named("carl")
    with pytest.raises(RequestError, match="comes without voices"):
        build(voices=()).voice_named()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_fft": 60}, "n_fft 60 and hop 40 must be even, and frames overlap by half or more"),
        ({"n_fft": 161}, "must be even"),
        ({"hop": 41}, "must be even"),
        ({"voices": ("anna", "anna")}, "two voices have the same name"),
        ({"frames_per_code": 3}, "frames_per_code"),
    ],
)
def test_settings_that_make_no_codec_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpeechCodecConfig.parse({**SPEECH_CODEC, **changes}, "test")


def test_what_a_code_stands_for_follows_from_the_settings() -> None:
    config = SpeechCodecConfig()
    assert (config.codebook_size, config.samples_per_code, config.codes_per_second) == (1920, 640, 25.0)
    assert config.ids == range(1920)
    assert np.prod(config.levels) == 1920


def test_a_runaway_spectrum_keeps_its_gradients_finite() -> None:
    config = SpeechCodecConfig(**SPEECH_CODEC)
    codec = SpeechCodec(config)
    codec.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        codec.head.bias[: config.n_fft // 2 + 1] = 200.0
    spoken, _ = codec(torch.randn(1, 800), torch.randn(1, 800))
    spoken.square().mean().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in codec.parameters())
