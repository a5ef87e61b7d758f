"""Log-mel spectrograms equal Whisper's, of any length, with and without its padding."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import WhisperFeatureExtractor

from sensorium.config import AudioConfig
from sensorium.errors import DataError
from sensorium.processing.mel import audio_windows, log_mel, mel_filters

CONFIG = AudioConfig()
LENGTHS = [201, 399, 400, 5_000, 32_000, 479_000, 479_700, 480_000]


def noise(samples: int, seed: int = 0, loudness: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(samples) * loudness).astype(np.float32)


def theirs(samples: np.ndarray, n_mels: int = 80, padding: str = "max_length") -> np.ndarray:
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    return extractor(samples, sampling_rate=16_000, return_tensors="np", padding=padding)["input_features"][0]


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("samples", LENGTHS)
def test_equals_whisper_with_its_padding(samples: int, n_mels: int) -> None:
    wave = noise(samples, samples)
    (ours,) = audio_windows(wave, AudioConfig(n_mels=n_mels, pad_to_window=True))
    assert ours.shape == (n_mels, 3000)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs(wave, n_mels), atol=1e-4, rtol=0)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("samples", LENGTHS)
def test_equals_whisper_without_padding(samples: int, n_mels: int) -> None:
    wave = noise(samples, samples)
    (ours,) = audio_windows(wave, AudioConfig(n_mels=n_mels))
    assert ours.shape == (n_mels, samples // 160)
    np.testing.assert_allclose(ours, theirs(wave, n_mels, "longest"), atol=1e-4, rtol=0)


@pytest.mark.parametrize("loudness", [1e-6, 1e-3, 1.0, 1e4])
def test_equals_whisper_at_any_loudness(loudness: float) -> None:
    wave = noise(8_000, loudness=loudness)
    np.testing.assert_allclose(log_mel(wave, CONFIG), theirs(wave, padding="longest"), atol=1e-4, rtol=0)


@given(
    st.integers(1, 3000),
    st.sampled_from([(400, 160), (512, 512), (256, 300), (401, 100)]),
    st.integers(400, 4000),
    st.booleans(),
)
def test_padding_is_silence_that_follows(length: int, sizes: tuple[int, int], window: int, loud: bool) -> None:
    """What is left out, frames that hear only the padding, is what the transform would give."""
    (n_fft, hop), window = sizes, max(window, *sizes)
    config = AudioConfig(n_fft=n_fft, hop=hop, n_mels=20, window_seconds=window / 16_000, pad_to_window=True)
    wave = noise(min(length, window), length, 0.5 if loud else 1e-4)
    (ours,) = audio_windows(wave, config)
    whole = log_mel(np.pad(wave, (0, window - len(wave))), config)
    np.testing.assert_allclose(ours, whole, atol=1e-5, rtol=0)


def test_silence_is_the_floor_everywhere() -> None:
    silence = np.zeros(16_000, np.float32)
    assert (log_mel(silence, CONFIG) == -1.5).all()
    np.testing.assert_allclose(log_mel(silence, CONFIG), theirs(silence, padding="longest"))


@pytest.mark.parametrize("samples", [1, 160, 200, 319])
def test_a_hundredth_of_a_second_is_one_frame(samples: int) -> None:
    (values,) = audio_windows(noise(samples), CONFIG)
    assert values.shape == (80, 1)
    assert np.isfinite(values).all()


def test_long_recordings_become_windows() -> None:
    wave = noise(2 * 16_000 + 5_000)
    config = AudioConfig(window_seconds=1.0)
    windows = audio_windows(wave, config)
    assert [values.shape[1] for values in windows] == [100, 100, 31]
    for index, values in enumerate(windows):
        np.testing.assert_array_equal(values, log_mel(wave[index * 16_000 : (index + 1) * 16_000], config))
    padded = audio_windows(wave, AudioConfig(window_seconds=1.0, pad_to_window=True))
    assert [values.shape[1] for values in padded] == [100, 100, 100]


def test_a_remainder_without_a_frame_is_no_window() -> None:
    assert len(audio_windows(noise(16_000 + 159), AudioConfig(window_seconds=1.0))) == 1
    assert len(audio_windows(noise(16_000 + 160), AudioConfig(window_seconds=1.0))) == 2


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_filters_are_whispers(n_mels: int, shared_data: Path) -> None:
    published = np.load(shared_data / "checkpoints" / "vocabs" / "whisper_mel_filters.npz")[f"mel_{n_mels}"]
    np.testing.assert_allclose(mel_filters(16_000, 400, n_mels), published, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_sound_are_an_error(value: float) -> None:
    wave = noise(16_000)
    wave[8_000] = value
    with pytest.raises(DataError, match=r"sample 8000 \(0\.500 s\) is"):
        log_mel(wave, CONFIG)


@pytest.mark.parametrize("shape", [(0,), (2, 400), ()])
def test_only_a_row_of_samples_is_heard(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="must be a row of samples"):
        log_mel(np.zeros(shape, np.float32), CONFIG)
    if shape == (0,):
        with pytest.raises(DataError, match="must be a row of samples"):
            audio_windows(np.zeros(0, np.float32), CONFIG)


def test_samples_are_left_as_they_are() -> None:
    wave = noise(4_000)
    wave.setflags(write=False)
    before = wave.copy()
    log_mel(wave, CONFIG)
    np.testing.assert_array_equal(wave, before)


def test_a_window_without_a_frame_is_refused() -> None:
    with pytest.raises(ValidationError, match="shorter than a frame"):
        AudioConfig(window_seconds=0.01)
