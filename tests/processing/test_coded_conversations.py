"""Codes in conversations: what is learned of them, what is chosen in a reply, and what is left without words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import N_CODES, make_config, make_model, retouched, scribble, tokenizer
from media_parts import IMAGE, picture, tone

from sensorium.api import Model
from sensorium.clauses import clauses
from sensorium.config import AugmentConfig
from sensorium.errors import ConfigError, RequestError
from sensorium.inference.grammar import Grammar, Making, Vocabulary
from sensorium.messages import Audio, Image, Message, Part, Text
from sensorium.processing import Processor, Sequence
from sensorium.processing.codes import Codecs
from sensorium.processing.processor import wordless


def controls(*names: str) -> list[int]:
    return [tokenizer().control_ids[f"<|{name}|>"] for name in names]


def words(text: str) -> list[int]:
    return tokenizer().encode(text)


# In conversations


def spelled(processor: Processor, sequence: Sequence) -> list[str | int]:
    """Controls by name, words joined, codes as ids."""
    names = {index: name for name, index in processor.tokenizer.control_ids.items()}
    found: list[str | int] = []
    run: list[int] = []

    def close() -> None:
        if run:
            found.append(processor.tokenizer.decode(run))
            run.clear()

    for token in sequence.token_ids.tolist():
        if token in names or token >= processor.tokenizer.vocab_size:
            close()
            found.append(names.get(token, token))
        else:
            run.append(token)
    close()
    return found


def test_a_picture_that_is_asked_for_is_learned_as_codes(processor: Processor, codecs: Codecs) -> None:
    drawn = scribble()
    codes = codecs.picture_ids(drawn).tolist()
    sequence = processor.encode_messages([Message.user("Draw."), Message.assistant([Text("Here: "), drawn, Text("!")])])
    expected = [
        *[(token, False) for token in (*controls("bos", "user"), *words("Draw."), *controls("end", "assistant"))],
        *[(token, True) for token in (*words("Here: "), *controls("image_begin"), *codes)],
        *[(token, False) for token in controls("image_end")],
        *[(token, True) for token in (*words("!"), *controls("end"))],
    ]
    assert list(zip(sequence.token_ids.tolist(), sequence.learned.tolist(), strict=True)) == expected
    assert sequence.features == ()


def test_an_edit_goes_by_the_codes_of_what_was_shown_which_are_not_learned(
    processor: Processor, codecs: Codecs
) -> None:
    shown, drawn = scribble(1), scribble(2)
    before, after = (codecs.picture_ids(each).tolist() for each in (shown, drawn))
    sequence = processor.encode_messages([Message.user([shown, Text("Redder.")]), Message.assistant([drawn])])
    eyes = [*controls("image_begin"), *controls("image") * 4, *controls("image_end")]
    expected = [
        *[(token, False) for token in (*controls("bos", "user"), *eyes, *words("Redder."), *controls("end"))],
        *[(token, False) for token in controls("assistant")],
        *[(token, True) for token in controls("image_begin")],
        *[(token, False) for token in (*before, *controls("image_begin"))],
        *[(token, True) for token in after],
        *[(token, False) for token in controls("image_end")],
        *[(token, True) for token in controls("end")],
    ]
    assert list(zip(sequence.token_ids.tolist(), sequence.learned.tolist(), strict=True)) == expected
    (feature,) = sequence.features  # what a user shows stays what eyes see
    assert (feature.kind, feature.start, feature.length) == ("image", 3, 4)


def test_an_edit_is_learned_as_the_codes_before_but_where_it_changes_something(
    processor: Processor, codecs: Codecs
) -> None:
    spread = 0
    for seed in range(6):
        shown = scribble(seed)
        drawn = retouched(shown, 1, 2, 120)
        talk = [Message.user([shown, Text("Redder.")]), Message.assistant([drawn])]
        ids = processor.encode_messages(talk).token_ids
        assert codecs.config.image_codec is not None
        before, after = ids[np.isin(ids, codecs.config.image_codec.ids)].reshape(2, N_CODES)
        alone = codecs.picture_ids(drawn)
        assert before.tolist() == codecs.picture_ids(shown).tolist()
        assert after.tolist() == [*before[:-1], alone[-1]]
        spread += int((alone != before)[:-1].sum())
    assert spread > 0


def test_speech_is_learned_whole_each_clause_behind_its_words(processor: Processor, codecs: Codecs) -> None:
    said = [tone(0.25, 200.0), tone(0.3, 300.0)]
    codes = [codecs.speech_ids(each).tolist() for each in said]
    sequence = processor.encode_messages(
        [Message.user([tone()]), Message.assistant([Text("One, "), said[0], Text("two."), said[1]])]
    )
    begin, end = controls("audio_begin", "audio_end")
    expected = [
        *words("One, "), begin, *codes[0], end, *words("two."), begin, *codes[1], end, *controls("end")
    ]  # fmt: skip
    learned = sequence.token_ids[sequence.learned].tolist()
    assert learned == expected
    assert sequence.token_ids[-len(expected) :].tolist() == expected
    (feature,) = sequence.features
    assert feature.kind == "audio"


def test_pictures_follow_one_another_each_by_the_last(processor: Processor, codecs: Codecs) -> None:
    one, two, three = (scribble(seed) for seed in (1, 2, 3))
    talk = [Message.user("Two."), Message.assistant([one, two]), Message.user("More."), Message.assistant([three])]
    found = [each for each in spelled(processor, processor.encode_messages(talk)) if isinstance(each, int)]
    ids = [codecs.picture_ids(each).tolist() for each in (one, two, three)]
    assert found == [*ids[0], *ids[0], *ids[1], *ids[1], *ids[2]]


def test_without_eyes_and_ears_a_model_still_writes_pictures_and_speech() -> None:
    processor = make_model(eyes=False, ears=False).processor
    codecs = processor.codecs
    assert codecs is not None
    drawn, said = scribble(), tone(0.25)
    sequence = processor.encode_messages([Message.user("Both."), Message.assistant([drawn, Text("ah"), said, drawn])])
    picture_ids, speech_ids = codecs.picture_ids(drawn).tolist(), codecs.speech_ids(said).tolist()
    assert spelled(processor, sequence) == [
        "<|bos|>", "<|user|>", "Both.", "<|end|>", "<|assistant|>",
        "<|image_begin|>", *picture_ids, "<|image_end|>",
        "ah", "<|audio_begin|>", *speech_ids, "<|audio_end|>",
        "<|image_begin|>", *picture_ids, "<|image_begin|>", *picture_ids, "<|image_end|>", "<|end|>",
    ]  # fmt: skip
    for part, sense in ((drawn, "see images"), (said, "hear audio")):
        with pytest.raises(RequestError, match=f"this model cannot {sense}"):
            processor.encode_messages([Message.user([part])])


def test_without_codecs_the_assistants_pictures_are_shown_not_drawn(processor: Processor) -> None:
    config = processor.config
    assert config is not None
    sees = Processor(tokenizer(), config=make_config(draws=False, voices=None))
    sequence = sees.encode_messages([Message.assistant([picture(), tone()])])
    assert [feature.kind for feature in sequence.features] == ["image", "audio"]


spellings = st.sampled_from(
    ["<|image_begin|>", "<|image_end|>", "<|audio_begin|>", "<|audio_end|>", IMAGE, "<|audio|>", "<|end|>", "猫 "]
)
contents = st.lists(
    st.one_of(spellings.map(Text), st.text("ab<|>", max_size=4).map(Text), st.just(scribble()), st.just(tone(0.1))),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40)
@given(st.lists(contents, min_size=1, max_size=3))
def test_no_text_is_a_frame_and_every_frame_is_whole(processor: Processor, talk: list[list[Part]]) -> None:
    """Whatever messages spell: their controls are those of the template, of eyes and ears, and of codes."""
    messages = [Message("user" if index % 2 == 0 else "assistant", tuple(parts)) for index, parts in enumerate(talk)]
    sequence = processor.encode_messages(messages)
    text = "".join(part.text for parts in talk for part in parts if isinstance(part, Text))
    plain = [token for token in sequence.token_ids.tolist() if token < processor.tokenizer.vocab_size]
    assert processor.tokenizer.decode(plain) == text
    shown = 0
    begins = {"image": 0, "audio": 0}
    for message in messages:
        for part in message.parts:
            if isinstance(part, Image):
                begins["image"] += 2 if message.role == "assistant" and shown else 1
                shown += 1
            elif isinstance(part, Audio):
                begins["audio"] += 1
    for kind, count in begins.items():
        (begin,) = controls(f"{kind}_begin")
        assert (sequence.token_ids == begin).sum() == count
    codes = sequence.token_ids >= processor.tokenizer.vocab_size
    drawn = [part for message in messages[1::2] for part in message.parts if isinstance(part, Image)]
    assert (~sequence.learned & codes).sum() == N_CODES * (begins["image"] - shown)
    assert (sequence.learned & codes & (sequence.token_ids < tokenizer().vocab_size + 12)).sum() == N_CODES * len(drawn)


# What is trained on is what is served

TALKS: dict[str, tuple[list[Part], list[Part]]] = {
    "words": ([Text("Hi.")], [Text("Hello, 猫!")]),
    "a picture": ([Text("Draw.")], [scribble()]),
    "a picture among words": ([Text("Draw.")], [Text("Here "), scribble(), Text(" it is.")]),
    "an edit": ([scribble(4), Text("Redder.")], [scribble(5)]),
    "two pictures": ([Text("Two.")], [scribble(6), scribble(7)]),
    "speech": ([Text("Say it.")], [Text("One, "), tone(0.25), Text("two."), tone(0.3)]),
    "all": ([tone(0.3), Text("?")], [Text("Ah, "), tone(0.25), scribble(8), Text("done.")]),
}
REPLIES: dict[str, str] = {"a picture": "image", "an edit": "image", "two pictures": "image", "speech": "speech"}


@pytest.mark.parametrize("mode", ["auto", "asked"])
@pytest.mark.parametrize("talk", TALKS)
def test_what_is_learned_is_what_is_chosen_and_the_rest_is_forced(
    maker: Model, processor: Processor, codecs: Codecs, talk: str, mode: str
) -> None:
    """A prompt, and behind it just what a reply's grammar lets the engine write, is the sequence that is trained on."""
    asked, answered = TALKS[talk]
    messages = [Message.user(asked)]
    prompt = processor.encode_messages(messages, add_generation_prompt=True)
    whole = processor.encode_messages([*messages, Message.assistant(answered)])
    assert whole.token_ids[: len(prompt)].tolist() == prompt.token_ids.tolist()
    assert not whole.learned[: len(prompt)].any()
    shown = [part for part in asked if isinstance(part, Image)]
    making = Making(
        REPLIES.get(talk, "auto") if mode == "asked" else "auto",  # type: ignore[arg-type]
        pictures=sum(isinstance(part, Image) for part in answered),
        reference=tuple(codecs.picture_ids(shown[-1]).tolist()) if shown else None,
    )
    vocabulary = Vocabulary(maker.config, maker.tokenizer, processor.stop_ids, codecs)
    grammar = Grammar(vocabulary, making, limit=500)
    reply = whole.token_ids[len(prompt) :].tolist()
    learned = whole.learned[len(prompt) :].tolist()
    scores = torch.zeros(maker.config.decoder.vocab_size)
    for token, is_learned in zip(reply[:-1], learned, strict=False):
        assert not grammar.finished
        if grammar.forced is None:
            assert is_learned
            candidates = grammar.candidates(scores)
            allowed = [grammar.token(index) for index in candidates.isfinite().nonzero().flatten().tolist()]
            assert token in allowed
        else:
            assert token == grammar.forced
            if mode == "auto":
                assert not is_learned
        grammar.take(token)
    assert grammar.state == "words"
    assert grammar.finished == (making.reply == "image")
    assert reply[-1] in vocabulary.stop_ids
    assert learned[-1]
    if making.reply != "image":
        assert grammar.candidates(scores)[reply[-1]].isfinite()


