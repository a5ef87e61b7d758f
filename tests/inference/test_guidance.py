"""Guidance: replies that lean on what is seen, over what the rest of a conversation suggests."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sensorium
from sensorium.api import Model
from sensorium.errors import RequestError
from sensorium.inference.sampler import guided
from sensorium.messages import Audio, Image, Message, Text

SCORES = st.lists(st.floats(-6, 6, width=32), min_size=9, max_size=9)


@pytest.fixture(scope="module")
def unsure(onlooker: Path) -> Model:
    """A model that sees, hears and doubts: its weights are shaken, so that many tokens are likely."""
    model = sensorium.load(onlooker, threads=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model._pretrained.model.parameters():
            weight.data = weight.data.clone()
            weight += 0.06 * torch.randn(weight.shape, generator=generator)
    return model


@pytest.fixture
def shown(colours: Path, tones: Path) -> list[Message]:
    picture, tone = Image(path=colours / "red" / "1.png"), Audio(path=tones / "low" / "1.wav")
    return [Message.user([picture, Text("Hello."), tone]), Message.assistant("Hi."), Message.user([picture])]


def belief(model: Model, conversation: list[Message], reply: list[int]) -> np.ndarray:
    """Log-probabilities of the next token, read anew without a cache."""
    sequence = model.processor.encode_messages(conversation, add_generation_prompt=True)
    logits = model.logits([*sequence.token_ids.tolist(), *reply], sequence.features)[-1].astype(np.float64)
    return logits - np.logaddexp.reduce(logits)


def by_hand(model: Model, conversation: list[Message], guidance: float, n: int) -> list[int]:
    """The tokens of a greedy guided reply, as the definition has it."""
    blind = [
        Message(message.role, tuple(part for part in message.parts if not isinstance(part, Image)))
        for message in conversation
    ]
    reply: list[int] = []
    for _ in range(n):
        seen, unseen = belief(model, conversation, reply), belief(model, blind, reply)
        leaning = np.where(seen >= seen.max() + np.log(0.1), seen + guidance * (seen - unseen), -np.inf)
        reply.append(int(leaning[: model.tokenizer.vocab_size].argmax()))
        if reply[-1] in model.processor.stop_ids:
            return reply[:-1]
    return reply


@pytest.mark.parametrize("guidance", [0.5, 4.0])
def test_a_guided_reply_is_that_of_the_definition(unsure: Model, shown: list[Message], guidance: float) -> None:
    expected = unsure.tokenizer.decode(by_hand(unsure, shown, guidance, 12))
    assert unsure.chat(shown, temperature=0.0, max_tokens=12, guidance=guidance).text == expected
    assert unsure.chat(shown, temperature=0.0, max_tokens=12).text != expected


def test_side_by_side_replies_are_guided_each_by_itself(unsure: Model, shown: list[Message]) -> None:
    alone = [unsure.chat(shown, temperature=0.7, seed=seed, max_tokens=9, guidance=2.0).text for seed in (5, 6, 7)]
    together = unsure.chat(shown, temperature=0.7, seed=5, n=3, max_tokens=9, guidance=2.0)
    assert [reply.text for reply in together] == alone
    assert len(set(alone)) > 1


def test_without_pictures_there_is_nothing_to_lean_on(unsure: Model, tones: Path) -> None:
    heard = [Message.user([Audio(path=tones / "high" / "2.wav"), Text("Hello.")])]
    for conversation in (heard, "Hello."):
        plain = unsure.chat(conversation, temperature=0.0, max_tokens=8)
        assert unsure.chat(conversation, temperature=0.0, max_tokens=8, guidance=5.0) == plain


def test_log_probabilities_stay_those_of_the_model(unsure: Model, shown: list[Message]) -> None:
    deltas = list(unsure.stream(shown, temperature=0.0, max_tokens=1, guidance=4.0, logprobs=3))
    token = by_hand(unsure, shown, 4.0, 1)[0]
    (found,) = deltas[0].logprobs
    assert found.logprob == pytest.approx(belief(unsure, shown, [])[token], abs=1e-4)


def test_a_cancelled_reply_ends(unsure: Model, shown: list[Message]) -> None:
    cancel = threading.Event()
    cancel.set()
    (done,) = unsure.stream(shown, guidance=1.0, cancel=cancel)
    assert done.finish_reason == "cancelled"


@given(SCORES, SCORES, st.floats(0, 10))
def test_what_is_hardly_believed_is_never_chosen(seen: list[float], unseen: list[float], guidance: float) -> None:
    leaning = guided(torch.tensor(seen), torch.tensor(unseen), guidance)
    likely = torch.tensor(seen).softmax(0)
    assert likely[leaning.argmax()] >= 0.0999 * likely.max()
    if guidance == 0:
        assert leaning.argmax() == torch.tensor(seen).argmax()


def test_guidance_is_a_number_from_zero(unsure: Model) -> None:
    with pytest.raises(RequestError, match="guidance"):
        unsure.chat("Hello.", guidance=-1.0)
