"""A model that looks at what it is shown before it answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from making import make_model, scribble
from replying import END, After, ended

from sensorium.api import Model
from sensorium.config import SamplingConfig
from sensorium.errors import RequestError
from sensorium.inference import looking
from sensorium.inference.engine import Engine
from sensorium.inference.looking import Looker
from sensorium.messages import Audio, Message, Text

LOOK = ("Look.", "看图。")
LOOKING: dict[str, Any] = {"look_first": LOOK, "temperature": 0.0}
SHORT: dict[str, Any] = {"logit_bias": {END: 4.0}, "max_tokens": 12}


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What the engine reads."""
    read: list[list[int]] = []
    stream = Engine.stream

    def recorded(self: Engine, prompt: Sequence[int], *args: Any, **kwargs: Any) -> Any:
        read.append(list(prompt))
        return stream(self, prompt, *args, **kwargs)

    monkeypatch.setattr(Engine, "stream", recorded)
    return read


@pytest.fixture
def sketches(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Requests for a sketch, each answered with its number."""
    asked: list[Message] = []

    def seen(_: Looker, shown: Message, __: threading.Event | None) -> str:
        asked.append(shown)
        return f"a mat {len(asked)}"

    monkeypatch.setattr(Looker, "_seen", seen)
    return asked


def looked(model: Model, *messages: Message) -> list[Message]:
    return Looker(model.engine, model.processor, LOOK).looked(messages)


def prompt(model: Model, messages: Sequence[Message]) -> list[int]:
    ids: list[int] = model.processor.encode_messages(messages, add_generation_prompt=True).token_ids.tolist()
    return ids


def test_each_picture_is_sketched_before_what_is_said_with_it(maker: Model, sketches: list[Message]) -> None:
    one, other = scribble(1), scribble(2)
    talk = [
        Message.system("The cat."),
        Message.user((Text("A cat"), one, Text(" or a bird?"), other)),
        Message.assistant("A bird."),
        Message.user("那猫呢？"),
    ]
    shown = [Message.user((picture, Text("Look."))) for picture in (one, other)]
    assert looked(maker, *talk) == [
        talk[0],
        shown[0],
        Message.assistant("a mat 1"),
        shown[1],
        Message.assistant("a mat 2"),
        Message.user((Text("A cat"), Text(" or a bird?"))),
        *talk[2:],
    ]
    assert sketches == shown


@pytest.mark.parametrize(("words", "request_"), [("A cat?", "Look."), ("是猫吗？", "看图。"), (None, "Look.")])
def test_it_is_asked_for_in_the_language_of_the_words(
    maker: Model, sketches: list[Message], words: str | None, request_: str
) -> None:
    said = Audio(data=b"never heard") if words is None else Text(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(maker.processor), "encode_messages", lambda *_, **__: [0])
        looked(maker, Message.user((scribble(1), said)))
    assert [message.text for message in sketches] == [request_]


@pytest.mark.parametrize(
    "talk",
    [
        [Message.user("A cat.")],
        [Message.user((scribble(1),))],
        [Message.user("Draw."), Message.assistant((Text("A mat."), scribble(1))), Message.user("Again.")],
    ],
)
def test_nothing_is_looked_at_where_nothing_is_asked_about_a_picture(
    maker: Model, sketches: list[Message], prompts: list[list[int]], talk: list[Message]
) -> None:
    maker.chat(talk, reply="text", **LOOKING, **SHORT)
    assert not sketches
    assert prompts == [prompt(maker, talk)]


@pytest.mark.parametrize("reply", ["text", "speech", "image", "auto"])
def test_an_answer_of_any_kind_is_one_to_the_conversation_with_the_sketch(
    maker: Model, sketches: list[Message], reply: Any
) -> None:
    talk = [Message.user((scribble(3), Text("The cat?")))]
    settings = {"reply": reply, "seed": 4, "max_tokens": 60, "image_guidance": 1.0}
    before = maker.chat(talk, **settings, temperature=0.0)
    found = maker.chat(talk, **settings, **LOOKING)
    (shown,) = sketches
    with_sketch = [shown, Message.assistant("a mat 1"), Message.user("The cat?")]
    assert found == maker.chat(with_sketch, **settings, temperature=0.0)
    assert found != before


def test_a_sketch_is_what_the_model_answers_greedily(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Message.user((scribble(3), Text("Look.")))
    settings = {"temperature": 0.0, "max_tokens": 128, "logit_bias": {END: 4.0}}
    expected = maker.chat([shown], reply="text", **settings)
    assert isinstance(expected, Message)
    assert expected.text.strip()
    monkeypatch.setattr(looking, "SamplingConfig", lambda **_: SamplingConfig(**settings))
    _, answer, _ = looked(maker, Message.user((scribble(3), Text("The cat?"))))
    assert answer == Message.assistant(expected.text.strip())


def test_without_a_whole_sketch_the_conversation_stays(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.inference.looking._LONGEST", 2)
    talk = Message.user((scribble(3), Text("The cat?")))
    assert looked(maker, talk) == [talk]


def test_a_sketch_that_leaves_no_room_to_answer_is_left_out(maker: Model, sketches: list[Message]) -> None:
    talk = Message.user((scribble(3), Text("The cat sat on the mat. " * 56)))
    room = maker.config.decoder.max_positions - len(prompt(maker, [talk]))
    assert 0 < room < 100
    assert looked(maker, talk) == [talk]
    assert sketches


def test_it_ends_when_it_is_cancelled_while_it_looks(maker: Model) -> None:
    talk = [Message.user((scribble(3), Text("The cat?")))]
    done = ended(list(maker.stream(talk, reply="text", cancel=After(3), **LOOKING)))
    assert done.finish_reason == "cancelled"
    assert done.completion_tokens == 0


def test_what_is_wrong_with_a_request_is_told_before_anything_is_looked_at() -> None:
    model = make_model(draws=False)
    with pytest.raises(RequestError, match="cannot draw"):
        model.stream([Message.user((scribble(1), Text("A cat.")))], reply="image", **LOOKING)


@pytest.mark.usefixtures("sketches")
def test_guidance_leans_away_from_a_conversation_without_picture_and_sketch(
    maker: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind: list[Any] = []
    stream = Engine.stream

    def recorded(self: Engine, *args: Any, **kwargs: Any) -> Any:
        blind.append(kwargs.get("blind"))
        return stream(self, *args, **kwargs)

    monkeypatch.setattr(Engine, "stream", recorded)
    maker.chat([Message.user((scribble(1), Text("A cat.")))], reply="text", guidance=1.0, **LOOKING, **SHORT)
    ids, _ = blind[-1]
    assert ids == prompt(maker, [Message.user((Text("A cat."),))])