def test_a_text_said_aloud_is_the_talk_that_is_trained_on(maker: Model, processor: Processor, codecs: Codecs) -> None:
    """The world speaks by clause, words and their sound in turn; so does a script."""
    from sensorium.inference.grammar import script_of

    text = "Once upon a time, the cat sat on the mat. 猫坐在垫子上。"
    spoken = clauses(text)
    sounds = [tone(0.25 + 0.05 * index) for index in range(len(spoken))]
    parts: list[Part] = [part for words, sound in zip(spoken, sounds, strict=True) for part in (Text(words), sound)]
    whole = processor.encode_messages([Message.assistant(parts)])
    grammar = Grammar(
        Vocabulary(maker.config, maker.tokenizer, processor.stop_ids, codecs),
        Making("speech", script=script_of(spoken, maker.tokenizer)),
        limit=500,
    )
    begin = whole.token_ids.tolist().index(controls("assistant")[0]) + 1
    assert len(spoken) == 3
    for token in whole.token_ids[begin:-1].tolist():
        assert grammar.forced in (None, token)
        assert (grammar.forced is None) == (grammar.state == "speech")
        grammar.take(token)
    assert grammar.finished


# Without words


def test_without_words_pictures_stay_and_answers_without_any() -> None:
    shown = scribble()
    talk = [
        Message.system("Be kind."),
        Message.user([Text("Look: "), shown, tone()]),
        Message.assistant([Text("Yes. "), shown]),
        Message.user("More."),
    ]
    assert wordless(talk) == [
        Message.system("Be kind."),
        Message.user([shown]),
        Message.assistant([shown]),
        Message.user(""),
    ]
    said = Message.assistant([Text("Yes, "), tone(), Text("yes."), tone()])
    assert wordless([said, Message.assistant("No.")]) == [Message.assistant([tone(), tone()]), Message.assistant("No.")]


