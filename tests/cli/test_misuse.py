"""Mistakes of every day, each met in one line."""

from pathlib import Path

import pytest
import torch

import sensorium
from sensorium import Message
from sensorium.cli.conversation import Conversation
from sensorium.errors import ConfigError, DataError, RequestError, SensoriumError


@pytest.fixture(scope="module")
def model(talker: Path) -> sensorium.Model:
    return sensorium.load(talker)


@pytest.mark.parametrize("device", ["banana", "meta", "cuda:99", 3.5])
def test_a_device_that_cannot_be_used(talker: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        sensorium.load(talker, device=device)


@pytest.mark.parametrize("dtype", ["float16", torch.int8])
def test_a_dtype_that_is_none(talker: Path, dtype: torch.dtype) -> None:
    with pytest.raises(ConfigError, match="dtype must be"):
        sensorium.load(talker, dtype=dtype)


def test_what_is_no_conversation_text_or_token(model: sensorium.Model) -> None:
    for wrong in (None, 5, [None]):
        with pytest.raises(DataError):
            model.chat(wrong)
    with pytest.raises(RequestError, match="must be a string"):
        model.complete(None)
    for tokens in ("abc", [[1, 2]], [1.7], None):
        with pytest.raises(RequestError, match="token ids must be whole numbers"):
            model.logits(tokens)
    for content in (None, 3, [1]):
        with pytest.raises(SensoriumError):
            Message.user(content)


def test_a_conversation_has_one_reply_at_a_time(model: sensorium.Model) -> None:
    with pytest.raises(RequestError, match="n = 3"):
        Conversation(model, system=None, sampling={"n": 3})


def test_a_refused_message_forgets_nothing(model: sensorium.Model) -> None:
    conversation = Conversation(model, system=None, sampling={"max_tokens": 4, "temperature": 0.0})
    list(conversation.say("Hello!"))
    said = list(conversation.messages)
    with pytest.raises(RequestError, match="leaves no room"):
        list(conversation.say("cat " * 5000))
    assert (conversation.messages, conversation.forgotten) == (said, 0)


@pytest.mark.parametrize("arguments", [("--threads", "999999"), ("--device", "meta")])
def test_options_beyond_reason(cli, talker: Path, arguments: tuple[str, str]) -> None:
    done = cli("ask", "hi", "--model", str(talker), *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_an_unknown_home_in_a_chat(cli, talker: Path) -> None:
    done = cli("chat", "--model", str(talker), stdin="/save ~nobody-at-all/x\n")
    assert done.code == 2
    assert "no such home folder" in done.err
