"""Pictures of replies: sketched first, guided, one after another, cut short, and by the public face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from making import N_CODES, scribble, tokenizer
from replying import (
    FRAMES,
    IMAGE_BEGIN,
    IMAGE_END,
    WHOLE,
    After,
    belief,
    ended,
    is_picture,
    kinds,
)

from sensorium.api import Model
from sensorium.errors import RequestError
from sensorium.forms import collected
from sensorium.inference import grammar
from sensorium.messages import Done, Image, ImageDelta, Message, Text
from sensorium.processing.codes import Shown, png_bytes
from sensorium.processing.processor import wordless


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn without a sketch."""
    monkeypatch.setattr(grammar, "LONGEST_SKETCH", 0)


@pytest.mark.usefixtures("hasty")
def test_pictures_side_by_side_are_those_of_their_seeds(maker: Model) -> None:
    for settings in ({}, {"image_guidance": 2.0}):
        asked = {"reply": "image", "pictures": 2, "image_edit_guidance": 1.0, **settings}
        together = maker.chat("A ball.", n=3, seed=7, **asked)
        assert isinstance(together, list)
        assert [kinds(reply) for reply in together] == [["image", "image"]] * 3
        assert together == [maker.chat("A ball.", seed=7 + index, **asked) for index in range(3)]
        assert len({reply.parts for reply in together}) == 3


def drawn_by_hand(
    model: Model, messages: Sequence[Message], shown: Image | None, guidance: float, sketch: Sequence[int] = ()
) -> bytes:
    """The likeliest picture code by code, as the definition of guidance has it."""
    assert model.processor.codecs is not None
    assert model.config.image_codec is not None
    ids = model.config.image_codec.ids
    reference = [] if shown is None else model.processor.codecs.picture_ids(shown).tolist()
    reply = [IMAGE_BEGIN, *([*reference, IMAGE_BEGIN] if len(reference) else [])]
    begun = len(reply)
    for _ in range(N_CODES):
        asked, without = (
            scores[ids.start : ids.stop] - np.logaddexp.reduce(scores[ids.start : ids.stop])
            for scores in (belief(model, messages, [*sketch, *reply]), belief(model, wordless(messages), reply))
        )
        reply.append(ids[int((asked + guidance * (asked - without)).argmax())])
    codecs = model.processor.codecs
    return png_bytes(codecs.pixels(reply[begun:], of=None if shown is None else codecs.shown(shown)))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("shown", [False, True])
