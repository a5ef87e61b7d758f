"""Replies of words, pictures and speech: streamed or whole, cut or complete, each is what its tokens say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import N_CODES, SAMPLES_PER_CODE, make_model, scribble, tokenizer
from media_parts import picture, tone
from replying import (
    AUDIO_BEGIN,
    AUDIO_END,
    END,
    IMAGE_BEGIN,
    WHOLE,
    After,
    belief,
    ended,
    is_picture,
    kinds,
    samples,
    words,
)

from sensorium.api import SAY_ALOUD, WRITE_DOWN, Model
from sensorium.clauses import clauses
from sensorium.config import SamplingConfig
from sensorium.errors import DataError, RequestError
from sensorium.forms import collected
from sensorium.inference import grammar
from sensorium.inference.decoding import Decoder
from sensorium.inference.grammar import Making
from sensorium.messages import Audio, AudioDelta, Delta, Done, Image, Message, Text, TextDelta
from sensorium.processing.codes import pcm16, wav_bytes
from sensorium.processing.media import media_of


@pytest.fixture(scope="module")
def mute() -> Model:
    return make_model(draws=False, voices=None)


def planned(maker: Model, plan: Sequence[int], making: Making = Making("auto"), **sampling: Any) -> list[Delta]:  # noqa: B008
    """A reply whose words, and where pictures and speech begin, are these; the codes are the model's."""

    def only(chosen: Sequence[int]) -> torch.Tensor:
        allowed = torch.zeros(maker.config.decoder.vocab_size, dtype=torch.bool)
        allowed[plan[len(chosen)]] = True
        return allowed

    prompt = maker.processor.encode_messages([Message.user("Hi.")], add_generation_prompt=True).token_ids.tolist()
    settings = SamplingConfig(**{"seed": 1, "max_tokens": 200, **sampling})
    return list(maker._engine.stream(prompt, settings, constraint=only, making=making))


# What comes, and in which order


def test_parts_come_in_the_order_of_their_tokens(maker: Model) -> None:
    plan = [*words("Here: "), IMAGE_BEGIN, *words("and"), AUDIO_BEGIN, *words(" bye"), IMAGE_BEGIN, IMAGE_BEGIN, END]
    deltas = planned(maker, plan)
    (message,) = collected(iter(deltas))
    assert kinds(message) == ["text", "image", "text", "audio", "text", "image", "image"]
    assert message.text == "Here: and bye"
    assert all(is_picture(part) for part in message.parts if isinstance(part, Image))
    (sound,) = (part for part in message.parts if isinstance(part, Audio))
    assert len(samples(sound)) % SAMPLES_PER_CODE == 0
    assert len(samples(sound)) > 0
    done = ended(deltas)
    assert done.finish_reason == "stop"
    # Words and beginnings; a picture of six codes, two that go by the one before; speech; the ends of all.
    n_codes = len(samples(sound)) // SAMPLES_PER_CODE
    assert done.completion_tokens == len(plan) + (6 + 1) + 2 * (6 + 1 + 6 + 1) + n_codes + 1


def test_words_held_back_come_before_the_picture(maker: Model) -> None:
    """A stop string does not reach across it, nor does an unfinished character."""
    cat = words("a ca"), words("t sat")
    deltas = planned(maker, [*cat[0], IMAGE_BEGIN, *cat[1], END], stop=("cat",))
    (message,) = collected(iter(deltas))
    assert [part.text if isinstance(part, Text) else "" for part in message.parts] == ["a ca", "", "t sat"]
    assert ended(deltas).finish_reason == "stop"
    first_byte = next(
        index for index in range(32, 300) if tokenizer().decode([index]) == "\ufffd" and index not in words("猫")[1:]
    )
    (message,) = collected(iter(planned(maker, [first_byte, IMAGE_BEGIN, *words("b"), END])))
    assert [part.text if isinstance(part, Text) else "" for part in message.parts] == ["\ufffd", "", "b"]


def test_a_stop_string_ends_a_reply_behind_a_picture(maker: Model) -> None:
    deltas = planned(maker, [IMAGE_BEGIN, *words("the cat sat"), END], stop=("cat",))
    (message,) = collected(iter(deltas))
    assert kinds(message) == ["image", "text"]
    assert message.text == "the "
    assert ended(deltas).finish_reason == "stop"


