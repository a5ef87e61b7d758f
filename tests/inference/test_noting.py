"""A model that takes note of what it is shown and told before it answers."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from making import N_CODES, make_model, scribble
from media_parts import tone
from replying import END, After, ended, kinds

from sensorium.api import WRITE_DOWN, Model
from sensorium.config import SamplingConfig
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.data.world.talk.hearing import NOTHING_HEARD
from sensorium.errors import RequestError
from sensorium.inference import noting
from sensorium.inference.engine import Engine
from sensorium.inference.noting import NoteTaker
from sensorium.messages import Audio, Message, Text

REQUESTS = ("Look.", "看图。")
LISTEN = ("Listen.", "听。")
NOTING: dict[str, Any] = {"look_first": REQUESTS, "listen_first": LISTEN, "temperature": 0.0}
SAMPLING = SamplingConfig(**NOTING)
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
def notes(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Requests to take note of something, each answered with its number."""
    asked: list[Message] = []

    def note(_: NoteTaker, request: Message, __: threading.Event | None) -> str:
        asked.append(request)
        return f"a mat {len(asked)}"

    monkeypatch.setattr(NoteTaker, "_note", note)
    return asked


def noted(model: Model, *messages: Message, reply: str = "text") -> list[Message]:
    return NoteTaker(model.engine, model.processor).noted(messages, SAMPLING, reply=reply)


def prompt(model: Model, messages: Sequence[Message]) -> list[int]:
    return model.processor.prompt(messages)[0]


def test_each_picture_is_gone_over_before_what_is_said_with_it(maker: Model, notes: list[Message]) -> None:
    one, other = scribble(1), scribble(2)
    talk = [
        Message.system("The cat."),
        Message.user((Text("A cat"), one, Text(" or a bird?"), other)),
        Message.assistant("A bird."),
        Message.user("那猫呢？"),
    ]
    shown = [Message.user((picture, Text("Look."))) for picture in (one, other)]
    assert noted(maker, *talk) == [
        talk[0],
        shown[0],
        Message.assistant("a mat 1"),
        shown[1],
        Message.assistant("a mat 2"),
        Message.user((Text("A cat"), Text(" or a bird?"))),
        *talk[2:],
    ]
    assert notes == shown


@pytest.mark.parametrize(("words", "asked"), [("A cat?", "Look."), ("是猫吗？", "看图。")])
def test_it_is_asked_for_in_the_language_of_the_words(
    maker: Model, notes: list[Message], words: str, asked: str
) -> None:
    noted(maker, Message.user((scribble(1), Text(words))))
    assert [message.text for message in notes] == [asked]


@pytest.mark.parametrize(("heard", "look"), [("Is it a cat?", "Look."), ("是猫吗？", "看图。")])
def test_what_was_spoken_is_written_down_and_said_once_more_in_quotation_marks(
    maker: Model, monkeypatch: pytest.MonkeyPatch, heard: str, look: str
) -> None:
    monkeypatch.setattr(
        NoteTaker, "_note", lambda _, asked, __: heard if isinstance(asked.parts[0], Audio) else "a mat"
    )
    recording, picture = tone(), scribble(1)
    written = [Message.user((recording, Text("Listen."))), Message.assistant(heard)]
    shown = [Message.user((picture, Text(look))), Message.assistant("a mat")]
    said = Message.user(f'"{heard}"')
    assert noted(maker, Message.user((recording,))) == [*written, said]
    assert noted(maker, Message.user((recording, Text(" ")))) == [*written, said]
    assert noted(maker, Message.user((picture, recording))) == [*written, *shown, said]


def test_what_was_spoken_is_said_once_more_beside_a_picture_that_is_not_noted(
    maker: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        NoteTaker, "_note", lambda _, asked, __: "Is it a cat?" if isinstance(asked.parts[0], Audio) else ""
    )
    talk = [Message.user((scribble(1), tone()))]
    written = [Message.user((tone(), Text("Listen."))), Message.assistant("Is it a cat?")]
    left = Message.user((scribble(1), Text('"Is it a cat?"')))
    assert noted(maker, *talk) == [*written, left]
    unseeing = SAMPLING.model_copy(update={"look_first": ()})
    assert NoteTaker(maker.engine, maker.processor).noted(talk, unseeing) == [*written, left]


