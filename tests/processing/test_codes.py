"""Pictures and speech as tokens: codes to files and back, and in the vocabulary."""

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
from making import N_CODES, SAMPLES_PER_CODE, make_config, make_model, retouched, scribble, tokenizer
from media_parts import picture, tone

from sensorium.api import Model
from sensorium.config import AugmentConfig, ModelConfig
from sensorium.errors import ConfigError, DataError, RequestError
from sensorium.messages import Audio, Message
from sensorium.processing import Processor
from sensorium.processing.codes import Codecs, pcm16, png_bytes, wav_bytes
from sensorium.processing.raw import RawMedia

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


def test_codes_stay_where_a_picture_does(codecs: Codecs) -> None:
    spread = 0
    for seed in range(12):
        before = scribble(seed)
        for row, column in ((0, 0), (1, 2)):
            after = retouched(before, row, column, 120 if seed % 2 else -120)
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
        slightly = codecs.picture_ids(retouched(before, 0, 1, 5), of=codecs.shown(before))
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
