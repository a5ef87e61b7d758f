"""Pictures and speech as tokens: codes to files and back, and how both stand in a conversation."""

from __future__ import annotations

import io
import pickle
import wave

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import N_CODES, SAMPLES_PER_CODE, make_config, make_model, scribble, tokenizer
from media_parts import IMAGE, picture, tone

from sensorium.api import Model
from sensorium.clauses import clauses
from sensorium.config import AugmentConfig, ModelConfig
from sensorium.errors import ConfigError, DataError, RequestError
from sensorium.inference.grammar import Grammar, Making, Vocabulary
from sensorium.messages import Audio, Image, Message, Part, Text
from sensorium.processing import Processor, Sequence
from sensorium.processing.codes import Codecs, pcm16, png_bytes, wav_bytes
from sensorium.processing.processor import wordless
from sensorium.processing.raw import RawMedia


@pytest.fixture(scope="module")
def maker() -> Model:
    return make_model()


@pytest.fixture(scope="module")
def processor(maker: Model) -> Processor:
    return maker.processor


@pytest.fixture(scope="module")
def codecs(processor: Processor) -> Codecs:
    assert processor.codecs is not None
    return processor.codecs


def controls(*names: str) -> list[int]:
    return [tokenizer().control_ids[f"<|{name}|>"] for name in names]


def words(text: str) -> list[int]:
    return tokenizer().encode(text)


# From media to tokens and back


def test_a_picture_is_one_token_for_each_square_row_by_row(codecs: Codecs) -> None:
    ids = codecs.picture_ids(scribble(size=(48, 32)))
    codec = codecs.config.image_codec
    assert codec is not None
    assert ids.shape == (N_CODES,)
    assert ids.dtype == np.int32
    assert all(index in codec.ids for index in ids.tolist())
    assert len({codecs.picture_ids(scribble(seed)).tobytes() for seed in range(4)}) == 4
    drawn = np.asarray(PIL.Image.open(io.BytesIO(codecs.picture(ids.tolist()))))
    assert drawn.shape == (8, 12, 3)
    assert codecs.image is not None
    with torch.inference_mode():
        pixels = codecs.image.decode(torch.from_numpy(ids.astype(np.int64)).view(1, 2, 3) - codec.first_id)[0]
    np.testing.assert_allclose(drawn.transpose(2, 0, 1) / 127.5 - 1, pixels, atol=1 / 255 + 1e-6)


def changed(picture: Image, row: int, column: int, by: int) -> Image:
    """The same picture, one square of 4 × 4 pixels brighter or darker."""
    assert picture.data is not None
    pixels = np.asarray(PIL.Image.open(io.BytesIO(picture.data))).astype(int)
    square = pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
    square[1, 2] = np.clip(square[1, 2] + by, 0, 255)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return Image(data=stream.getvalue())


def test_codes_stay_where_a_picture_does(codecs: Codecs) -> None:
    spread = 0
    for seed in range(12):
        before = scribble(seed)
        for row, column in ((0, 0), (1, 2)):
            after = changed(before, row, column, 120 if seed % 2 else -120)
            old, new, alone = (
                codecs.picture_ids(before).reshape(2, 3),
                codecs.picture_ids(after, of=codecs.shown(before)).reshape(2, 3),
                codecs.picture_ids(after).reshape(2, 3),
            )
            elsewhere = np.ones((2, 3), bool)
            elsewhere[row, column] = False
            assert (new[elsewhere] == old[elsewhere]).all()
            assert new[row, column] == alone[row, column]
            spread += int((alone != old)[elsewhere].sum())
        slightly = codecs.picture_ids(changed(before, 0, 1, 5), of=codecs.shown(before))
        assert (slightly == codecs.picture_ids(before)).all()
    assert spread > 0  # by itself the picture would have other codes elsewhere, too


def test_a_recording_is_one_token_for_each_stretch(codecs: Codecs) -> None:
    ids = codecs.speech_ids(tone(0.5))
    codec = codecs.config.speech_codec
    assert codec is not None
    assert ids.shape == (0.5 * codec.sample_rate / SAMPLES_PER_CODE,)
    assert all(index in codec.ids for index in ids.tolist())


@pytest.mark.parametrize("length", [0, N_CODES - 1, N_CODES + 1])
def test_a_picture_with_other_than_all_its_codes_is_none(codecs: Codecs, length: int) -> None:
    with pytest.raises(RequestError, match=f"a picture has {N_CODES} codes, and here are {length}"):
        codecs.picture([400] * length)


