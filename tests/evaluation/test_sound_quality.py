"""Distances between sounds: nothing between equal ones, more with every noise, and clear errors for other shapes."""

import sys

import numpy as np
import pytest

from sensorium.data.world.speech import RATE, speak
from sensorium.errors import ConfigError, DataError
from sensorium.evaluation.sound_quality import mel_distance, stft_distance, stoi

Samples = np.ndarray


@pytest.fixture(scope="module")
def sound(request: pytest.FixtureRequest) -> Samples:
    request.getfixturevalue("world_extra")
    return speak("How many red apples are there?", "en", 0, split="train")


@pytest.fixture(scope="module")
def noisy(sound: Samples) -> list[Samples]:
    """The sound with noise 30, 15 and 0 dB below it."""
    noise = np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32) * sound.std()
    return [sound + noise * 10 ** (-decibels / 20) for decibels in (30, 15, 0)]


@pytest.mark.parametrize("distance", [mel_distance, stft_distance])
def test_equal_sounds_are_at_no_distance_and_noise_takes_them_apart(distance, sound, noisy) -> None:
    assert distance(sound, sound) == 0.0
    apart = [distance(other, sound) for other in noisy]
    assert 0 < apart[0] < apart[1] < apart[2]


def test_mel_distance_is_in_decibels() -> None:
    rng = np.random.default_rng(1)
    loud = rng.standard_normal(RATE).astype(np.float32)
    assert mel_distance(loud / 10, loud) == pytest.approx(20.0, abs=1e-3)
    assert mel_distance(loud / 2, loud) == pytest.approx(6.0206, abs=1e-3)


def test_stft_distance_of_half_the_loudness_is_known() -> None:
    loud = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    assert stft_distance(loud / 2, loud) == pytest.approx(0.5 + np.log(2), abs=1e-3)


def test_intelligibility_is_one_for_equal_sounds_and_falls_with_noise(sound, noisy) -> None:
    assert stoi(sound, sound) == pytest.approx(1.0)
    scores = [stoi(other, sound) for other in noisy]
    assert 1.0 > scores[0] > scores[1] > scores[2]
    noise = np.random.default_rng(2).standard_normal(len(sound)).astype(np.float32)
    assert stoi(noise, sound) < 0.4


@pytest.mark.parametrize("distance", [mel_distance, stft_distance, stoi])
def test_other_shapes_are_errors(distance, sound) -> None:
    with pytest.raises(DataError, match=r"of shapes \(10,\) and \(11,\) cannot be compared"):
        distance(np.zeros(10, np.float32), np.zeros(11, np.float32))
    with pytest.raises(DataError, match=r"of shapes \(2, 10\) and \(2, 10\) cannot be compared"):
        distance(np.zeros((2, 10), np.float32), np.zeros((2, 10), np.float32))
    with pytest.raises(DataError, match="cannot be compared"):
        distance(np.zeros(0, np.float32), np.zeros(0, np.float32))
    with pytest.raises(DataError, match="not finite"):
        distance(np.full(len(sound), np.nan, np.float32), sound)


def test_too_little_sound_has_no_intelligibility(sound) -> None:
    with pytest.raises(DataError, match=r"STOI compares 0\.4 s of speech at least, and 0\.20 s"):
        stoi(sound[:3200], sound[:3200])


def test_without_pystoi_the_error_names_the_extra(sound, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(ConfigError, match=r"STOI needs pystoi, of the extra test: pip install 'sensorium\[test\]'"):
        stoi(sound, sound)
