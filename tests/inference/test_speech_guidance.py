"""Speech that keeps to its words: it leans away from what is said where no words are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from making import make_model
from replying import AUDIO_BEGIN, AUDIO_END, WHOLE, belief, kinds, samples, words

from sensorium.api import Model
from sensorium.inference import grammar
from sensorium.inference.sampler import as_asked
from sensorium.messages import Message
from sensorium.processing.codes import pcm16
from sensorium.processing.processor import wordless

LIKELIEST: dict[str, Any] = {"speech_temperature": 0.0, "temperature": 0.0}
CLAUSES = ("The cat sat,", " on the mat.")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clause of speech takes 9 codes at most."""
    monkeypatch.setattr(grammar, "LONGEST_CLAUSE", 0.18)


def log_p(scores: np.ndarray) -> np.ndarray:
    return scores - np.logaddexp.reduce(scores)


def said_by_hand(model: Model, talk: list[Message], guidance: float) -> list[list[int]]:
    """Codes of two clauses, the likeliest by the formula, each place read anew."""
    codec = model.config.speech_codec
    assert codec is not None
    spoken: list[int] = []  # with the frames of each clause
    reply: list[int] = []
    codes: list[list[int]] = []
    for clause in CLAUSES:
        codes.append([])
        reply += [*words(clause), AUDIO_BEGIN]
        spoken.append(AUDIO_BEGIN)
        for length in range(9):
            ids = [*codec.ids, *([AUDIO_END] if length else [])]
            asked, without = log_p(belief(model, talk, reply)[ids]), log_p(belief(model, wordless(talk), spoken)[ids])
            token = ids[int((asked + guidance * (asked - without)).argmax())]
            if token == AUDIO_END:
                break
            reply.append(token)
            spoken.append(token)
            codes[-1].append(token - codec.first_id)
        reply.append(AUDIO_END)
        spoken.append(AUDIO_END)
    return codes


def sound_of(model: Model, codes: list[int]) -> np.ndarray:
    codecs = model.processor.codecs
    assert codecs is not None
    assert codecs.speech is not None
    with torch.inference_mode():
        wave = codecs.speech.decode(torch.tensor([codes]), codecs.voice()[None])[0]
    return np.frombuffer(pcm16(wave.numpy()), "<i2")


@pytest.mark.usefixtures("brief")
def test_guided_speech_is_that_of_the_formula(maker: Model) -> None:
    talk = [Message.user("Say: The cat sat, on the mat.")]
    found = {}
    for guidance in (0.0, 1.5, 8.0):
        heard = samples(maker.say("The cat sat, on the mat.", speech_guidance=guidance, **LIKELIEST))
        found[guidance] = said_by_hand(maker, talk, guidance)
        expected = np.concatenate([sound_of(maker, codes) for codes in found[guidance]])
        assert len(heard) == len(expected)
        assert np.abs(heard.astype(int) - expected).max() <= 1
    assert found[0.0] != found[8.0]


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("fusion", ["feature", "cross", "decision"])
def test_guided_replies_side_by_side_are_those_of_their_seeds(fusion: str) -> None:
    model = make_model(fusion=fusion)
    asked: dict[str, Any] = {"reply": "speech", "speech_guidance": 2.0, **WHOLE}
    together = model.chat("Hello.", n=3, seed=5, **asked)
    assert isinstance(together, list)
    assert together == [model.chat("Hello.", seed=5 + index, **asked) for index in range(3)]
    assert any("audio" in kinds(reply) for reply in together)


def test_guidance_of_speech_leaves_words_and_pictures_alone(maker: Model) -> None:
    for reply in ("text", "image"):
        plain = maker.chat("Hello.", reply=reply, **WHOLE)  # type: ignore[arg-type]
        assert maker.chat("Hello.", reply=reply, speech_guidance=5.0, **WHOLE) == plain  # type: ignore[arg-type]


def test_what_cannot_come_never_does_however_guided() -> None:
    scores = torch.tensor([0.0, 1.0, -torch.inf])
    leant = as_asked(scores, torch.tensor([2.0, 0.0, -torch.inf]), 3.0)
    assert leant[2] == -torch.inf
    assert leant[:2].isfinite().all()
    assert leant[1] > leant[0]