def test_tokens_that_are_no_codes_make_no_picture(codecs: Codecs) -> None:
    with pytest.raises(RequestError, match="is outside the codebook"):
        codecs.picture([3] * N_CODES)


def test_what_a_model_cannot_make_is_said() -> None:
    mute = make_model(draws=False, voices=None).processor.codecs
    assert mute is None
    draws = make_model(voices=None).processor.codecs
    speaks = make_model(draws=False).processor.codecs
    assert draws is not None
    assert speaks is not None
    for ask in (lambda: draws.speech_ids(tone()), draws.voice):
        with pytest.raises(RequestError, match="this model cannot speak: it has no speech codec"):
            ask()
    for ask in (lambda: speaks.picture_ids(picture()), lambda: speaks.picture([400] * N_CODES)):
        with pytest.raises(RequestError, match="this model cannot draw: it has no image codec"):
            ask()


def test_a_voice_is_named_heard_or_the_models_own(codecs: Codecs) -> None:
    assert codecs.speech is not None
    assert torch.equal(codecs.voice(), codecs.speech.voice_named("anna"))
    assert torch.equal(codecs.voice("bob"), codecs.speech.voice_named("bob"))
    assert codecs.voice(tone(0.5)).norm().item() == pytest.approx(1.0)


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_a_voice_that_is_hardly_heard_is_refused(codecs: Codecs, seconds: float) -> None:
    time = int(seconds * 4_000)
    heard = np.zeros(time) if seconds == 0.5 else np.sin(np.arange(time))
    with pytest.raises(RequestError, match="silent, or shorter than a quarter of a second"):
        codecs.voice(Audio(data=wav_bytes(pcm16(heard.astype(np.float32)), 4_000)))


@settings(max_examples=20)
@given(st.lists(st.floats(-2, 2, width=32), max_size=50))
def test_samples_are_rounded_to_sixteen_bits_and_clipped(samples: list[float]) -> None:
    pcm = pcm16(np.array(samples, dtype=np.float32))
    with wave.open(io.BytesIO(wav_bytes(pcm, 4_000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 4_000)
        found = np.frombuffer(file.readframes(100), "<i2")
    np.testing.assert_allclose(found / 32_767, np.clip(samples, -1, 1), atol=0.51 / 32_767)


def test_pixels_are_rounded_to_eight_bits_and_clipped() -> None:
    pixels = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]).view(1, 1, 7).expand(3, 1, 7)
    found = np.asarray(PIL.Image.open(io.BytesIO(png_bytes(pixels))))
    assert found[0, :, 0].tolist() == [0, 0, 64, 128, 191, 255, 255]


def test_codecs_that_travel_between_processes_give_the_same_codes(processor: Processor, codecs: Codecs) -> None:
    again = pickle.loads(pickle.dumps(processor))
    assert again.codecs is not None
    assert again.codecs.picture_ids(scribble()).tolist() == codecs.picture_ids(scribble()).tolist()
    talk = [Message.user("Draw."), Message.assistant([scribble()])]
    assert again.encode_messages(talk).token_ids.tolist() == processor.encode_messages(talk).token_ids.tolist()


def test_a_codec_of_half_precision_is_used_as_a_copy_in_single() -> None:
    model = make_model()._pretrained.model
    model.half()
    made = Codecs(model.config, model.image_codec, model.speech_codec)
    assert made.image is not model.image_codec
    assert made.image is not None
    assert made.image.from_code.weight.dtype == torch.float32
    assert model.image_codec is not None
    assert model.image_codec.from_code.weight.dtype == torch.float16
    assert len(made.picture_ids(scribble())) == N_CODES


def test_media_are_read_within_the_limits_of_eyes_and_ears() -> None:
    config = make_config()
    assert config.vision is not None
    assert config.speech is not None
    tight = {"max_pixels": 100}
    vision = config.vision.model_copy(update={"image": config.vision.image.model_copy(update=tight)})
    audio = config.speech.audio.model_copy(update={"max_seconds": 0.1})
    speech = config.speech.model_copy(update={"audio": audio})
    media = RawMedia(config.model_copy(update={"vision": vision, "speech": speech}))
    with pytest.raises(DataError, match="16x16"):
        media.pixels(picture())
    with pytest.raises(DataError, match=r"0\.5"):
        media.samples(tone(0.5))
    assert RawMedia(config).pixels(picture(size=(30, 20))).shape == (3, 8, 12)
    assert RawMedia(config).samples(tone(0.5)).shape == (2_000,)