def test_a_guided_picture_is_that_of_the_formula(maker: Model, shown: bool) -> None:
    given = scribble(3)
    talk = [Message.user([given, Text("A red ball.")] if shown else "A red ball.")]
    likeliest = {"reply": "image", "image_temperature": 0.0}
    name, other = ("image_edit_guidance", "image_guidance")[:: 1 if shown else -1]
    found = [maker.chat(talk, **{name: each, other: 7.0}, **likeliest).parts[0].data for each in (0.0, 1.5, 20.0)]  # type: ignore[union-attr,arg-type]
    assert found == [drawn_by_hand(maker, talk, given if shown else None, each) for each in (0.0, 1.5, 20.0)]
    assert found[0] == maker.chat(talk, **likeliest).parts[0].data  # type: ignore[union-attr]
    assert found[0] != found[2]


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_a_sketch_comes_first_and_guidance_leans_away_from_none(
    maker: Model, monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    monkeypatch.setattr(grammar, "LONGEST_SKETCH", 4)
    talk = [Message.user("A red ball.")]
    message = maker.chat(talk, reply="image", image_temperature=0.0, image_guidance=guidance)
    assert isinstance(message, Message)
    assert kinds(message) == ["text", "image"]
    sketch: list[int] = []
    allowed = [token for token in range(tokenizer().vocab_size) if token not in FRAMES]
    for _ in range(4):
        scores = belief(maker, talk, sketch)
        sketch.append(max(allowed, key=lambda token: scores[token]))
    assert message.text == maker.tokenizer.decode(sketch)
    drawn = message.parts[1]
    assert isinstance(drawn, Image)
    assert drawn.data == drawn_by_hand(maker, talk, None, guidance, sketch)


def test_stop_strings_and_biases_of_words_leave_sketches_alone(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "LONGEST_SKETCH", 6)
    plain = maker.chat("A ball.", reply="image", seed=2)
    assert isinstance(plain, Message)
    assert kinds(plain) == ["text", "image"]
    stopped = maker.chat("A ball.", reply="image", seed=2, stop=[plain.text[0], plain.text[2:4]], presence_penalty=1.0)
    assert stopped == plain
    assert is_picture(maker.draw("A ball.", seed=2, stop=[plain.text[0]]))


def test_sketched_pictures_side_by_side_are_those_of_their_seeds(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "LONGEST_SKETCH", 9)
    asked = {"reply": "image", "pictures": 2, "image_guidance": 2.0, "logprobs": 1}
    together = maker.chat("A ball.", n=3, seed=7, **asked)
    assert isinstance(together, list)
    assert together == [maker.chat("A ball.", seed=7 + index, **asked) for index in range(3)]
    for reply in together:
        assert [kind for kind in kinds(reply) if kind == "image"] == ["image"] * 2
    assert len({reply.text for reply in together}) == 3


@pytest.mark.parametrize("looks", [1, 5])
def test_a_sketch_that_is_cancelled_is_words(maker: Model, looks: int) -> None:
    (message,) = collected(maker.stream("A ball.", reply="image", seed=1, cancel=After(looks)))
    assert kinds(message) == ["text"]
    room = maker.chat("A ball.", reply="image", seed=1, max_tokens=N_CODES + 5)
    assert kinds(room)[-1] == "image"  # type: ignore[arg-type]


def test_sketches_are_chosen_as_pictures_are(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "LONGEST_SKETCH", 4)
    greedy = {"reply": "image", "temperature": 0.0}
    many = [maker.chat("A ball.", seed=seed, **greedy) for seed in range(4)]
    assert len({message.text for message in many}) > 1  # type: ignore[union-attr]
    still = [maker.chat("A ball.", seed=seed, image_temperature=0.0, **greedy) for seed in range(3)]
    assert len({message.text for message in still}) == 1  # type: ignore[union-attr]


def test_sketches_may_be_settled_where_pictures_are_left_to_chance(
    maker: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar, "LONGEST_SKETCH", 4)
    settings: dict[str, Any] = {"reply": "image", "image_temperature": 1.5, "sketch_temperature": 0.0}
    first, *others = [maker.chat("A ball.", seed=seed, **settings).parts for seed in range(4)]  # type: ignore[union-attr]
    assert all(sketch == first[0] for sketch, _ in others)
    assert all(picture != first[1] for _, picture in others)
    settings |= {"image_temperature": 0.0, "sketch_temperature": 1.5}
    first, *others = [maker.chat("A ball.", seed=seed, **settings).parts for seed in range(4)]  # type: ignore[union-attr]
    assert any(sketch != first[0] for sketch, _ in others)


def test_guidance_of_pictures_leaves_words_and_speech_alone(maker: Model) -> None:
    for reply in ("text", "speech"):
        plain = maker.chat("Hello.", reply=reply, **WHOLE)  # type: ignore[arg-type]
        assert maker.chat("Hello.", reply=reply, image_guidance=5.0, **WHOLE) == plain  # type: ignore[arg-type]


@pytest.mark.usefixtures("hasty")
def test_a_second_picture_goes_by_the_codes_of_the_first(maker: Model) -> None:
    talk = [Message.user("Two balls.")]
    message = maker.chat(talk, reply="image", pictures=2, image_temperature=0.0)
    assert isinstance(message, Message)
    assert maker.config.image_codec is not None
    ids = maker.config.image_codec.ids
    reply: list[int] = []
    for begin in ([IMAGE_BEGIN], None):
        reply += begin if begin is not None else [IMAGE_END, IMAGE_BEGIN, *reply[-N_CODES:], IMAGE_BEGIN]
        for _ in range(N_CODES):
            reply.append(ids[int(belief(maker, talk, reply)[ids.start : ids.stop].argmax())])
    assert maker.processor.codecs is not None
    codecs = maker.processor.codecs
    first = Shown(tuple(reply[1 : 1 + N_CODES]), codecs.pixels(reply[1 : 1 + N_CODES]))
    assert message.parts[1] == Image(data=png_bytes(codecs.pixels(reply[-N_CODES:], of=first)))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("looks", [0, 1, 3, 9])
def test_a_picture_that_is_cancelled_is_left_out(maker: Model, looks: int) -> None:
    (done,) = maker.stream("A ball.", reply="image", cancel=After(looks))
    assert isinstance(done, Done)
    assert done.finish_reason == "cancelled"
    assert done.completion_tokens < N_CODES + 2
    assert collected(iter([done])) == [Message.assistant("")]


@pytest.mark.usefixtures("hasty")
def test_a_picture_that_was_drawn_before_is_kept(maker: Model) -> None:
    deltas = list(maker.stream("Two.", reply="image", pictures=2, cancel=After(24)))
    assert [type(delta) for delta in deltas] == [ImageDelta, Done]
    assert ended(deltas).finish_reason == "cancelled"


def test_pictures_need_room(maker: Model) -> None:
    with pytest.raises(
        RequestError, match=r"1 picture\(s\) take 8 tokens, and the reply may have 7 \(raise max_tokens"
    ):
        maker.chat("A ball.", reply="image", max_tokens=7)
    assert kinds(maker.chat("A ball.", reply="image", max_tokens=8)) == ["image"]  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"2 picture\(s\) take 30 tokens, and the reply may have 29"):
        maker.draw("Redder.", image=scribble(), pictures=2, max_tokens=29)
    long = "3" * (511 - 4 - 5)  # a token each; what is left of the context
    with pytest.raises(RequestError, match=r"take 8 tokens, and the reply may have .*shorten the conversation"):
        maker.chat(long, reply="image")


@pytest.mark.usefixtures("hasty")
def test_a_model_draws(maker: Model) -> None:
    one = maker.draw("A ball.", n=3)
    assert is_picture(one)
    several = maker.draw("A ball.", pictures=3)
    assert isinstance(several, list)
    assert len(several) == 3
    assert all(is_picture(each) for each in several)
    edited = maker.draw("Redder.", image=scribble(4))
    assert is_picture(edited)
    assert edited == maker.chat([Message.user([scribble(4), Text("Redder.")])], reply="image").parts[0]  # type: ignore[union-attr]
    assert any(maker.draw("Redder.", image=scribble(other)) != edited for other in range(5, 9))


@pytest.mark.usefixtures("hasty")
def test_a_picture_goes_by_the_last_one_shown_or_drawn(maker: Model) -> None:
    likeliest = {"image_temperature": 0.0, "image_guidance": 0.0}
    first, second = scribble(4), scribble(5)
    for talk in (
        [Message.user([first, second, Text("Redder.")])],
        [Message.user([first, Text("Redder.")]), Message.assistant([second]), Message.user("More.")],
    ):
        found = maker.chat(talk, reply="image", **likeliest)
        assert found.parts[0].data == drawn_by_hand(maker, talk, second, 0.0)  # type: ignore[union-attr]
