"""Long recordings are cut where nobody speaks."""

import io

import numpy as np
import pytest
import soundfile

from sensorium.config import AudioConfig
from sensorium.errors import DataError
from sensorium.messages import Audio
from sensorium.processing.audio import load_audio
from sensorium.processing.pauses import stretches

CONFIG, RATE = AudioConfig(), 16_000


def recording(samples: np.ndarray) -> Audio:
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, format="WAV", subtype="PCM_16")
    return Audio(data=stream.getvalue())


def spoken(*seconds: float, pause: float = 0.4) -> np.ndarray:
    """Sentences of noise, with gaps as between words, and pauses between them."""
    rng, pieces = np.random.default_rng(4), []
    for length in seconds:
        sentence = 0.3 * rng.standard_normal(int(length * RATE)).clip(-2, 2)
        for start in range(RATE // 2, len(sentence), RATE // 2):
            sentence[start : start + RATE // 20] = 0  # 50 ms
        pieces += [sentence, np.zeros(int(pause * RATE))]
    return np.concatenate(pieces[:-1])


def test_what_is_short_stays_as_it_is() -> None:
    part = recording(spoken(3.0))
    assert stretches(part, CONFIG, 0.0) == [part]
    assert stretches(part, CONFIG, 3.0) == [part]


def test_long_recordings_are_cut_in_their_pauses_and_nothing_is_lost() -> None:
    lengths = (3.0, 3.5, 2.6, 1.2)
    part = recording(spoken(*lengths))
    heard = [load_audio(piece, CONFIG) for piece in stretches(part, CONFIG, 5.0)]
    assert len(heard) == 4
    assert np.allclose(np.concatenate(heard), load_audio(part, CONFIG), atol=1e-4)
    pauses = np.cumsum([length + 0.4 for length in lengths])[:-1] - 0.2  # the middle of each
    assert np.cumsum([len(piece) / RATE for piece in heard])[:-1] == pytest.approx(pauses, abs=0.03)


def test_without_pauses_they_are_cut_where_they_are_quietest() -> None:
    samples = spoken(9.0) + 0.05 * np.random.default_rng(1).standard_normal(9 * RATE).clip(-2, 2)
    quiet = slice(int(4.1 * RATE), int(4.3 * RATE))
    samples[quiet] *= 0.1
    heard = [load_audio(piece, CONFIG) for piece in stretches(recording(samples), CONFIG, 5.0)]
    assert [len(piece) / RATE for piece in heard] == pytest.approx([4.2, 4.8], abs=0.1)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 2.0, 7.7])
def test_none_is_longer_than_asked_for(seconds: float) -> None:
    rng = np.random.default_rng(int(100 * seconds))
    part = recording(0.2 * rng.standard_normal(9 * RATE + 123).clip(-2, 2))
    heard = [load_audio(piece, CONFIG) for piece in stretches(part, CONFIG, seconds)]
    assert max(map(len, heard)) <= max(seconds, 0.04) * RATE
    assert sum(map(len, heard)) == 9 * RATE + 123


def test_silent_stretches_are_left_out() -> None:
    silence = np.zeros(8 * RATE)
    sounds = stretches(recording(np.concatenate([spoken(2.0), silence, spoken(2.0)])), CONFIG, 4.0)
    assert len(sounds) == 2


@pytest.mark.parametrize("seconds", [0.5, 3.0, 60.0])
@pytest.mark.parametrize("loudness", [0.0, 2**-15, 0.001])
def test_of_silence_a_second_is_as_good_as_all(seconds: float, loudness: float) -> None:
    noise = loudness * np.random.default_rng(2).uniform(-1, 1, int(seconds * RATE))
    (piece,) = stretches(recording(noise), CONFIG, 4.0)
    assert len(load_audio(piece, CONFIG)) == min(seconds, 1.0) * RATE


@pytest.mark.parametrize("loudness", [0.005, 1.0])
def test_what_is_soft_is_no_silence(loudness: float) -> None:
    part = recording(loudness * spoken(3.0))
    assert stretches(part, CONFIG, 4.0) == [part]


def test_what_is_no_recording_is_an_error() -> None:
    with pytest.raises(DataError):
        stretches(Audio(data=b"hm"), CONFIG, 4.0)
