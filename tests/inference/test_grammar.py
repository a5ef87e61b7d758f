"""What a reply may hold next: whatever the scores, nothing malformed is ever written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import N_CODES, make_model, scribble, tokenizer
from torch import Tensor

from sensorium.api import Model
from sensorium.clauses import can_be_said
from sensorium.errors import RequestError
from sensorium.inference import grammar as grammar_module
from sensorium.inference.grammar import WORDS, Grammar, Making, ReplyKind, Vocabulary, script_of
from sensorium.messages import Message, Text

CONTROLS = tokenizer().control_ids
IMAGE_BEGIN, IMAGE_END = CONTROLS["<|image_begin|>"], CONTROLS["<|image_end|>"]
AUDIO_BEGIN, AUDIO_END = CONTROLS["<|audio_begin|>"], CONTROLS["<|audio_end|>"]
FRAMES = {IMAGE_BEGIN, IMAGE_END, AUDIO_BEGIN, AUDIO_END, CONTROLS["<|image|>"], CONTROLS["<|audio|>"]}
END = CONTROLS["<|end|>"]
WORD = tokenizer().encode("cat")[0]


@pytest.fixture(scope="module")
def vocabulary(maker: Model) -> Vocabulary:
    return Vocabulary(maker.config, maker.tokenizer, maker.processor.stop_ids, maker.processor.codecs)


def vocabulary_of(**parts: Any) -> Vocabulary:
    model = make_model(**parts)
    return Vocabulary(model.config, model.tokenizer, model.processor.stop_ids, model.processor.codecs)


Scores = Callable[[int], Tensor]


def scores_of(vocabulary: Vocabulary, seed: int, sharpness: float, frames: float = 3.0) -> Scores:
    """Random scores of every step, in which frames and the end of a turn are likelier than other words."""
    generator = torch.Generator().manual_seed(seed)
    assert vocabulary.speech is not None
    size = vocabulary.speech.ids.stop

    def scores(_: int) -> Tensor:
        drawn = torch.randn(size, generator=generator) * sharpness
        drawn[[*FRAMES, END]] += frames
        return drawn

    return scores


def written(grammar: Grammar, scores: Scores, limit: int, stops: Sequence[int], seed: int = 0) -> list[int]:
    """A reply as an engine writes it: the forced token, else one drawn among the candidates."""
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = []
    while len(tokens) < limit and not grammar.finished:
        token = grammar.forced
        if token is None:
            chances = grammar.candidates(scores(len(tokens))).softmax(-1)
            token = grammar.token(int(torch.multinomial(chances, 1, generator=generator)))
        tokens.append(token)
        if grammar.state == "words" and token in stops:
            return tokens
        grammar.take(token)
    return tokens


def parsed(tokens: Sequence[int], vocabulary: Vocabulary, reference: tuple[int, ...] | None) -> list[str]:
    """The pieces of a reply by kind, each checked to be whole; `cut` where it ended in the middle of one."""
    assert vocabulary.picture is not None
    assert vocabulary.speech is not None
    pieces: list[str] = []
    left = list(tokens)
    while left:
        token = left.pop(0)
        if token == IMAGE_BEGIN:
            given = [*reference, IMAGE_BEGIN] if reference is not None else []
            body, left = left[: len(given) + N_CODES + 1], left[len(given) + N_CODES + 1 :]
            codes = body[len(given) : len(given) + N_CODES]
            assert body[: len(given)] == given[: len(body)]
            assert all(code in vocabulary.picture.ids for code in codes)
            if len(body) < len(given) + N_CODES + 1:
                pieces.append("cut")
            else:
                assert body[-1] == IMAGE_END
                reference = tuple(codes)
                pieces.append("picture")
        elif token == AUDIO_BEGIN:
            codes = []
            while left and left[0] in vocabulary.speech.ids:
                codes.append(left.pop(0))
            if not left:
                pieces.append("cut")
            else:
                assert left.pop(0) == AUDIO_END
                assert codes
                pieces.append("speech")
        else:
            assert token < vocabulary.n_words
            assert token not in FRAMES
            if token == END:
                assert not left
                pieces.append("end")
            elif pieces[-1:] != ["words"]:
                pieces.append("words")
    return pieces


REFERENCE = tuple(range(tokenizer().vocab_size, tokenizer().vocab_size + N_CODES))
cases = {
    "seed": st.integers(0, 10_000),
    "sharpness": st.floats(0.1, 8.0),
    "limit": st.integers(1, 60),
    "reference": st.sampled_from([None, REFERENCE]),
}


@settings(max_examples=60)
@given(**cases)
def test_a_free_reply_holds_words_whole_pictures_and_whole_speech(
    vocabulary: Vocabulary, seed: int, sharpness: float, limit: int, reference: tuple[int, ...] | None
) -> None:
    grammar = Grammar(vocabulary, Making("auto", reference=reference), limit=limit)
    tokens = written(grammar, scores_of(vocabulary, seed, sharpness), limit, vocabulary.stop_ids, seed)
    pieces = parsed(tokens, vocabulary, reference)
    assert len(tokens) <= limit
    if "cut" in pieces:  # a picture is never begun that has no room: only speech is cut
        assert pieces.index("cut") == len(pieces) - 1
        last_picture = max((at for at, token in enumerate(tokens) if token == IMAGE_BEGIN), default=-1)
        assert max(at for at, token in enumerate(tokens) if token == AUDIO_BEGIN) > last_picture


@settings(max_examples=40)
@given(**cases)
def test_a_written_reply_holds_words_alone(
    vocabulary: Vocabulary, seed: int, sharpness: float, limit: int, reference: tuple[int, ...] | None
) -> None:
    grammar = Grammar(vocabulary, Making("text", reference=reference), limit=limit)
    tokens = written(grammar, scores_of(vocabulary, seed, sharpness, 9.0), limit, vocabulary.stop_ids, seed)
    assert set(parsed(tokens, vocabulary, reference)) <= {"words", "end"}


@settings(max_examples=60)
@given(**cases)
def test_a_spoken_reply_has_words_before_all_speech_and_speech_behind_all_words(
    vocabulary: Vocabulary, seed: int, sharpness: float, limit: int, reference: tuple[int, ...] | None
) -> None:
    grammar = Grammar(vocabulary, Making("speech", reference=reference), limit=limit)
    tokens = written(grammar, scores_of(vocabulary, seed, sharpness), limit, vocabulary.stop_ids, seed)
    pieces = parsed(tokens, vocabulary, reference)
    whole = pieces[: -1 if pieces[-1] in ("end", "cut") else None]
    assert whole[::2] == ["words"] * len(whole[::2])
    assert whole[1::2] == ["speech"] * len(whole[1::2])
    if pieces[-1] == "end":  # it never ends unspoken
        last = max(place for place, token in enumerate(tokens) if token == AUDIO_END)
        assert whole[-1] == "speech" or not can_be_said(tokenizer().decode(tokens[last + 1 :]))
    if pieces[-1] == "cut":
        assert whole[-1] == "words"
    if pieces[-1] != "end":
        assert len(tokens) == limit


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), pictures=st.integers(1, 3), reference=st.sampled_from([None, REFERENCE]))
def test_pictures_that_are_asked_for_are_just_these(
    vocabulary: Vocabulary, seed: int, pictures: int, reference: tuple[int, ...] | None
) -> None:
    """And each goes by the last: its codes come first, unchanged."""
    first = N_CODES + 2 + (N_CODES + 1 if reference is not None else 0)
    needed = first + (pictures - 1) * (2 * N_CODES + 3)
    grammar = Grammar(vocabulary, Making("image", pictures=pictures, reference=reference), limit=needed)
    tokens = written(grammar, scores_of(vocabulary, seed, 2.0), 500, vocabulary.stop_ids, seed)
    assert len(tokens) == needed
    assert parsed(tokens, vocabulary, reference) == ["picture"] * pictures
    assert grammar.finished
    with pytest.raises(RequestError, match=rf"{pictures} picture\(s\) take {needed} tokens, and the reply may have"):
        Grammar(vocabulary, Making("image", pictures=pictures, reference=reference), limit=needed - 1)


@settings(max_examples=40)
@given(**{**cases, "limit": st.integers(2 * N_CODES + 4, 90)}, pictures=st.integers(1, 2))
def test_a_sketch_ends_in_its_picture_and_never_takes_its_room(
    vocabulary: Vocabulary,
    seed: int,
    sharpness: float,
    limit: int,
    reference: tuple[int, ...] | None,
    pictures: int,
) -> None:
    needed = vocabulary.picture_length(edits=reference is not None)
    needed += (pictures - 1) * vocabulary.picture_length(edits=True)
    grammar = Grammar(vocabulary, Making("image", pictures=pictures, reference=reference), limit=max(limit, needed))
    assert grammar.sketches
    tokens = written(grammar, scores_of(vocabulary, seed, sharpness, -2.0), 500, vocabulary.stop_ids, seed)
    pieces = parsed(tokens, vocabulary, reference)
    assert [piece for piece in pieces if piece != "words"] == ["picture"] * pictures
    assert len(tokens) <= max(limit, needed)
    assert grammar.finished
    assert pieces[-1] == "picture"
    assert not grammar.sketches


def test_places_are_named_only_where_there_is_a_picture_or_will_be() -> None:
    model = make_model()
    placed = model.tokenizer.with_locations(8)
    stops, codecs = model.processor.stop_ids, model.processor.codecs
    decoder = model.config.decoder.model_copy(update={"vocab_size": model.config.decoder.vocab_size + 8})
    vocabulary = Vocabulary(model.config.model_copy(update={"decoder": decoder}), placed, stops, codecs)
    scores = torch.zeros(decoder.vocab_size)
    for points in (True, False):
        words = Grammar(vocabulary, Making("text", points=points), limit=9).candidates(scores)
        assert words[placed.location_ids].isfinite().all() == points
        assert words[40:50].isfinite().all()
    talk = [Message.user("Hi.")]
    assert not model._making(talk, "text", None, 1).points
    assert model._making(talk, "auto", None, 1).points
    assert model._making([Message.user([scribble(), Text("Where?")])], "text", None, 1).points


def test_a_sketch_without_an_end_is_drawn_in_any_case(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar_module, "LONGEST_SKETCH", 5)
    grammar = Grammar(vocabulary, Making("image"), limit=400)
    for _ in range(5):
        assert grammar.forced is None
        grammar.take(40)
    assert grammar.forced == IMAGE_BEGIN


def test_where_a_sketch_would_end_its_picture_begins(vocabulary: Vocabulary) -> None:
    grammar = Grammar(vocabulary, Making("image"), limit=400)
    assert vocabulary.speech is not None
    scores = torch.randn(vocabulary.speech.ids.stop, generator=torch.Generator().manual_seed(3))
    words = grammar.candidates(scores)
    assert not words[vocabulary.stop_ids].isfinite().any()
    expected = torch.cat((scores[vocabulary.stop_ids], scores[[IMAGE_BEGIN]])).logsumexp(0)
    torch.testing.assert_close(words[IMAGE_BEGIN], expected)
    assert not words[[IMAGE_END, AUDIO_BEGIN]].isfinite().any()
    assert not Grammar(vocabulary, Making("auto"), limit=400).sketches


@pytest.mark.parametrize("pictures", [0, -1])
def test_no_picture_at_all_is_no_reply(vocabulary: Vocabulary, pictures: int) -> None:
    with pytest.raises(RequestError, match=r"pictures"):
        Grammar(vocabulary, Making("image", pictures=pictures), limit=100)


@pytest.mark.parametrize("reference", [None, REFERENCE])
def test_a_picture_begins_where_it_just_fits(vocabulary: Vocabulary, reference: tuple[int, ...] | None) -> None:
    needed = vocabulary.picture_length(edits=reference is not None)
    assert needed == N_CODES + 2 + (N_CODES + 1 if reference else 0)
    scores = torch.zeros(vocabulary.speech.ids.stop if vocabulary.speech else 0)
    for limit, fits in ((needed, True), (needed - 1, False)):
        grammar = Grammar(vocabulary, Making("auto", reference=reference), limit=limit)
        assert bool(grammar.candidates(scores)[IMAGE_BEGIN].isfinite()) == fits
    grammar = Grammar(vocabulary, Making("auto", reference=reference), limit=needed + 1)
    for fits in (True, True, False):
        assert bool(grammar.candidates(scores)[IMAGE_BEGIN].isfinite()) == fits
        grammar.take(40)


@pytest.mark.parametrize("reply", ["auto", "speech"])
def test_speech_asks_for_no_room_of_a_picture(vocabulary: Vocabulary, reply: ReplyKind) -> None:
    scores = torch.zeros(vocabulary.speech.ids.stop if vocabulary.speech else 0)
    scores[AUDIO_BEGIN] = 5.0
    grammar = Grammar(vocabulary, Making(reply, reference=REFERENCE), limit=4)
    grammar.take(WORD)
    assert grammar.candidates(scores)[AUDIO_BEGIN].item() >= 5.0
    assert grammar.candidates(scores)[IMAGE_BEGIN].item() == -math.inf


def test_where_words_would_end_they_are_spoken(vocabulary: Vocabulary) -> None:
    """The chance of an end goes to the speech before it, and none of it is lost."""
    assert vocabulary.speech is not None
    scores = torch.randn(vocabulary.speech.ids.stop, generator=torch.Generator().manual_seed(0))
    grammar = Grammar(vocabulary, Making("speech"), limit=99)
    stops = vocabulary.stop_ids
    begun = grammar.candidates(scores)
    assert begun[[*stops, AUDIO_BEGIN]].tolist() == [-math.inf] * (len(stops) + 1)
    grammar.take(WORD)
    unspoken = grammar.candidates(scores)
    assert unspoken[stops].tolist() == [-math.inf] * len(stops)
    assert unspoken[AUDIO_BEGIN].item() == pytest.approx(scores[[*stops, AUDIO_BEGIN]].logsumexp(0).item())
    grammar.take(AUDIO_BEGIN)
    assert grammar.candidates(scores)[-1] == -math.inf  # there is no silence
    grammar.take(vocabulary.speech.ids.start)
    assert torch.equal(grammar.candidates(scores)[-1], scores[AUDIO_END])
    grammar.take(AUDIO_END)
    spoken = grammar.candidates(scores)
    assert torch.equal(spoken[stops], scores[stops])
    assert spoken[AUDIO_BEGIN] == -math.inf
    assert torch.equal(spoken[40:60], scores[40:60])


def test_a_spoken_reply_says_each_clause_as_soon_as_it_is_written(vocabulary: Vocabulary) -> None:
    assert vocabulary.speech is not None
    grammar = Grammar(vocabulary, Making("speech"), limit=200)
    clause, next_ones = tokenizer().encode("Once upon a time,"), tokenizer().encode(" a cat.")
    for token in clause:
        assert grammar.forced is None
        grammar.take(token)
    assert grammar.forced == AUDIO_BEGIN
    for token in (AUDIO_BEGIN, vocabulary.speech.ids.start, AUDIO_END, *next_ones):
        grammar.take(token)
    assert grammar.forced is None  # too short to be said before more is known


def test_marks_behind_what_was_said_need_no_sound(vocabulary: Vocabulary) -> None:
    assert vocabulary.speech is not None
    grammar = Grammar(vocabulary, Making("speech"), limit=200)
    for token in (*tokenizer().encode("Once upon a time,"), AUDIO_BEGIN, vocabulary.speech.ids.start, AUDIO_END):
        grammar.take(token)
    scores = torch.zeros(vocabulary.speech.ids.stop)
    for token in tokenizer().encode(" !"):
        grammar.take(token)
        assert grammar.forced is None
        left = grammar.candidates(scores)
        assert left[END] == 0
        assert left[AUDIO_BEGIN] == -math.inf
    grammar.take(tokenizer().encode("a")[0])
    left = grammar.candidates(scores)
    assert left[END] == -math.inf
    assert left[AUDIO_BEGIN] > 0


@pytest.mark.parametrize("reply", ["auto", "text"])
def test_no_other_reply_is_made_to_speak(vocabulary: Vocabulary, reply: ReplyKind) -> None:
    grammar = Grammar(vocabulary, Making(reply), limit=200)
    for token in tokenizer().encode("Once upon a time,"):
        grammar.take(token)
        assert grammar.forced is None


def test_a_clause_of_speech_ends_in_time(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vocabulary.speech is not None
    monkeypatch.setattr(grammar_module, "LONGEST_CLAUSE", 0.1)  # of 50 codes a second
    grammar = Grammar(vocabulary, Making("auto"), limit=99)
    scores = torch.zeros(vocabulary.speech.ids.stop)
    scores[AUDIO_END] = -1e9
    grammar.take(AUDIO_BEGIN)
    for _ in range(5):
        assert grammar.forced is None
        grammar.take(grammar.token(int(grammar.candidates(scores).argmax())))
    assert grammar.forced == AUDIO_END


def test_a_script_is_said_as_it_stands(vocabulary: Vocabulary) -> None:
    script = script_of(["The cat sat, ", "a bird."], tokenizer())
    assert script == tuple(tuple(tokenizer().encode(text)) for text in ("The cat sat, ", "a bird."))
    grammar = Grammar(vocabulary, Making("speech", script=script), limit=200)
    tokens = written(grammar, scores_of(vocabulary, 0, 2.0), 200, vocabulary.stop_ids)
    assert parsed(tokens, vocabulary, None) == ["words", "speech", "words", "speech"]
    assert [token for token in tokens if token < vocabulary.n_words and token not in FRAMES] == [*script[0], *script[1]]
    assert grammar.finished


@pytest.mark.parametrize("texts", [[], [""]])
def test_nothing_to_say_is_refused(texts: list[str]) -> None:
    with pytest.raises(RequestError, match="there is nothing to say: the text is empty"):
        script_of(texts, tokenizer())


@pytest.mark.parametrize(
    ("parts", "making", "message"),
    [
        ({"draws": False}, Making("image"), "cannot draw: it has no image codec"),
        ({"voices": None}, Making("speech"), "cannot speak: it has no speech codec"),
        ({"voices": None}, Making("speech", script=((40,),)), "cannot speak: it has no speech codec"),
        ({"voices": None, "draws": False}, Making("image"), "cannot draw"),
    ],
)
def test_what_a_model_cannot_make_is_refused(parts: dict[str, Any], making: Making, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Grammar(vocabulary_of(**parts), making, limit=100)


def test_a_model_without_codecs_writes_every_token_as_it_did() -> None:
    vocabulary = vocabulary_of(draws=False, voices=None)
    assert not vocabulary.makes
    for making in (WORDS, Making("auto")):
        grammar = Grammar(vocabulary, making, limit=5)
        scores = torch.randn(vocabulary.n_words + 1, generator=torch.Generator().manual_seed(0))
        assert torch.equal(grammar.candidates(scores), scores[: vocabulary.n_words])
        grammar.take(IMAGE_BEGIN)  # a word like any other
        assert grammar.state == "words"


def test_a_model_that_only_draws_never_speaks() -> None:
    vocabulary = vocabulary_of(voices=None)
    candidates = Grammar(vocabulary, Making("auto"), limit=50).candidates(torch.zeros(vocabulary.n_words + 12))
    assert candidates[IMAGE_BEGIN] == 0
    assert candidates[[IMAGE_END, CONTROLS["<|image|>"]]].tolist() == [-math.inf] * 2
