"""Conversations whose answers are said as well."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sensorium.clauses import clauses
from sensorium.data.aloud import aloud
from sensorium.data.mixture import Mixture
from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.data.world.speech import speak, wav_bytes
from sensorium.data.world.talk.making import ALOUD, VOICE
from sensorium.data.world.talk.places import SURVEY
from sensorium.messages import Audio, Image, Message, Text

LOOKS = {text for language in ("en", "zh") for text in SURVEY.of(language, "train")}
REQUESTS = ALOUD.of("en", "train") + ALOUD.of("zh", "train")
PICTURE = Image(data=b"P6 1 1 255\n\0\0\0")


def is_said(record: Record) -> bool:
    """Whether an answer is spoken."""
    return any(
        isinstance(part, Audio)
        for message in record.content
        if isinstance(message, Message) and message.role == "assistant"
        for part in message.parts
    )


def said(*messages: Message, seed: int = 0) -> tuple[Message, ...]:
    record = aloud(Record(messages, "here:1"), random.Random(seed), "train")
    assert record.where == "here:1"
    assert isinstance(record.content, tuple)
    return record.content


@pytest.mark.parametrize(
    ("question", "answer", "language"),
    [
        ("How are you?", "I am very well, thank you. How are you?", "en"),
        ("你好吗？", "我很好，谢谢你。你呢？", "zh"),
    ],
)
def test_each_clause_is_followed_by_its_sound_in_the_assistants_voice(
    question: str, answer: str, language: str
) -> None:
    asked, answered = said(Message.user(question), Message.assistant(answer))
    assert answered.text == answer
    assert [part.text for part in answered.parts[::2] if isinstance(part, Text)] == clauses(answer)
    for clause, sound in zip(clauses(answer), answered.parts[1::2], strict=True):
        assert isinstance(sound, Audio)
        assert sound.data == wav_bytes(speak(clause.strip(), language, VOICE, split="train", take=None))
    request = asked.text.removeprefix(question).strip()
    assert request in ALOUD.of(language, "train")


def test_the_request_comes_once_with_the_first_answer_that_is_spoken() -> None:
    talk = [
        Message.system("Be kind."),
        Message.user((PICTURE, Text("Where is it?"))),
        Message.assistant("dog<loc01><loc02>"),
        Message.user((PICTURE,)),
        Message.assistant("A dog."),
        Message.user("Thanks."),
        Message.assistant("You are welcome!"),
    ]
    found = said(*talk)
    assert found[:3] == tuple(talk[:3])
    *before, request = found[3].parts
    assert before == [PICTURE]
    assert isinstance(request, Text)
    assert request.text in ALOUD.of("en", "train")
    assert found[5] == talk[5]
    assert [len(found[index].parts) for index in (4, 6)] == [2, 2]


@pytest.mark.parametrize(
    "answer",
    [
        Message.assistant("red dog<loc01><loc02><loc03><loc04>"),
        Message.assistant((Text("Here:"), PICTURE)),
        Message.assistant("?!"),
        Message.assistant(" "),
        Message.assistant("A very long story. " * 20),
    ],
)
def test_what_is_not_for_the_ear_stays_written(answer: Message) -> None:
    talk = (Message.user("Well?"), answer)
    assert said(*talk) == talk


def test_what_nobody_asked_for_stays_written() -> None:
    assert said(Message.assistant("Hello, dear friends.")) == (Message.assistant("Hello, dear friends."),)
    document = Record("Hello, dear friends.", "here:1")
    assert aloud(document, random.Random(0), "train") is document


def test_each_answer_is_said_in_its_own_language() -> None:
    found = said(
        Message.user("Hello!"),
        Message.assistant("Hello, dear friend."),
        Message.user("你好！"),
        Message.assistant("你好！很高兴和你聊天。"),
    )
    for answer, language in ((found[1], "en"), (found[3], "zh")):
        for clause, sound in zip(clauses(answer.text), answer.parts[1::2], strict=True):
            assert isinstance(sound, Audio)
            assert sound.data == wav_bytes(speak(clause.strip(), language, VOICE, split="train", take=None))
    assert any(found[0].text.endswith(request) for request in ALOUD.of("en", "train"))


@pytest.mark.parametrize("kind", ["weather", "vqa", "caption"])
def test_surveys_are_not_said_and_the_request_stays_with_the_question(kind: str) -> None:
    world = World(WorldSpec(kinds={kind: 1.0}, notes=1.0), "train")
    surveys = 0
    for index in range(30):
        talk = world.record(index).content
        assert isinstance(talk, tuple)
        found = said(*talk, seed=index)
        for place, message in enumerate(talk):
            if message.text in LOOKS:
                surveys += 1
                assert found[place : place + 2] == talk[place : place + 2]
        assert any(isinstance(part, Audio) for part in found[-1].parts)
        assert any(found[-2].text.endswith(request) for request in REQUESTS)
    assert surveys > 10


def test_the_request_stands_beside_what_was_spoken() -> None:
    world = World(WorldSpec(kinds={"greet": 1.0}, notes=1.0), "train")
    spoken = 0
    for index in range(60):
        talk = world.record(index).content
        assert isinstance(talk, tuple)
        if talk[-2].text.endswith('"'):
            spoken += 1
            words = said(*talk, seed=index)[-2].text
            assert words in {f"{talk[-2].text} {request}" for request in REQUESTS}
    assert spoken > 5


def test_a_mixture_goes_on_with_the_same_records_said() -> None:
    spec = DatasetSpec(world=WorldSpec(kinds={"greet": 1.0}), split="train", aloud=0.5)

    def begun() -> Mixture[Any]:
        return Mixture([spec], None, (), seed=1, repeat=True)  # type: ignore[type-var]

    def drawn(mixture: Mixture[Any], n: int) -> list[Record]:
        return [mixture.draw(lambda record, _: [record], lambda _: 1)[0] for _ in range(n)]

    whole = begun()
    first = drawn(whole, 9)
    restored = begun()
    restored.load_state_dict(whole.state_dict())
    assert drawn(restored, 12) == drawn(whole, 12)
    assert 0 < sum(is_said(record) for record in first) < 9


def test_a_data_set_is_said_aloud_as_often_as_it_asks_for() -> None:
    def heard(probability: float) -> list[bool]:
        spec = DatasetSpec(world=WorldSpec(kinds={"greet": 1.0}), split="train", aloud=probability)
        mixture: Mixture[Any] = Mixture([spec], None, (), seed=1, repeat=True)  # type: ignore[type-var]
        return [mixture.draw(lambda record, _: [is_said(record)], lambda _: 1)[0] for _ in range(60)]

    assert not any(heard(0.0))
    assert all(heard(1.0))
    some = heard(0.5)
    assert 15 < sum(some) < 45
    assert some == heard(0.5)
