"""Several drafts of a picture, of which the model's own eyes choose one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from making import make_model, scribble
from replying import END, After, belief, ended, kinds

from sensorium.api import Model
from sensorium.errors import RequestError
from sensorium.messages import Done, Image, ImageDelta, Message, Text

LOOK = ("Look.", "看图。")
TALKS = [[Message.user(text)] for text in ("A ball.", "Draw a red bird.", "画一个球。", "The mat.")]


@pytest.fixture(scope="module")
def maker() -> Model:
    return make_model()


def likelihood(model: Model, talk: list[Message], words: str) -> float:
    """Mean log-probability of words as the next answer, each read anew."""
    costs, ids = [], model.tokenizer.encode(words)
    for index, token in enumerate(ids):
        scores = belief(model, talk, ids[:index])
        costs.append(scores[token] - np.logaddexp.reduce(scores))
    return float(np.mean(costs))


def worth(model: Model, talk: list[Message], reply: Message) -> float:
    """What a reply is worth by the definition; its picture is the last of its parts."""
    sketch, picture = reply.text.strip(), reply.parts[-1]
    assert isinstance(picture, Image)
    seen = max(likelihood(model, [Message.user((picture, Text(look)))], sketch) for look in LOOK)
    return likelihood(model, talk, sketch) + seen


def asked(**settings: Any) -> dict[str, Any]:
    return {"reply": "image", "seed": 9, "max_tokens": 40, "image_guidance": 1.0} | settings


def test_the_draft_is_shown_that_fits_the_request_and_shows_its_sketch(maker: Model) -> None:
    chosen = set()
    for talk in TALKS:
        drafts = maker.chat(talk, **asked(n=4))
        assert isinstance(drafts, list)
        shown = maker.chat(talk, **asked(image_candidates=4, image_look=LOOK))
        best = int(np.argmax([worth(maker, talk, draft) for draft in drafts]))
        assert shown == drafts[best]
        chosen.add(best)
    assert len(chosen) > 1


def test_each_of_several_replies_is_chosen_among_its_own_drafts(maker: Model) -> None:
    talk = TALKS[1]
    drafts = maker.chat(talk, **asked(n=6))
    replies = maker.chat(talk, **asked(n=2, image_candidates=3, image_look=LOOK))
    assert isinstance(drafts, list)
    assert isinstance(replies, list)
    assert [reply in group for reply, group in zip(replies, (drafts[:3], drafts[3:]), strict=True)] == [True] * 2


def test_a_stream_is_that_of_one_reply(maker: Model) -> None:
    deltas = list(maker.stream(TALKS[0], **asked(image_candidates=3, image_look=LOOK)))
    assert {delta.index for delta in deltas} == {0}
    assert sum(isinstance(delta, ImageDelta) for delta in deltas) == 1
    assert ended(deltas).finish_reason == "stop"


def test_a_picture_is_changed_after_looking_too(maker: Model) -> None:
    talk = [Message.user((scribble(1), Text("A red ball.")))]
    drafts = maker.chat(talk, **asked(n=3))
    assert isinstance(drafts, list)
    assert maker.chat(talk, **asked(image_candidates=3, image_look=LOOK)) in drafts


@pytest.mark.parametrize(
    "settings",
    [
        {"image_candidates": 3},
        {"image_look": LOOK},
        {"image_candidates": 3, "image_look": LOOK, "pictures": 2},
        {"image_candidates": 3, "image_look": LOOK, "reply": "auto", "logit_bias": {END: 2.0}},
        {"image_candidates": 3, "image_look": LOOK, "reply": "text"},
    ],
)
def test_there_is_one_draft_unless_one_picture_is_to_be_looked_at(maker: Model, settings: dict[str, Any]) -> None:
    plain = {name: value for name, value in settings.items() if not name.startswith("image_")}
    assert maker.chat(TALKS[0], **asked(**settings)) == maker.chat(TALKS[0], **asked(**plain))


def test_what_is_cancelled_before_any_picture_ends_with_what_there_is(maker: Model) -> None:
    deltas = list(maker.stream(TALKS[0], cancel=After(3), **asked(image_candidates=3, image_look=LOOK)))
    assert [delta.finish_reason for delta in deltas if isinstance(delta, Done)] == ["cancelled"]
    assert "image" not in kinds(maker.chat(TALKS[0], cancel=After(3), **asked(image_candidates=2, image_look=LOOK)))  # type: ignore[arg-type]


def test_too_many_drafts_are_refused(maker: Model) -> None:
    with pytest.raises(RequestError, match="100 replies of 2 candidates are more than 128"):
        maker.chat(TALKS[0], **asked(n=100, image_candidates=2, image_look=LOOK))
    with pytest.raises(RequestError, match="image_candidates = 0"):
        maker.chat(TALKS[0], **asked(image_candidates=0))