def test_a_stop_token_ends_a_reply(maker: Model) -> None:
    stop = words(" sat")[0]
    deltas = planned(maker, [*words("cat"), IMAGE_BEGIN, stop], stop_token_ids=(stop,))
    (message,) = collected(iter(deltas))
    assert kinds(message) == ["text", "image"]
    assert ended(deltas).finish_reason == "stop"


def test_sound_comes_while_it_is_still_spoken(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "LONGEST_CLAUSE", 1.0)  # 50 codes
    silent = {"speech_temperature": 0.0}
    deltas = planned(maker, [*words("Ah"), AUDIO_BEGIN, END], **silent)
    sounds = [delta for delta in deltas if isinstance(delta, AudioDelta)]
    assert {sound.sample_rate for sound in sounds} == {4_000}
    total = sum(len(sound.pcm16) // 2 for sound in sounds)
    assert len(sounds) == 1 if total < 10 * SAMPLES_PER_CODE else len(sounds) > 1
    assert total % SAMPLES_PER_CODE == 0


def test_log_probabilities_are_of_words_alone(maker: Model) -> None:
    deltas = planned(maker, [*words("ab"), IMAGE_BEGIN, *words("c"), AUDIO_BEGIN, *words("d"), END], logprobs=2)
    texts = [delta for delta in deltas if isinstance(delta, TextDelta)]
    assert "".join(each.text for delta in texts for each in delta.logprobs) == "abcd"


# Whole and streamed, alone and side by side


@pytest.mark.parametrize("reply", ["auto", "text", "image", "speech"])
def test_a_reply_is_its_stream_put_together(maker: Model, reply: Any) -> None:
    for seed in range(2):
        deltas = list(maker.stream("Hello.", reply=reply, seed=seed, **WHOLE))
        assert collected(iter(deltas)) == [maker.chat("Hello.", reply=reply, seed=seed, **WHOLE)]
        assert sum(isinstance(delta, Done) for delta in deltas) == 1
        assert isinstance(deltas[-1], Done)


def test_a_free_reply_may_hold_all(maker: Model) -> None:
    found = {kind for seed in range(6) for kind in kinds(maker.chat("Hello.", seed=seed, **WHOLE))}  # type: ignore[arg-type]
    assert found == {"text", "image", "audio"}
    for seed in range(3):
        assert kinds(maker.chat("Hello.", reply="text", seed=seed, **WHOLE)) == ["text"]  # type: ignore[arg-type]


def test_the_same_seed_draws_and_says_the_same(maker: Model) -> None:
    assert maker.draw("A ball.", seed=1) == maker.draw("A ball.", seed=1) != maker.draw("A ball.", seed=2)
    assert maker.say("A bird.", seed=1) == maker.say("A bird.", seed=1) != maker.say("A bird.", seed=2)
    assert maker.draw("A ball.", image_temperature=0.0, seed=1) == maker.draw("A ball.", image_temperature=0.0, seed=2)


def test_replies_of_all_kinds_are_written_side_by_side(maker: Model) -> None:
    together = maker.chat("Hello.", n=4, seed=0, **WHOLE)
    assert together == [maker.chat("Hello.", seed=index, **WHOLE) for index in range(4)]


# By hand


def test_what_is_said_is_what_its_codes_decode_to(maker: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "LONGEST_CLAUSE", 0.5)  # 25 codes
    text, voice = "The cat sat on the mat, then a bird.", "bob"
    deltas = list(maker.stream_speech(text, voice=voice, speech_temperature=0.0))
    codecs, codec = maker.processor.codecs, maker.config.speech_codec
    assert codecs is not None
    assert codecs.speech is not None
    assert codec is not None
    talk, reply, expected = [Message.user(SAY_ALOUD.format(text=text))], list[int](), list[Any]()
    for clause in clauses(text):
        reply += [*words(clause), AUDIO_BEGIN]
        codes: list[int] = []
        while len(codes) < 25:
            scores = belief(maker, talk, reply)
            candidates = [*scores[codec.ids.start : codec.ids.stop], scores[AUDIO_END] if codes else -np.inf]
            best = int(np.argmax(candidates))
            if best == codec.codebook_size:
                break
            codes.append(best)
            reply.append(codec.ids[best])
        reply.append(AUDIO_END)
        with torch.inference_mode():
            sound = codecs.speech.decode(torch.tensor([codes]), codecs.voice(voice)[None])[0]
        expected += [clause, np.frombuffer(pcm16(sound.numpy()), "<i2")]
    (message,) = collected(iter(deltas))
    assert len(message.parts) == len(expected) == 4
    for part, true in zip(message.parts, expected, strict=True):
        if isinstance(part, Text):
            assert part.text == true
        else:
            assert isinstance(part, Audio)
            found = samples(part)
            assert len(found) == len(true)
            assert np.abs(found.astype(int) - true).max() <= 2
    assert ended(deltas).completion_tokens == len(reply)


def test_cached_scores_are_the_uncached_ones_with_codes_in_between(maker: Model) -> None:
    talk = [
        Message.user([scribble(1), Text("Redder, and say it."), tone(0.3)]),
        Message.assistant([Text("Here: "), scribble(2), Text("Ah."), tone(0.4)]),
        Message.user("More."),
        Message.assistant([scribble(3)]),
    ]
    sequence = maker.processor.encode_messages(talk)
    ids, media = sequence.token_ids.tolist(), media_of([sequence.features])
    decoder = Decoder(maker._pretrained.model, threads=1, compile=False)
    expected = decoder.logits(ids, media)
    read = sequence.features[-1].end + 2
    rows = decoder.read(ids[:read], media)
    assert rows is not None
    assert sum(token >= tokenizer().vocab_size for token in ids[read:]) > 4 * N_CODES
    for place, token in enumerate(ids[read:], read):
        torch.testing.assert_close(rows.scores[0], expected[place - 1], rtol=1e-4, atol=1e-4)
        decoder.step(rows, [token])


# Ends


def test_speech_that_is_cut_is_a_recording_still(maker: Model) -> None:
    begun = words("Ah")
    for codes in (1, 5, 30):
        deltas = planned(
            maker,
            [*begun, AUDIO_BEGIN, *begun],
            Making("speech"),
            max_tokens=len(begun) + 1 + codes,
            speech_temperature=0.0,
        )
        (message,) = collected(iter(deltas))
        assert kinds(message)[:2] == ["text", "audio"]
        assert 0 < len(samples(message.parts[1])) <= codes * SAMPLES_PER_CODE  # type: ignore[arg-type]
        assert ended(deltas).finish_reason == "length"
    assert len(samples(message.parts[1])) >= SAMPLES_PER_CODE  # type: ignore[arg-type]


def test_a_reply_of_nothing_but_an_unspoken_word_is_no_recording(maker: Model) -> None:
    message = maker.chat("Hi.", reply="speech", max_tokens=1)
    assert isinstance(message, Message)
    assert all(isinstance(part, Text) for part in message.parts)
    with pytest.raises(RequestError, match="was not spoken to its end"):
        maker.say("The cat sat.", max_tokens=1)


def test_speech_that_is_cancelled_is_heard_as_far_as_it_came(maker: Model) -> None:
    text = "Once upon a time, the cat sat on the mat."
    whole = list(maker.stream_speech(text, seed=4))
    parted = list(maker.stream_speech(text, seed=4, cancel=After(2 * len(words(text)) + 6)))
    assert ended(parted).finish_reason == "cancelled"
    assert ended(parted).completion_tokens < ended(whole).completion_tokens
    spoken = b"".join(delta.pcm16 for delta in parted if isinstance(delta, AudioDelta))
    assert 0 < len(spoken) < len(b"".join(delta.pcm16 for delta in whole if isinstance(delta, AudioDelta)))


# The public face


def test_a_model_speaks(maker: Model, tmp_path: Path) -> None:
    assert maker.voices == ("anna", "bob")
    own = maker.say("The cat sat.")
    assert len(samples(own)) > 0
    assert maker.say("The cat sat.", voice="anna") == own
    assert maker.say("The cat sat.", voice="bob") != own
    assert maker.say("  The cat sat.\n") == own
    heard = tone(0.5)
    assert heard.data is not None
    (tmp_path / "voice.wav").write_bytes(heard.data)
    like = maker.say("The cat sat.", voice=heard)
    assert like != own
    assert (
        maker.say("The cat sat.", voice=heard.data) == maker.say("The cat sat.", voice=tmp_path / "voice.wav") == like
    )
    message = maker.chat("Hello.", reply="speech", voice="bob", **WHOLE)  # type: ignore[arg-type]
    assert isinstance(message, Message)
    assert message != maker.chat("Hello.", reply="speech", **WHOLE)  # type: ignore[arg-type]
    assert kinds(message)[:2] == ["text", "audio"]


def test_a_text_is_said_word_by_word(maker: Model) -> None:
    text = "Once upon a time, the cat sat on the mat. 猫坐在垫子上。"
    (message,) = collected(maker.stream_speech(text))
    assert message.text == text
    assert [part.text for part in message.parts if isinstance(part, Text)] == clauses(text)
    assert kinds(message) == ["text", "audio"] * 3


def test_all_of_a_text_is_in_the_recording(maker: Model) -> None:
    text = "Once upon a time, the cat sat on the mat."
    (message,) = collected(maker.stream_speech(text))
    spoken = np.concatenate([samples(part) for part in message.parts if isinstance(part, Audio)])
    assert len(clauses(text)) == 2
    np.testing.assert_array_equal(samples(maker.say(text)), spoken)


def test_a_model_writes_down_what_it_hears(maker: Model) -> None:
    heard = tone(0.5)
    told = maker.transcribe(heard, max_tokens=9)
    asked = maker.chat(WRITE_DOWN, audio=heard, reply="text", max_tokens=9)
    assert isinstance(asked, Message)
    assert told == asked.text
    assert len(told) > 3
    assert maker.transcribe(heard, max_tokens=9, n=2) == told


def empty_wav() -> bytes:
    return wav_bytes(b"", 4_000)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda model: model.chat("Hi.", reply="picture"), r"reply = 'picture' \(one of: auto, image, speech, text\)"),
        (lambda model: model.chat("Hi.", reply="speach"), r"reply = 'speach' \(did you mean 'speech'\?\)"),
        (lambda model: model.chat("Hi.", reply=None), "reply = None"),
        (lambda model: model.chat("Hi.", reply="image", pictures=0), "pictures = 0: ask for 1 or more"),
        (
            lambda model: model.chat("Hi.", reply="speech", voice="carl"),
            r"there is no voice 'carl' \(one of: anna, bob",
        ),
        (lambda model: model.say("Hi.", voice="carl"), "there is no voice 'carl'"),
        (lambda model: model.say("Hi.", voice=wav_bytes(bytes(8_000), 4_000)), "the recording of the voice is silent"),
        (lambda model: model.say("Hi.", voice=tone(0.1)), "shorter than a quarter of a second"),
        (lambda model: model.say("Hi.", voice=3), "must be a path, bytes or Audio"),
        (lambda model: model.say(""), "there is nothing to say: the text is empty"),
        (lambda model: model.say(" \n"), "there is nothing to say: the text is empty"),
        (lambda model: model.say("?! 😀"), "no letter and no digit"),
        (lambda model: model.say(3), "the text to say must be a string, not int"),
        (lambda model: model.draw("Hi.", image_temperature=-1), "image_temperature = -1"),
        (lambda model: model.draw("Hi.", image_guidance=-1), "image_guidance = -1"),
        (lambda model: model.say("Hi.", speech_top_p=0), "speech_top_p = 0"),
        (lambda model: model.draw("Hi.", stop_token_ids=[IMAGE_BEGIN]), "nothing was drawn before the reply ended"),
        (lambda model: model.draw("Hi.", cancel=After(2)), "nothing was drawn before the reply ended"),
    ],
)
def test_what_cannot_be_asked_is_one_helpful_line(maker: Model, ask: Callable[[Model], object], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        ask(maker)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("voice", [b"", b"noise", empty_wav()])
def test_a_voice_of_no_recording_is_refused(maker: Model, voice: bytes) -> None:
    with pytest.raises((DataError, RequestError)) as caught:
        maker.say("Hi.", voice=voice)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda model: model.chat("Hi.", reply="image"), "cannot draw: it has no image codec"),
        (lambda model: model.draw("Hi."), "cannot draw: it has no image codec"),
        (lambda model: model.chat("Hi.", reply="speech"), "cannot speak: it has no speech codec"),
        (lambda model: model.say("Hi."), "cannot speak: it has no speech codec"),
        (lambda model: model.say("Hi.", voice="anna"), "maker cannot speak: .* voice means nothing"),
        (lambda model: model.chat("Hi.", voice=tone()), "maker cannot speak: .* voice means nothing"),
    ],
)
def test_a_model_without_codecs_says_so(mute: Model, ask: Callable[[Model], object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        ask(mute)
    assert mute.voices == ()


def test_a_model_without_codecs_answers_as_ever(mute: Model) -> None:
    plain = mute.chat("Hi.", reply="text", max_tokens=12)
    assert mute.chat("Hi.", max_tokens=12) == mute.chat("Hi.", max_tokens=12, image_guidance=3.0) == plain
    assert kinds(plain) == ["text"]  # type: ignore[arg-type]


def test_a_model_whose_codec_has_no_voices_writes_and_speaks_with_a_given_one() -> None:
    model = make_model(voices=())
    assert model.voices == ()
    for reply in ("auto", "text"):
        message = model.chat("Hi.", reply=reply, max_tokens=30, logit_bias={AUDIO_BEGIN: 50.0})  # type: ignore[arg-type]
        assert "audio" not in kinds(message)  # type: ignore[arg-type]
    assert isinstance(model.complete("The cat", max_tokens=3), str)
    assert is_picture(model.draw("A ball."))
    for ask in (lambda: model.say("Hi."), lambda: model.chat("Hi.", reply="speech")):
        with pytest.raises(RequestError, match="no voice of its own"):
            ask()
    assert len(samples(model.say("Hi.", voice=tone(0.5)))) > 0


def test_leaning_on_what_is_seen_leaves_words_to_choose_from() -> None:
    """Though what the model would like best is to speak, which a reply in words may not."""
    model = make_model()
    omni = model._pretrained.model
    shown = [Message.user([picture(), Text("What is it?")])]
    prompt = model.processor.encode_messages(shown, add_generation_prompt=True)
    with torch.no_grad():
        states = omni.hidden_states(torch.from_numpy(prompt.token_ids)[None].long(), media_of([prompt.features]))
        omni.decoder.embeddings.token.weight[AUDIO_BEGIN] = states[0, -1]  # type: ignore[index]
    assert torch.from_numpy(belief(model, shown, [])).softmax(0)[AUDIO_BEGIN] > 0.9
    message = model.chat(shown, reply="text", guidance=2.0, max_tokens=6)
    assert kinds(message) == ["text"]  # type: ignore[arg-type]
    assert len(message.text) > 0  # type: ignore[union-attr]


def test_a_model_without_eyes_draws_but_is_shown_nothing() -> None:
    model = make_model(eyes=False, ears=False)
    assert is_picture(model.draw("A ball."))
    assert len(samples(model.say("A ball."))) > 0
    with pytest.raises(RequestError, match="maker cannot see"):
        model.draw("Redder.", image=scribble())
    with pytest.raises(RequestError, match="maker cannot hear"):
        model.transcribe(tone())


def test_a_text_that_does_not_fit_is_not_said_in_part(maker: Model) -> None:
    with pytest.raises(RequestError, match="was not spoken to its end"):
        maker.say("The cat sat on the mat. " * 12, seed=1)


def test_a_model_without_eyes_and_ears_remembers_what_it_made() -> None:
    blind = make_model(eyes=False, ears=False)
    drawn = blind.chat("A ball.", reply="image", seed=1)
    said = blind.chat("Say it.", reply="speech", seed=1, max_tokens=60)
    assert isinstance(drawn, Message)
    assert isinstance(said, Message)
    asked = [Message.user("A ball."), drawn, Message.user("Say it."), said, Message.user("And now?")]
    assert isinstance(blind.chat(asked, reply="text", max_tokens=3), Message)
    with pytest.raises(RequestError, match="cannot see"):
        blind.chat([Message.user(drawn.parts)])
