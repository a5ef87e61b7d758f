"""A model that looks at what it is shown before it answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from making import N_CODES, make_model, scribble
from replying import END, After, ended, kinds

from sensorium.api import Model
from sensorium.config import SamplingConfig
from sensorium.errors import RequestError
from sensorium.inference import looking
from sensorium.inference.engine import Engine
from sensorium.inference.looking import Looker
from sensorium.messages import Audio, Message, Text

REQUESTS = ("Look.", "看图。")
LOOKING: dict[str, Any] = {"look_first": REQUESTS, "temperature": 0.0}
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
def surveys(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Requests to go over a picture, each answered with its number."""
    asked: list[Message] = []

    def survey(_: Looker, shown: Message, __: str, ___: threading.Event | None) -> str:
        asked.append(shown)
        return f"a mat {len(asked)}"

    monkeypatch.setattr(Looker, "_survey", survey)
    return asked


def looked(model: Model, *messages: Message, reply: str = "text") -> list[Message]:
    return Looker(model.engine, model.processor).looked(messages, REQUESTS, reply=reply)


def prompt(model: Model, messages: Sequence[Message]) -> list[int]:
    return model.processor.prompt(messages)[0]


def test_each_picture_is_gone_over_before_what_is_said_with_it(maker: Model, surveys: list[Message]) -> None:
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
    assert surveys == shown


@pytest.mark.parametrize(("words", "request_"), [("A cat?", "Look."), ("是猫吗？", "看图。"), (None, "Look.")])
def test_it_is_asked_for_in_the_language_of_the_words(
    maker: Model, surveys: list[Message], words: str | None, request_: str
) -> None:
    said = Audio(data=b"never heard") if words is None else Text(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(maker.processor), "encode_messages", lambda *_, **__: [0])
        looked(maker, Message.user((scribble(1), said)))
    assert [message.text for message in surveys] == [request_]


@pytest.mark.parametrize(
    "talk",
    [
        [Message.user("A cat.")],
        [Message.user((scribble(1),))],
        [Message.user((scribble(1), Text("看图。")))],
        [Message.user("Draw."), Message.assistant((Text("A mat."), scribble(1))), Message.user("Again.")],
    ],
)
def test_nothing_is_looked_at_where_nothing_else_is_asked_about_a_picture(
    maker: Model, surveys: list[Message], prompts: list[list[int]], talk: list[Message]
) -> None:
    maker.chat(talk, reply="text", **LOOKING, **SHORT)
    assert not surveys
    assert prompts == [prompt(maker, talk)]


@pytest.mark.parametrize("reply", ["text", "speech", "image", "auto"])
def test_an_answer_of_any_kind_is_one_to_the_conversation_with_the_survey(
    maker: Model, surveys: list[Message], reply: Any
) -> None:
    talk = [Message.user((scribble(3), Text("The cat?")))]
    settings = {"reply": reply, "seed": 4, "max_tokens": 60, "image_guidance": 1.0}
    before = maker.chat(talk, **settings, temperature=0.0)
    found = maker.chat(talk, **settings, **LOOKING)
    (shown,) = surveys
    with_survey = [shown, Message.assistant("a mat 1"), Message.user("The cat?")]
    assert found == maker.chat(with_survey, **settings, temperature=0.0)
    assert found != before


def test_a_survey_is_what_the_model_answers_greedily_and_is_remembered(
    maker: Model, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Message.user((scribble(3), Text("Look.")))
    ends = {"logit_bias": {END: 4.0}}
    expected = maker.chat([shown], reply="text", temperature=0.0, max_tokens=200, **ends)
    assert isinstance(expected, Message)
    assert expected.text.strip()
    monkeypatch.setattr(looking, "SamplingConfig", lambda **given: SamplingConfig(**given, **ends))
    looker = Looker(maker.engine, maker.processor)
    prompts.clear()
    for words in ("The cat?", "A bird?"):
        _, answer, _ = looker.looked([Message.user((scribble(3), Text(words)))], REQUESTS)
        assert answer == Message.assistant(expected.text.strip())
    assert prompts == [prompt(maker, [shown])]
    looker.looked([Message.user((scribble(4), Text("The cat?"))), Message.user((scribble(3), Text("猫？")))], REQUESTS)
    assert len(prompts) == 3


def test_only_so_many_pictures_are_remembered(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_REMEMBERED", 2)
    monkeypatch.setattr(
        looking, "SamplingConfig", lambda **given: SamplingConfig(**given, logit_bias={END: 100.0}, seed=1)
    )
    looker = Looker(maker.engine, maker.processor)
    for seed in range(4):
        looker.looked([Message.user((scribble(seed), Text("The cat?")))], REQUESTS)
    assert len(looker._surveys) == 2


def test_what_it_comes_to_no_end_with_stands_as_it_was(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_LONGEST", 2)
    talk = Message.user((scribble(3), Text("The cat?")))
    assert looked(maker, talk) == [talk]


@pytest.mark.usefixtures("surveys")
def test_the_older_pictures_are_not_gone_over_where_too_little_room_would_be_left(
    maker: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (Message.user((scribble(seed), Text("The cat sat on the mat."))) for seed in (1, 2))
    left = maker.config.decoder.max_positions - len(prompt(maker, [old, *looked(maker, new)]))
    monkeypatch.setattr(looking, "_ROOM", {"text": left})
    monkeypatch.setattr(looking, "_ROOM_TO_MAKE", left + 1)
    first, *others = looked(maker, old, new)
    assert first == old
    assert len(others) == 3
    assert looked(maker, old, new, reply="image") == [old, new]


@pytest.mark.parametrize("pictures", [1, 2, 3])
def test_what_there_is_room_for_without_looking_is_made_in_any_case(
    maker: Model, monkeypatch: pytest.MonkeyPatch, pictures: int
) -> None:
    monkeypatch.setattr(Looker, "_survey", lambda *_: "The cat sat on the mat. " * 7)
    monkeypatch.setattr(looking, "_ROOM_TO_MAKE", -1000)
    needed = pictures * (2 * N_CODES + 3)
    talk = [Message.user((scribble(1), Text("A bird. " * ((480 - needed) // 4))))]
    assert needed <= maker.config.decoder.max_positions - len(prompt(maker, talk)) < needed + 50
    message = maker.chat(talk, reply="image", pictures=pictures, seed=1, **LOOKING)
    assert kinds(message).count("image") == pictures  # type: ignore[arg-type]


def test_it_ends_when_it_is_cancelled_while_it_looks(maker: Model) -> None:
    talk = [Message.user((scribble(5), Text("The cat?")))]
    done = ended(list(maker.stream(talk, reply="text", cancel=After(3), **LOOKING)))
    assert done.finish_reason == "cancelled"
    assert done.completion_tokens == 0


def test_what_is_wrong_with_a_request_is_told_before_anything_is_looked_at() -> None:
    model = make_model(draws=False)
    with pytest.raises(RequestError, match="cannot draw"):
        model.stream([Message.user((scribble(1), Text("A cat.")))], reply="image", **LOOKING)


@pytest.mark.usefixtures("surveys")
def test_guidance_leans_away_from_a_conversation_without_picture_and_survey(
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