def test_media_are_varied_by_chance_where_asked() -> None:
    chance = AugmentConfig(brightness=0.5, gain_db=6.0)
    varied = [RawMedia(make_config()).augmented(chance, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    pixels = [each.pixels(picture("orange")).tobytes() for each in varied]
    samples = [each.samples(tone()).tobytes() for each in varied]
    for first, again, other in (pixels, samples):
        assert first == again != other


# In the vocabulary


def test_codes_that_are_words_are_refused() -> None:
    config = make_config()
    assert config.image_codec is not None
    low = config.image_codec.model_copy(update={"first_id": 300})
    with pytest.raises(
        ConfigError, match=r"image_codec: its codes begin at token 300, but the tokenizer has \d+ tokens"
    ):
        Processor(tokenizer(), config=config.model_copy(update={"image_codec": low}))


def test_codes_need_room_of_their_own() -> None:
    config = make_config()
    plain = config.model_dump()
    assert ModelConfig.parse(plain, "test") == config
    end = config.decoder.vocab_size
    with pytest.raises(
        ConfigError, match=rf"image_codec: its 12 codes from token {end - 5} on do not fit a vocabulary"
    ):
        ModelConfig.parse({**plain, "image_codec": {**plain["image_codec"], "first_id": end - 5}}, "test")
    first = plain["image_codec"]["first_id"]
    with pytest.raises(ConfigError, match=r"speech_codec: its codes .* are another codec's already"):
        ModelConfig.parse({**plain, "speech_codec": {**plain["speech_codec"], "first_id": first + 3}}, "test")
    assert list(config.codecs()) == ["image_codec", "speech_codec"]


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
    assert wordless([Message.assistant([Text("Yes. "), tone()])]) == [Message.assistant([Text("Yes. "), tone()])]


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_words_are_dropped_by_chance_where_a_picture_answers(processor: Processor, chance: float) -> None:
    varied = processor.augmented(AugmentConfig(drop_words=chance), np.random.default_rng(0))
    asked = [Message.user([scribble(1), Text("Redder.")]), Message.assistant([scribble(2)])]
    full = processor.encode_messages(asked).token_ids.tolist()
    bare = processor.encode_messages(wordless(asked)).token_ids.tolist()
    assert len(bare) == len(full) - len(words("Redder."))
    found = [varied.encode_messages(asked).token_ids.tolist() for _ in range(30)]
    assert all(each in (full, bare) for each in found)
    dropped = sum(each == bare for each in found)
    assert dropped == 30 * chance if chance != 0.5 else 8 <= dropped <= 22
    # Where words or speech answer, nothing is dropped.
    for answer in ([Text("A scribble.")], [Text("A scribble."), tone(0.25)]):
        talk = [Message.user([scribble(1), Text("What is it?")]), Message.assistant(answer)]
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


# Changes of a picture


def test_a_change_keeps_the_pixels_where_codes_stay(maker: Model) -> None:
    codecs = maker.processor.codecs
    assert codecs is not None
    assert codecs.image is not None
    first, n = codecs.image.config.first_id, codecs.image.config.codebook_size
    shown = scribble(7, (48, 32))  # larger than what is drawn, which is 12 by 8
    before = PIL.Image.open(io.BytesIO(shown.data or b"")).convert("RGB").resize((12, 8), PIL.Image.Resampling.BICUBIC)
    ids = codecs.picture_ids(shown).tolist()
    given = codecs.shown(shown)
    assert list(given.ids) == ids

    def changed(to: list[int]) -> np.ndarray:
        return np.asarray(PIL.Image.open(io.BytesIO(png_bytes(codecs.pixels(to, of=given)))), int)

    np.testing.assert_allclose(changed(ids), np.asarray(before, int), atol=1)
    assert not torch.equal(codecs.pixels(ids, of=given), codecs.pixels(ids))

    other = [first + (each - first + 1) % n for each in ids]
    torch.testing.assert_close(codecs.pixels(other, of=given), codecs.pixels(other))

    one = [*ids[:-1], other[-1]]  # the last code of 2 rows of 3: its neighbours change, the first column does not
    np.testing.assert_allclose(changed(one)[:, :2], np.asarray(before, int)[:, :2], atol=1)
    drawn = np.asarray(PIL.Image.open(io.BytesIO(codecs.picture(one))), int)
    np.testing.assert_allclose(changed(one)[-2:, -2:], drawn[-2:, -2:], atol=1)