def test_without_words_nothing_is_left_of_words_that_answer_to_words() -> None:
    shown = scribble()
    noted = [Message.user([tone(), Text("Listen.")]), Message.assistant("Draw a cat.")]
    assert wordless([*noted, Message.user("Draw a cat.")]) == [Message.user("")]
    seen = [Message.user([shown, Text("Look.")]), Message.assistant("a cat")]
    assert wordless([*seen, Message.user("Draw a cat.")]) == [
        Message.user([shown]),
        Message.assistant("a cat"),
        Message.user(""),
    ]
    drawn = [Message.user("Draw."), Message.assistant([Text("a cat"), shown])]
    talked = [Message.user("Is it red?"), Message.assistant("Yes.")]
    assert wordless([*drawn, *talked]) == [Message.user(""), Message.assistant([shown])]
    assert wordless(talked) == [Message.user("")]


@pytest.mark.parametrize("answer", [[Text("Red."), scribble(2)], [Text("Red."), tone(0.25)]])
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_words_are_dropped_by_chance_where_a_picture_or_speech_answers(
    processor: Processor, chance: float, answer: list[Part]
) -> None:
    varied = processor.augmented(AugmentConfig(drop_words=chance), np.random.default_rng(0))
    asked = [Message.user([scribble(1), Text("Redder.")]), Message.assistant(answer)]
    full = processor.encode_messages(asked).token_ids.tolist()
    bare = processor.encode_messages(wordless(asked)).token_ids.tolist()
    assert len(bare) == len(full) - len(words("Redder.")) - len(words("Red."))
    found = [varied.encode_messages(asked).token_ids.tolist() for _ in range(30)]
    assert all(each in (full, bare) for each in found)
    dropped = sum(each == bare for each in found)
    assert dropped == 30 * chance if chance != 0.5 else 8 <= dropped <= 22


