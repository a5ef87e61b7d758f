"""Recordings of every format, rate and number of channels become 16 kHz mono, or one clear error."""

import base64
import contextlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sensorium.config import AudioConfig
from sensorium.errors import DataError
from sensorium.messages import Audio
from sensorium.processing.audio import load_audio
from sensorium.processing.mel import audio_windows

CONFIG = AudioConfig()


def tone(rate: int = 16_000, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def encoded(samples: np.ndarray, rate: int = 16_000, form: str = "WAV", subtype: str | None = None) -> Audio:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=form, subtype=subtype)
    return Audio(data=stream.getvalue())


def wav(rate: int, channels: int, data: bytes, size: int | None = None) -> Audio:
    """A 16-bit WAV with a header of one's own."""
    size = len(data) if size is None else size
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, (2 * rate * channels) % 2**32, 2 * channels, 16)
    return Audio(data=b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + data)


@pytest.mark.parametrize(
    ("form", "subtype", "near"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "FLOAT", 1e-6),
        ("WAV", "DOUBLE", 1e-6),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", "VORBIS", 0.05),
        ("OGG", "OPUS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.05),
        ("AIFF", "PCM_16", 1e-4),
    ],
)
def test_every_format_is_heard(form: str, subtype: str, near: float) -> None:
    heard = load_audio(encoded(tone(), form=form, subtype=subtype), CONFIG)
    assert heard.shape == (16_000,)
    assert heard.dtype == np.float32
    assert np.abs(heard - tone())[800:-800].max() < near


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_becomes_sixteen_thousand(rate: int) -> None:
    heard = load_audio(encoded(tone(rate), rate), CONFIG)
    assert abs(len(heard) - 16_000) <= 1
    assert np.abs(heard - tone()[: len(heard)])[800:-800].max() < 0.01


def test_what_lies_above_half_the_rate_is_not_folded_down() -> None:
    heard = load_audio(encoded(tone(48_000, hertz=15_000.0), 48_000), CONFIG)
    assert np.abs(heard)[800:-800].max() < 1e-3


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_channels_are_mixed_equally(channels: int) -> None:
    samples = np.stack([tone(hertz=200.0 * (1 + index)) for index in range(channels)], axis=1)
    heard = load_audio(encoded(samples, subtype="FLOAT"), CONFIG)
    np.testing.assert_allclose(heard, samples.mean(axis=1), atol=1e-6)


def test_long_recordings_are_resampled_without_seams() -> None:
    """Eight channels at 192 kHz are decoded in several blocks."""
    samples = np.repeat(tone(192_000, 2.0)[:, None], 8, axis=1)
    heard = load_audio(encoded(samples, 192_000, subtype="FLOAT"), CONFIG)
    assert abs(len(heard) - 32_000) <= 1
    assert np.abs(heard - tone(seconds=2.0)[: len(heard)])[800:-800].max() < 1e-3


def test_data_file_and_data_address_are_the_same(tmp_path: Path) -> None:
    part = encoded(tone())
    (tmp_path / "a.bin").write_bytes(part.data)
    expected = load_audio(part, CONFIG)
    address = "data:audio/wav;base64," + base64.b64encode(part.data).decode()
    for other in (Audio(path=tmp_path / "a.bin"), Audio(url=address)):
        np.testing.assert_array_equal(load_audio(other, CONFIG), expected)


def test_silence_is_silence() -> None:
    heard = load_audio(encoded(np.zeros(16_000)), CONFIG)
    assert not heard.any()
    (values,) = audio_windows(heard, CONFIG)
    assert (values == -1.5).all()


def test_a_hundredth_of_a_second_is_heard() -> None:
    (values,) = audio_windows(load_audio(encoded(tone(seconds=0.01)), CONFIG), CONFIG)
    assert values.shape == (80, 1)


def test_a_header_that_promises_too_much_is_not_believed() -> None:
    assert load_audio(wav(16_000, 1, bytes(400), size=2**31), CONFIG).shape == (200,)


# Limits


def test_two_hours_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with path.open("wb") as file:  # a file with a hole: two hours that take no room
        file.write(wav(16_000, 1, b"", size=2 * 7_200 * 16_000).data)
        file.truncate(44 + 2 * 7_200 * 16_000)
    with pytest.raises(DataError, match=r"long\.wav lasts 7200\.0 s, longer than 600 s \(set max_seconds"):
        load_audio(Audio(path=path), CONFIG)


def test_the_limits_are_the_last_that_is_allowed() -> None:
    part = encoded(tone())
    size = len(part.data)
    assert len(load_audio(part, AudioConfig(max_seconds=1.0, max_bytes=size))) == 16_000
    with pytest.raises(DataError, match=r"lasts 1\.0 s, longer than 0\.99 s"):
        load_audio(part, AudioConfig(max_seconds=0.99))
    with pytest.raises(DataError, match=rf"has {size} bytes, more than {size - 1} \(set max_bytes\)"):
        load_audio(part, AudioConfig(max_bytes=size - 1))


# Bad input


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_an_error(value: float) -> None:
    samples = tone().astype(np.float32)
    samples[4_000] = value
    with pytest.raises(DataError, match=r"sample 4000 \(0\.250 s\) is (nan|inf)"):
        load_audio(encoded(samples, subtype="FLOAT"), CONFIG)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Audio(data=b""), "is empty"),
        (Audio(data=b"Hello, this is no sound at all."), "no recording that can be read"),
        (Audio(data=b"RIFF"), "no recording that can be read"),
        (Audio(data=b"ID3" + bytes(300)), "no recording that can be read"),
        (Audio(data=b"\xff\xfb\x90\x00" * 4), "it is cut short or broken"),
        (encoded(np.zeros(0)), "holds no sound"),
        (wav(0, 1, bytes(100)), "no recording that can be read"),
        (wav(16_000, 0, bytes(100)), "no recording that can be read"),
        (wav(1, 1, bytes(100)), "has 1 samples a second, outside 1000 to 1536000"),
        (wav(2**31 - 1, 1, bytes(100)), "has 2147483647 samples a second"),
        (Audio(url="https://example.org/a.wav"), "fetch it first"),
        (Audio(path=Path("/no/such/file.wav")), r"/no/such/file\.wav does not exist"),
    ],
)
def test_what_is_no_recording_is_a_clear_error(part: Audio, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_audio(part, CONFIG)
    assert "\n" not in str(caught.value)
    assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_bits_that_flipped_never_crash(form: str) -> None:
    rng = np.random.default_rng(2)
    data = np.frombuffer(encoded(tone(seconds=0.3), form=form).data, np.uint8)
    for _ in range(30):
        broken = data.copy()
        broken[rng.integers(0, min(len(data), 120), 4)] = rng.integers(0, 256, 4)
        with contextlib.suppress(DataError):
            assert np.isfinite(load_audio(Audio(data=broken.tobytes()), CONFIG)).all()


@pytest.mark.parametrize(
    ("archive", "rate"),
    [("fsdd/recordings.tar", 8_000), ("librispeech/train_3_speakers.tar", 16_000), ("audio_cmn/syllables.tar", 22_050)],
)
def test_real_recordings_are_heard(archive: str, rate: int, shared_data: Path) -> None:
    with tarfile.open(shared_data / archive) as tar:
        member = next(item for item in tar if item.name.endswith((".wav", ".flac", ".mp3")))
        data = tar.extractfile(member).read()
    samples, stored_rate = soundfile.read(io.BytesIO(data))
    assert stored_rate == rate
    assert abs(len(load_audio(Audio(data=data), CONFIG)) - len(samples) * 16_000 / rate) <= 1
