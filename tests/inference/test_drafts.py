"""Several drafts of a picture, of which the model's own eyes choose one."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from making import make_model, scribble
from replying import WHOLE, belief, ended, kinds

from sensorium.api import Model
from sensorium.errors import DataError, RequestError
from sensorium.inference import grammar
from sensorium.inference.drafts import Easel
from sensorium.messages import Image, ImageDelta, Message, Text
from sensorium.processing.media import media_of

LOOK = ("Look.", "看图。")
TALKS = [[Message.user(text)] for text in ("A ball.", "Draw a red bird.", "画一个球。", "The mat.")]


@pytest.fixture
def drafts(monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """All drafts of every picture, as they are drawn."""
    found: list[list[list[int]]] = []
    draw = Easel._drafts

    def recorded(*args: Any) -> Any:
        drawn = draw(*args)
        if drawn is not None:
            found.append(drawn[0])
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


def seen(model: Model, picture: Image, sketch: str) -> list[float]:
    """How likely the sketch is, asked for in each language, of a picture."""
    return [likelihood(model, [Message.user((picture, Text(look)))], sketch) for look in LOOK]


def drawn(message: Any) -> list[Image]:
    return [part for part in message.parts if isinstance(part, Image)]


@pytest.mark.parametrize("fusion", ["feature", "cross", "decision"])
def test_the_draft_is_shown_in_which_the_sketch_is_seen_best(drafts: list[list[list[int]]], fusion: str) -> None:
    maker = make_model(fusion=fusion)
    codecs = maker.processor.codecs
    assert codecs is not None
    chosen = set()
    for talk in TALKS:
        drafts.clear()
        shown = maker.chat(talk, **asked(image_temperature=1.5))
        assert isinstance(shown, Message)
        (four,) = drafts
        assert len({tuple(draft) for draft in four}) > 2
        pictures, sketch = [Image(data=codecs.picture(draft)) for draft in four], shown.text.strip()
        language = int(np.argmax(seen(maker, pictures[0], sketch)))  # that of the sketch is told by the first draft
        best = int(np.argmax([seen(maker, picture, sketch)[language] for picture in pictures]))
        assert drawn(shown) == [pictures[best]]
        chosen.add(best)
    assert len(chosen) > 1 or fusion == "cross"  # whose gates are closed: to it all pictures are alike


@pytest.mark.parametrize("fusion", ["feature", "cross", "decision"])
def test_some_tokens_are_scored_as_among_all(fusion: str) -> None:
    maker = make_model(fusion=fusion)
    decoder = maker._engine._decoder
    prompt = maker.processor.encode_messages([Message.user((scribble(3), Text("A ball.")))])
    read = decoder.read(prompt.token_ids.tolist(), media_of([prompt.features]))
    assert read is not None
    whole, some, codes = read.copies(0, 3), read.copies(0, 3), slice(20, 33)
    for tokens in ([5, 6, 7], [8, 9, 10]):
        decoder.step(whole, tokens)
        decoder.step(some, tokens, among=codes)
        assert some.scores.shape == (3, 13)
        torch.testing.assert_close(some.scores, whole.scores[:, codes], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", ["feature", "cross", "decision"])
@pytest.mark.parametrize("guidance", [0.0, 2.0])
def test_the_first_draft_is_what_would_be_drawn_without_others(
    drafts: list[list[list[int]]], guidance: float, fusion: str
) -> None:
    maker = make_model(fusion=fusion)
    codecs = maker.processor.codecs
    assert codecs is not None
    for talk in (TALKS[0], [Message.user("A ball on the mat. " * 20)]):  # caches of one size, and of two
        drafts.clear()
        shown = maker.chat(talk, **asked(image_guidance=guidance))
        alone = maker.chat(talk, **asked(image_guidance=guidance, image_candidates=1))
        assert isinstance(shown, Message)
        assert isinstance(alone, Message)
        assert shown.text == alone.text
        assert drawn(alone) == [Image(data=codecs.picture(drafts[0][0]))]


def test_of_drafts_that_change_a_picture_what_would_be_shown_is_looked_at(
    maker: Model, drafts: list[list[list[int]]]
) -> None:
    codecs = maker.processor.codecs
    assert codecs is not None
    chosen = set()
    for seed in range(5):
        drafts.clear()
        before = scribble(seed)
        settings = asked(image_edit_guidance=0.5, image_temperature=1.5, seed=seed)
        shown = maker.chat([Message.user((before, Text("A red ball.")))], **settings)
        assert isinstance(shown, Message)
        pictures = [Image(data=codecs.picture(draft, of=codecs.shown(before))) for draft in drafts[0]]
        sketch = shown.text.strip()
        language = int(np.argmax(seen(maker, pictures[0], sketch)))
        best = int(np.argmax([seen(maker, picture, sketch)[language] for picture in pictures]))
        assert drawn(shown) == [pictures[best]]
        chosen.add(best)
    assert len(chosen) > 1


@pytest.mark.parametrize(
    ("candidates", "edits", "wanted"),
    [(4, 2, [4, 2, 2]), (2, 4, [2, 4, 4]), (1, 3, [3, 3]), (3, 1, [3]), (2, None, [2, 2, 2])],
)
def test_pictures_that_go_by_another_have_drafts_in_a_number_of_their_own(
    maker: Model, drafts: list[list[list[int]]], candidates: int, edits: int | None, wanted: list[int]
) -> None:
    settings = asked(image_candidates=candidates, image_edit_candidates=edits)
    three = maker.chat(TALKS[0], pictures=3, **settings)  # the second goes by the first
    assert [len(each) for each in drafts] == wanted
    assert isinstance(three, Message)
    assert len(set(drawn(three))) == 3
    drafts.clear()
    maker.chat([Message.user((scribble(3), Text("A red ball.")))], **settings)
    assert [len(each) for each in drafts] == [
        number for number in (candidates if edits is None else edits,) if number > 1
    ]
    together = maker.chat(TALKS[0], n=2, pictures=3, **settings)
    assert together == [maker.chat(TALKS[0], pictures=3, **settings | {"seed": 9 + index}) for index in range(2)]


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


@pytest.mark.parametrize("settings", [{"image_look": ()}, {"image_temperature": 0.0}, {"reply": "text"}])
def test_there_is_one_draft_unless_several_would_differ_and_are_looked_at(
    maker: Model, drafts: list[list[list[int]]], settings: dict[str, Any]
) -> None:
    plain = asked(max_tokens=40) | settings
    assert maker.chat(TALKS[0], **plain) == maker.chat(TALKS[0], **plain | {"image_candidates": 1})
    assert drafts == []


def test_a_model_without_eyes_draws_one_draft(drafts: list[list[list[int]]]) -> None:
    blind = make_model(eyes=False)
    assert blind.chat(TALKS[0], **asked()) == blind.chat(TALKS[0], **asked(image_candidates=1))
    assert drafts == []
    mute = make_model(draws=False)
    assert mute.chat(TALKS[0], **asked(reply="text", max_tokens=9)) == mute.chat(TALKS[0], seed=9, max_tokens=9)


def test_a_request_that_cannot_be_read_is_told_before_anything_is_drawn(maker: Model) -> None:
    with pytest.raises(DataError):
        maker.stream(TALKS[0], **asked(image_look=("\ud800",)))


def test_without_a_sketch_there_is_nothing_to_look_for(
    maker: Model, drafts: list[list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar, "LONGEST_SKETCH", 0)
    assert maker.chat(TALKS[0], **asked()) == maker.chat(TALKS[0], **asked(image_candidates=1))
    assert drafts == []


@pytest.mark.parametrize("where", ["_drafts", "_likelihoods"])
def test_what_is_cancelled_ends_with_its_words(maker: Model, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    cancel, looks = threading.Event(), []
    work, likelihood = getattr(Easel, where), Easel._likelihoods

    def cancelled(*args: Any) -> Any:
        cancel.set()
        return work(*args)

    def counted(*args: Any) -> Any:
        looks.append(1)
        return cancelled(*args) if where == "_likelihoods" else likelihood(*args)

    monkeypatch.setattr(Easel, where, cancelled)
    monkeypatch.setattr(Easel, "_likelihoods", counted)
    deltas = list(maker.stream(TALKS[0], cancel=cancel, **asked()))
    assert ended(deltas).finish_reason == "cancelled"
    assert not any(isinstance(delta, ImageDelta) for delta in deltas)
    assert len(looks) == (0 if where == "_drafts" else len(LOOK))  # of the first draft alone


def test_odd_numbers_of_drafts_are_refused(maker: Model) -> None:
    for number in (0, 33):
        with pytest.raises(RequestError, match=f"image_candidates = {number}"):
            maker.chat(TALKS[0], **asked(image_candidates=number))
        with pytest.raises(RequestError, match=f"image_edit_candidates = {number}"):
            maker.chat(TALKS[0], **asked(image_edit_candidates=number))
