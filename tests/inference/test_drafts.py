"""Several drafts of a picture, of which the model's own eyes choose one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from making import make_model, scribble
from replying import WHOLE, After, belief, ended, kinds

from sensorium.api import Model
from sensorium.errors import RequestError
from sensorium.inference import grammar
from sensorium.inference.drafts import Easel
from sensorium.messages import Image, ImageDelta, Message, Text

LOOK = ("Look.", "看图。")
TALKS = [[Message.user(text)] for text in ("A ball.", "Draw a red bird.", "画一个球。", "The mat.")]


@pytest.fixture(scope="module")
def maker() -> Model:
    return make_model()


@pytest.fixture
def drafts(monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """All drafts of every picture, as they are drawn."""
    found: list[list[list[int]]] = []
    draw = Easel._drafts

    def recorded(*args: Any) -> Any:
        drawn = draw(*args)
        if drawn is not None:
            found.append(drawn)
        return drawn

    monkeypatch.setattr(Easel, "_drafts", recorded)
    return found


def asked(**settings: Any) -> dict[str, Any]:
    return {"reply": "image", "seed": 9, "image_guidance": 1.0, "image_candidates": 4, "image_look": LOOK} | settings


def likelihood(model: Model, talk: list[Message], words: str) -> float:
    """Mean log-probability of words as the next answer, each read anew."""
    costs, ids = [], model.tokenizer.encode(words)
    for index, token in enumerate(ids):
        scores = belief(model, talk, ids[:index])
        costs.append(scores[token] - np.logaddexp.reduce(scores))
    return float(np.mean(costs))


def seen(model: Model, codes: list[int], sketch: str) -> list[float]:
    """How likely the sketch is, told in each language, of a picture of these codes."""
    codecs = model.processor.codecs
    assert codecs is not None
    picture = Image(data=codecs.picture(codes))
    return [likelihood(model, [Message.user((picture, Text(look)))], sketch) for look in LOOK]


def drawn(message: Any) -> list[Image]:
    return [part for part in message.parts if isinstance(part, Image)]


def test_the_draft_is_shown_in_which_the_sketch_is_seen_best(maker: Model, drafts: list[list[list[int]]]) -> None:
    codecs = maker.processor.codecs
    assert codecs is not None
    chosen = set()
    for talk in TALKS:
        drafts.clear()
        shown = maker.chat(talk, **asked(image_temperature=1.5))
        assert isinstance(shown, Message)
        (four,) = drafts
        assert len({tuple(draft) for draft in four}) > 2
        first = seen(maker, four[0], shown.text.strip())
        language = int(np.argmax(first))  # that of the sketch is told by the first draft
        worth = [seen(maker, draft, shown.text.strip())[language] for draft in four]
        best = int(np.argmax(worth))
        assert drawn(shown) == [Image(data=codecs.picture(four[best]))]
        chosen.add(best)
    assert len(chosen) > 1


@pytest.mark.parametrize("fusion", ["feature", "cross", "decision"])
@pytest.mark.parametrize("guidance", [0.0, 2.0])
def test_the_first_draft_is_what_would_be_drawn_without_others(
    drafts: list[list[list[int]]], guidance: float, fusion: str
) -> None:
    maker = make_model(fusion=fusion)
    codecs = maker.processor.codecs
    assert codecs is not None
    for talk in TALKS[:2]:
        drafts.clear()
        shown = maker.chat(talk, **asked(image_guidance=guidance))
        alone = maker.chat(talk, **asked(image_guidance=guidance, image_candidates=1))
        assert isinstance(shown, Message)
        assert isinstance(alone, Message)
        assert shown.text == alone.text
        assert drawn(alone) == [Image(data=codecs.picture(drafts[0][0]))]


def test_the_likeliest_drafts_are_all_one(maker: Model, drafts: list[list[list[int]]]) -> None:
    maker.chat(TALKS[0], **asked(image_temperature=0.0, image_guidance=2.0))
    assert len({tuple(draft) for draft in drafts[0]}) == 1


def test_drafts_go_by_the_picture_that_is_changed(maker: Model, drafts: list[list[list[int]]]) -> None:
    codecs = maker.processor.codecs
    assert codecs is not None
    before = scribble(1)
    shown = maker.chat([Message.user((before, Text("A red ball.")))], **asked(image_edit_guidance=0.5))
    assert drawn(shown)[0].data in {codecs.picture(draft, of=codecs.shown(before)) for draft in drafts[0]}


def test_each_of_several_pictures_and_replies_has_drafts_of_its_own(
    maker: Model, drafts: list[list[list[int]]]
) -> None:
    together = maker.chat(TALKS[1], **asked(n=2, pictures=2))
    assert isinstance(together, list)
    assert [len(drawn(reply)) for reply in together] == [2, 2]
    assert len(drafts) == 4
    assert together == [maker.chat(TALKS[1], **asked(seed=9 + index, pictures=2)) for index in range(2)]


def test_a_picture_amid_words_is_looked_at_too(maker: Model, drafts: list[list[list[int]]]) -> None:
    message = maker.chat(TALKS[0], **asked(reply="auto", **WHOLE))
    assert isinstance(message, Message)
    assert kinds(message).count("image") >= len(drafts) > 0


@pytest.mark.parametrize("settings", [{"image_look": ()}, {"image_candidates": 1}, {"reply": "text"}])
def test_there_is_one_draft_unless_it_is_to_be_looked_at(
    maker: Model, drafts: list[list[list[int]]], settings: dict[str, Any]
) -> None:
    plain = asked(max_tokens=40) | settings
    assert maker.chat(TALKS[0], **plain) == maker.chat(TALKS[0], **plain | {"image_candidates": 1})
    assert drafts == []


def test_without_a_sketch_there_is_nothing_to_look_for(
    maker: Model, drafts: list[list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar, "LONGEST_SKETCH", 0)
    assert maker.chat(TALKS[0], **asked()) == maker.chat(TALKS[0], **asked(image_candidates=1))
    assert drafts == []


@pytest.mark.parametrize("looks", [0, 3, 10**6])
def test_what_is_cancelled_ends_with_what_there_is(maker: Model, looks: int) -> None:
    deltas = list(maker.stream(TALKS[0], cancel=After(looks), **asked(max_tokens=60)))
    assert ended(deltas).finish_reason == ("cancelled" if looks < 60 else "stop")
    assert any(isinstance(delta, ImageDelta) for delta in deltas) == (looks > 60)


def test_odd_numbers_of_drafts_are_refused(maker: Model) -> None:
    for number in (0, 33):
        with pytest.raises(RequestError, match=f"image_candidates = {number}"):
            maker.chat(TALKS[0], **asked(image_candidates=number))