@pytest.mark.parametrize("spoken_at", [0, 1, 2])
def test_what_is_written_beside_a_recording_is_left_beside_its_words(
    maker: Model, notes: list[Message], spoken_at: int
) -> None:
    parts: list[Any] = [Text("是猫吗？"), scribble(1)]
    parts.insert(spoken_at, tone())
    *_, last = noted(maker, Message.user(parts))
    heard = '"a mat 1"'
    assert last == Message.user(f"{heard} 是猫吗？" if spoken_at == 0 else f"是猫吗？ {heard}")
    assert [message.text for message in notes] == ["听。", "看图。"]


@pytest.mark.parametrize(
    "parts", [(Text("Who?"), 300.0, 500.0), (300.0, Text("听。")), (Text("A cat."),)], ids=["several", "asked", "none"]
)
def test_recordings_stay_where_it_matters_when_they_were_made_or_where_they_are_to_be_written_down(
    maker: Model, notes: list[Message], parts: Sequence[Any]
) -> None:
    message = Message.user(tuple(tone(hertz=part) if isinstance(part, float) else part for part in parts))
    assert noted(maker, message) == [message]
    assert not notes


def test_of_several_recordings_with_a_picture_only_the_picture_is_noted(maker: Model, notes: list[Message]) -> None:
    recordings = (tone(hertz=300.0), tone(hertz=500.0))
    *_, last = noted(maker, Message.user((scribble(1), *recordings)))
    assert last == Message.user(recordings)
    assert len(notes) == 1


def test_recordings_are_told_apart(maker: Model, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        noting, "SamplingConfig", lambda **given: SamplingConfig(**given, logit_bias={END: 100.0}, seed=1)
    )
    taker = NoteTaker(maker.engine, maker.processor)
    for hertz in (300.0, 500.0, 300.0):
        taker.noted([Message.user((tone(hertz=hertz),))], SAMPLING)
    assert len(prompts) == 2


def test_a_recording_that_it_is_asked_to_write_down_is_heard_once(maker: Model, prompts: list[list[int]]) -> None:
    maker.transcribe(tone(), **{**NOTING, "listen_first": (WRITE_DOWN,)}, **SHORT)
    assert len(prompts) == 1


@pytest.mark.parametrize(
    "talk",
    [
        [Message.user("A cat.")],
        [Message.user((scribble(1),))],
        [Message.user((scribble(1), Text("看图 ")))],
        [Message.user((scribble(1), Text("look")))],
        [Message.user((scribble(1), Text(" ")))],
        [Message.user("Draw."), Message.assistant((Text("A mat."), scribble(1))), Message.user("Again.")],
    ],
)
def test_nothing_is_looked_at_where_nothing_else_is_asked_about_a_picture(
    maker: Model, notes: list[Message], prompts: list[list[int]], talk: list[Message]
) -> None:
    maker.chat(talk, reply="text", **NOTING, **SHORT)
    assert not notes
    assert prompts == [prompt(maker, talk)]


@pytest.mark.parametrize("reply", ["text", "speech", "image", "auto"])
def test_an_answer_of_any_kind_is_one_to_the_conversation_with_the_survey(
    maker: Model, notes: list[Message], reply: Any
) -> None:
    talk = [Message.user((scribble(3), Text("The cat?")))]
    settings = {"reply": reply, "seed": 4, "max_tokens": 60, "image_guidance": 1.0}
    before = maker.chat(talk, **settings, temperature=0.0)
    found = maker.chat(talk, **settings, **NOTING)
    (shown,) = notes
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
    monkeypatch.setattr(noting, "SamplingConfig", lambda **given: SamplingConfig(**given, **ends))
    taker = NoteTaker(maker.engine, maker.processor)
    prompts.clear()
    for words in ("The cat?", "A bird?"):
        _, answer, _ = taker.noted([Message.user((scribble(3), Text(words)))], SAMPLING)
        assert answer == Message.assistant(expected.text.strip())
    assert prompts == [prompt(maker, [shown])]
    taker.noted([Message.user((scribble(4), Text("The cat?"))), Message.user((scribble(3), Text("猫？")))], SAMPLING)
    assert len(prompts) == 3


