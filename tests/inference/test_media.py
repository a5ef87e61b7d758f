"""Replies to pictures and recordings: the same for every way of reading and writing them, whatever the fusion."""

from __future__ import annotations

import io
import threading
import wave
from dataclasses import replace

import fusing
import numpy as np
import PIL.Image
import pytest
import torch

from sensorium.config import SamplingConfig
from sensorium.errors import RequestError
from sensorium.inference import decoding
from sensorium.inference.decoding import Decoder
from sensorium.inference.engine import Engine
from sensorium.messages import Audio, Done, Image, Message, Text, TextDelta
from sensorium.nn.compilation import has_compiler
from sensorium.nn.media import Media
from sensorium.processing.media import media_of

fusions = pytest.mark.parametrize("fusion", fusing.FUSIONS)


def picture(seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return Image(data=file.getvalue())


def recording(seed: int, seconds: float) -> Audio:
    samples = np.random.default_rng(seed).integers(-9000, 9000, int(16_000 * seconds)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(samples.tobytes())
    return Audio(data=file.getvalue())


@pytest.fixture(scope="module")
def talk() -> list[Message]:
    """A picture, a recording of three windows, then words, an answer and a second picture."""
    return [
        Message.user([picture(1), recording(2, 1.0), Text("Where is 猫?")]),
        Message.assistant("On the mat."),
        Message.user([Text("And here?"), picture(3)]),
    ]


@pytest.fixture(scope="module")
def make(processor):
    """Makes an engine of a fusion, with the prompt of a conversation and its media."""

    def engine_of(fusion: str, **settings) -> Engine:
        sizes = {"vocab_size": processor.tokenizer.vocab_size, "max_positions": 160}
        model = fusing.build(fusion, **{**sizes, **settings})
        with torch.no_grad():
            model.decoder.embeddings.token.weight.mul_(0.6)
        return Engine(model, processor.with_config(model.config), threads=1, compile=False)

    return engine_of


def read(engine: Engine, talk: list[Message]) -> tuple[list[int], Media]:
    assert engine._processor is not None
    sequence = engine._processor.encode_messages(talk, add_generation_prompt=True)
    return sequence.token_ids.tolist(), media_of([sequence.features])


def texts(deltas) -> list[str]:
    found: dict[int, str] = {}
    for delta in deltas:
        found.setdefault(delta.index, "")
        if isinstance(delta, TextDelta):
            found[delta.index] += delta.text
    return [found[index] for index in sorted(found)]


@fusions
@pytest.mark.parametrize("chunk", [3, 512])
def test_cached_scores_are_the_uncached_ones(make, talk, fusion, chunk, monkeypatch):
    monkeypatch.setattr(decoding, "PREFILL_CHUNK", chunk)
    engine = make(fusion)
    ids, media = read(engine, talk)
    decoder, more = engine._decoder, [40, 90, 200]
    expected = decoder.logits([*ids, *more], media)
    rows = decoder.read(ids, media)
    scores = [rows.scores]
    for token in more:
        decoder.step(rows, [token])
        scores.append(rows.scores)
    ours = torch.cat(scores).log_softmax(-1)
    assert ours.std() > 0.1
    torch.testing.assert_close(ours, expected[len(ids) - 1 :].log_softmax(-1), rtol=1e-4, atol=1e-4)


@fusions
def test_several_replies_are_those_of_their_seeds(make, talk, fusion):
    engine = make(fusion)
    ids, media = read(engine, talk)
    sampling = SamplingConfig(temperature=1.0, seed=4, max_tokens=14, n=3)
    together = texts(engine.stream(ids, sampling, media=media))
    for index, text in enumerate(together):
        alone = SamplingConfig(temperature=1.0, seed=4 + index, max_tokens=14)
        assert texts(engine.stream(ids, alone, media=media)) == [text]
    assert len(set(together)) == 3


@fusions
def test_a_reply_depends_on_what_is_seen_and_on_what_is_heard(make, talk, fusion):
    engine = make(fusion)
    ids, media = read(engine, talk)
    scores = engine.logits(ids, media)[-1]
    assert media.images is not None
    assert media.audio is not None
    for other in (replace(media, images=media.images + 1), replace(media, audio=media.audio + 1)):
        assert np.abs(engine.logits(ids, other)[-1] - scores).max() > 1e-2


@fusions
def test_encoders_run_once_a_reply(make, talk, fusion):
    engine = make(fusion)
    ids, media = read(engine, talk)
    calls = []
    model = engine._decoder._model
    for part in (model.vision, model.speech):
        part.encoder.register_forward_hook(lambda *_: calls.append(1))
    list(engine.stream(ids, SamplingConfig(max_tokens=5, n=2), media=media))
    assert len(calls) == 2


def test_a_placeholder_without_its_feature_is_refused_before_the_first_delta(make, talk):
    engine = make("feature")
    ids, media = read(engine, talk)
    n = engine._decoder._model.config.image_places()
    with pytest.raises(RequestError, match=f"the prompt holds {2 * n} placeholders for pictures, and features for 0"):
        engine.stream(ids, SamplingConfig())
    moved = replace(media, image_places=media.image_places - torch.tensor([0, 1, 0]))
    with pytest.raises(RequestError, match="at other positions"):
        engine.stream(ids, SamplingConfig(), media=moved)
    with pytest.raises(RequestError, match="and features for 0"):
        engine.embed(ids)
    with pytest.raises(RequestError, match="2 pictures for 0 places"):
        engine.logits(ids, Media(media.images))
    words = [5, 6, 7, 8] * 3
    with pytest.raises(RequestError, match=f"0 placeholders for pictures, and features for {n}"):
        engine.logits(words, Media(media.images[:1], torch.tensor([[0, 2, n]])))


def test_a_set_event_ends_a_reply_to_a_picture(make, talk):
    engine = make("cross")
    ids, media = read(engine, talk)
    cancel = threading.Event()
    cancel.set()
    assert list(engine.stream(ids, SamplingConfig(), media=media, cancel=cancel)) == [Done("cancelled", len(ids), 0)]


@fusions
def test_what_is_embedded_lies_in_one_space(make, talk, fusion):
    engine = make(fusion)
    _, media = read(engine, talk)
    seen = engine.embed_media(Media(media.images[:1]))
    heard = engine.embed_media(Media(audio=media.audio, audio_frames=media.audio_frames))
    for vector in (engine.embed([5, 6, 7]), seen, heard):
        assert vector.shape == (8,)
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    assert np.abs(seen - heard).max() > 1e-2


@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="no C++ compiler on this machine")
def test_the_compiled_step_writes_after_a_picture_in_a_joint_sequence(make, talk):
    engine = make("feature")
    ids, media = read(engine, talk)
    compiled = Decoder(engine._decoder._model, threads=1, compile=True)
    assert compiled.compile()
    ours, plain = compiled.read(ids, media), engine._decoder.read(ids, media)
    for token in (40, 90, 200):
        compiled.step(ours, [token])
        engine._decoder.step(plain, [token])
        torch.testing.assert_close(ours.scores, plain.scores, rtol=1e-4, atol=1e-4)