def test_no_words_are_dropped_where_words_answer(processor: Processor) -> None:
    varied = processor.augmented(AugmentConfig(drop_words=1.0), np.random.default_rng(0))
    talk = [Message.user([scribble(1), Text("What is it?")]), Message.assistant("A scribble.")]
    plain = processor.encode_messages(talk).token_ids.tolist()
    assert all(varied.encode_messages(talk).token_ids.tolist() == plain for _ in range(10))


def test_a_models_draws_are_not_asked_of_one_that_only_sees() -> None:
    sees = Processor(tokenizer(), config=make_config(draws=False, voices=None))
    varied = sees.augmented(AugmentConfig(drop_words=1.0), np.random.default_rng(0))
    talk = [Message.user("Look."), Message.assistant([picture()])]
    assert varied.encode_messages(talk).token_ids.tolist() == sees.encode_messages(talk).token_ids.tolist()


def test_pictures_are_varied_before_they_become_codes(processor: Processor) -> None:
    varied = processor.augmented(AugmentConfig(brightness=0.9), np.random.default_rng(0))
    talk = [Message.user("Draw."), Message.assistant([scribble(3)])]
    found = {varied.encode_messages(talk).token_ids.tobytes() for _ in range(12)}
    assert len(found) > 3
    assert processor.encode_messages(talk).token_ids.tobytes() == processor.encode_messages(talk).token_ids.tobytes()


def test_a_control_that_codes_stand_between_must_be_the_tokenizers_own() -> None:
    config = make_config()
    assert config.image_codec is not None
    lost = config.model_copy(update={"image_codec": config.image_codec.model_copy(update={"end": "<|nowhere|>"})})
    with pytest.raises(ConfigError, match=r"no control token .<\|nowhere\|>"):
        Processor(tokenizer(), config=lost)
    shared = config.model_copy(update={"image_codec": config.image_codec.model_copy(update={"end": "<|audio_end|>"})})
    with pytest.raises(ConfigError, match="share a begin or end token"):
        Processor(tokenizer(), config=shared)