def test_only_so_many_pictures_are_remembered(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "_REMEMBERED", 2)
    monkeypatch.setattr(
        noting, "SamplingConfig", lambda **given: SamplingConfig(**given, logit_bias={END: 100.0}, seed=1)
    )
    taker = NoteTaker(maker.engine, maker.processor)
    for seed in range(4):
        taker.noted([Message.user((scribble(seed), Text("The cat?")))], SAMPLING)
    assert len(taker._notes) == 2


def test_what_it_comes_to_no_end_with_stands_as_it_was(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "_LONGEST", 2)
    talk = Message.user((scribble(3), Text("The cat?")))
    assert noted(maker, talk) == [talk]


@pytest.mark.usefixtures("notes")
def test_the_older_pictures_are_not_gone_over_where_too_little_room_would_be_left(
    maker: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (Message.user((scribble(seed), Text("The cat sat on the mat."))) for seed in (1, 2))
    left = maker.config.decoder.max_positions - len(prompt(maker, [old, *noted(maker, new)]))
    monkeypatch.setattr(noting, "_ROOM", {"text": left})
    monkeypatch.setattr(noting, "_ROOM_TO_MAKE", left + 1)
    first, *others = noted(maker, old, new)
    assert first == old
    assert len(others) == 3
    assert noted(maker, old, new, reply="image") == [old, new]


@pytest.mark.parametrize("pictures", [1, 2, 3])
def test_what_there_is_room_for_without_looking_is_made_in_any_case(
    maker: Model, monkeypatch: pytest.MonkeyPatch, pictures: int
) -> None:
    monkeypatch.setattr(NoteTaker, "_note", lambda *_: "The cat sat on the mat. " * 7)
    monkeypatch.setattr(noting, "_ROOM_TO_MAKE", -1000)
    needed = pictures * (2 * N_CODES + 3)
    talk = [Message.user((scribble(1), Text("A bird. " * ((480 - needed) // 4))))]
    assert needed <= maker.config.decoder.max_positions - len(prompt(maker, talk)) < needed + 50
    message = maker.chat(talk, reply="image", pictures=pictures, seed=1, **NOTING)
    assert kinds(message).count("image") == pictures  # type: ignore[arg-type]


@pytest.mark.parametrize("silent", ["recording", "picture"])
def test_what_else_can_be_noted_is_noted(maker: Model, monkeypatch: pytest.MonkeyPatch, silent: str) -> None:
    recording, picture = tone(), scribble(1)
    left = recording if silent == "recording" else picture
    monkeypatch.setattr(NoteTaker, "_note", lambda _, asked, __: "" if asked.parts[0] == left else "a mat")
    first, note, last = noted(maker, Message.user((picture, recording, Text("The cat?"))))
    assert first.parts[0] == (picture if silent == "recording" else recording)
    assert note == Message.assistant("a mat")
    words = "The cat?" if silent == "recording" else '"a mat" The cat?'
    assert last == Message.user((left, Text(words)))


def test_what_it_comes_to_no_end_with_is_tried_once(maker: Model, prompts: list[list[int]], monkeypatch: Any) -> None:
    monkeypatch.setattr(noting, "_LONGEST", 2)
    taker = NoteTaker(maker.engine, maker.processor)
    talk = [Message.user((scribble(3), Text("The cat?")))]
    for _ in range(3):
        assert taker.noted(talk, SAMPLING) == talk
    assert len(prompts) == 1


def test_the_latest_used_are_remembered(maker: Model, prompts: list[list[int]], monkeypatch: Any) -> None:
    monkeypatch.setattr(noting, "_REMEMBERED", 2)
    monkeypatch.setattr(noting, "_LONGEST", 2)
    taker = NoteTaker(maker.engine, maker.processor)
    for seed in (1, 2, 1, 3, 1):
        taker.noted([Message.user((scribble(seed), Text("The cat?")))], SAMPLING)
    assert len(prompts) == 3


def test_several_threads_may_take_notes_at_a_time(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "_REMEMBERED", 1)
    monkeypatch.setattr(
        noting, "SamplingConfig", lambda **given: SamplingConfig(**given, logit_bias={END: 4.0}, seed=1)
    )
    talks = [[Message.user((scribble(seed), Text("The cat?")))] for seed in range(3)]
    alone = [NoteTaker(maker.engine, maker.processor).noted(talk, SAMPLING) for talk in talks]
    assert len({messages[1].text for messages in alone if len(messages) > 1}) > 1
    taker = NoteTaker(maker.engine, maker.processor)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: taker.noted(talks[index % 3], SAMPLING), range(24)))
    assert found == [alone[index % 3] for index in range(24)]


def test_a_recording_that_leaves_no_room_for_a_note_is_answered_as_it_is(maker: Model) -> None:
    recording = tone(4.0)
    room = maker.config.decoder.max_positions - len(prompt(maker, [Message.user((recording,))]))
    message = Message.user((recording, Text("cat " * (room - 8))))
    assert len(prompt(maker, [message])) <= maker.config.decoder.max_positions - 1
    longer = {**NOTING, "listen_first": ("Listen. " + "cat " * room,)}
    plain = maker.chat([message], reply="text", temperature=0.0, **SHORT)
    assert maker.chat([message], reply="text", **longer, **SHORT) == plain


def test_nothing_is_noted_once_it_is_cancelled(maker: Model, prompts: list[list[int]]) -> None:
    cancel = threading.Event()
    cancel.set()
    talk = [Message.user((scribble(5), Text("The cat?")))]
    assert NoteTaker(maker.engine, maker.processor).noted(talk, SAMPLING, cancel=cancel) == talk
    assert not prompts


def test_a_picture_leans_on_what_was_spoken(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoteTaker, "_note", lambda *_: "Draw a cat.")
    wordless: list[Any] = []
    stream = Engine.stream

    def recorded(self: Engine, *args: Any, **kwargs: Any) -> Any:
        wordless.append(kwargs.get("wordless"))
        return stream(self, *args, **kwargs)

    monkeypatch.setattr(Engine, "stream", recorded)
    maker.chat([Message.user((tone(),))], reply="image", image_guidance=1.0, seed=1, **NOTING)
    assert wordless[-1][0] == prompt(maker, [Message.user("")])


def test_it_ends_when_it_is_cancelled_while_it_looks(maker: Model) -> None:
    talk = [Message.user((scribble(5), Text("The cat?")))]
    done = ended(list(maker.stream(talk, reply="text", cancel=After(3), **NOTING)))
    assert done.finish_reason == "cancelled"
    assert done.completion_tokens == 0


def test_what_is_wrong_with_a_request_is_told_before_anything_is_looked_at() -> None:
    model = make_model(draws=False)
    with pytest.raises(RequestError, match="cannot draw"):
        model.stream([Message.user((scribble(1), Text("A cat.")))], reply="image", **NOTING)


def test_guidance_leans_away_from_a_conversation_without_picture_and_survey(
    maker: Model, notes: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    blind: list[Any] = []
    stream = Engine.stream

    def recorded(self: Engine, *args: Any, **kwargs: Any) -> Any:
        blind.append(kwargs.get("blind"))
        return stream(self, *args, **kwargs)

    monkeypatch.setattr(Engine, "stream", recorded)
    maker.chat([Message.user((scribble(1), Text("A cat.")))], reply="text", guidance=1.0, **NOTING, **SHORT)
    ids, _ = blind[-1]
    assert ids == prompt(maker, [Message.user((Text("A cat."),))])
    maker.chat([Message.user((scribble(1), tone()))], reply="text", guidance=1.0, **NOTING, **SHORT)
    ids, _ = blind[-1]
    note = f"a mat {len(notes)}"
    assert isinstance(notes[-1].parts[0], Audio)
    assert ids == prompt(maker, [notes[-1], Message.assistant(note), Message.user(f'"{note}"')])


def forms(text: str) -> set[str]:
    """How a text has spoken words among typed ones."""
    found = re.fullmatch(r'(?:.* )?"(.*)"(?: .*)?', text)
    if found is None:
        return set()
    if found[1] in NOTHING_HEARD.values():
        return {"silence"}
    return {"alone" if text == f'"{found[1]}"' else "first" if text.startswith('"') else "last"}


FORMS = {  # of each kind: how what was spoken stands in the last turn
    **{"vqa": set(), "chat": {"alone"}, "speaker": {"first", "last"}, "spoken_vqa": {"alone"}, "greet": {"alone"}},
    **{"weather": {"alone", "first", "last"}, "fuse": {"first", "last"}, "digits": {"first"}, "draw": {"alone"}},
    **{"refuse": {"silence"}, "speak": {"first"}},
}


@pytest.mark.parametrize("kind", FORMS)
def test_notes_are_taken_as_the_world_teaches_them(maker: Model, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    plain, taught = (World(WorldSpec(kinds={kind: 1.0}, notes=notes), "train") for notes in (0.0, 1.0))
    met: set[str] = set()
    for index in range(24):
        *asked, _ = plain.record(index).content
        *lesson, _ = taught.record(index).content
        answers = {
            message.parts[0]: answer.text for message, answer in itertools.pairwise(lesson) if len(message.parts) == 2
        }
        monkeypatch.setattr(NoteTaker, "_note", lambda _, request, __, known=answers: known[request.parts[0]])
        monkeypatch.setattr(NoteTaker, "_fits", lambda *_: True)
        found = NoteTaker(maker.engine, maker.processor).noted(asked, SAMPLING)
        assert len(found) == len(lesson)
        for ours, theirs in zip(found, lesson, strict=True):
            assert ours.role == theirs.role
            request = ours.text in (*REQUESTS, *LISTEN)
            assert ours.parts[: 1 if request else None] == theirs.parts[: 1 if request else None]
            met |= forms(ours.text)
    assert met >= FORMS[kind]


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ((Text("What is it?\n"), tone()), ('What is it? "a mat 1"',)),
        ((tone(), Text("  What is it? ")), ('"a mat 1" What is it?',)),
        ((Text("A cat"), Text(" or a bird?"), tone()), ('A cat or a bird? "a mat 1"',)),
        ((Text("Is it "), Text(" "), tone(), scribble(1), Text("a ca"), Text("t?")), ('Is it "a mat 1" a cat?',)),
    ],
)
def test_blanks_of_what_is_typed_change_nothing(
    maker: Model, notes: list[Message], parts: Sequence[Any], left: Sequence[str]
) -> None:
    *_, last = noted(maker, Message.user(tuple(parts)))
    assert last == Message.user(tuple(map(Text, left)))
    assert notes


def test_a_picture_that_is_not_noted_stays_where_it_is(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoteTaker, "_note", lambda _, asked, __: "a mat" if isinstance(asked.parts[0], Audio) else "")
    picture = scribble(1)
    *_, last = noted(maker, Message.user((Text("A cat?"), picture, tone(), Text("Or a bird?"))))
    assert last == Message.user((Text("A cat?"), picture, Text('"a mat" Or a bird?')))


def test_what_was_heard_cannot_close_its_quotation(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoteTaker, "_note", lambda *_: 'a "mat"\nand')
    *_, last = noted(maker, Message.user((tone(), Text("A cat?"))))
    assert last == Message.user("\"a 'mat' and\" A cat?")


def test_a_long_recording_is_written_down_in_stretches(maker: Model, notes: list[Message]) -> None:
    recording = tone(3.5)
    sampling = SAMPLING.model_copy(update={"listen_seconds": 1.0})
    talk = NoteTaker(maker.engine, maker.processor).noted([Message.user((recording,))], sampling)
    heard = " ".join(f"a mat {number}" for number in range(1, len(notes) + 1))
    assert len(notes) >= 3
    assert all(message.text == "Listen." and message.parts[0] != recording for message in notes)
    assert talk == [
        Message.user((recording, Text("Listen."))),
        Message.assistant(heard),
        Message.user(f'"{heard}"'),
    ]


def test_to_transcribe_is_to_write_down_each_stretch(maker: Model, prompts: list[list[int]]) -> None:
    maker.transcribe(tone(3.5), listen_seconds=1.0, **SHORT)
    assert len(prompts) >= 3
    whole = prompt(maker, [Message.user((tone(3.5), Text(WRITE_DOWN)))])
    assert all(len(each) < len(whole) for each in prompts)
    prompts.clear()
    maker.transcribe(tone(3.5), **SHORT)
    assert prompts == [whole]


def test_without_a_recording_there_is_nothing_to_transcribe(maker: Model) -> None:
    with pytest.raises(RequestError, match="nothing to write down"):
        maker.transcribe(None)  # type: ignore[arg-type]
