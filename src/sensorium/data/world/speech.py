"""Speech of the generated world: any sentence, in English or Mandarin, by any of many voices."""

from __future__ import annotations

import io
import wave

import numpy as np
import numpy.typing as npt
import soxr

from sensorium.data.world.espeak import RATE as _ESPEAK_RATE
from sensorium.data.world.espeak import synthesise
from sensorium.data.world.voices import espeak_name, even_manner, manner_of, voice_of

RATE = 16_000  # samples a second
_FAINT = 0.003  # the most RMS of noise where nobody speaks


def speak(text: str, language: str, voice: int, *, split: str, take: int | None = 0) -> npt.NDArray[np.float32]:
    """Say a text: (samples,) within -1..1, mono at `RATE`, the same for the same arguments in every process.

    Speed, pitch and loudness vary with the text and the take.

    Args:
        text: what to say, at most 2,000 characters.
        language: en or zh.
        voice: who says it, an integer from 0 on (see `voice_of`).
        split: whose voices: of train, validation or judge; no voice is heard in two.
        take: another number says the same in another manner; None is the speaker's even one, alike for all texts.

    Raises:
        ConfigError: the extra `world` is not installed; language, voice or split is unknown.
        DataError: the text is empty, too long, or holds nothing that can be said.
    """
    speaker = voice_of(voice, split)
    manner, loudness = even_manner(speaker) if take is None else manner_of(speaker, language, text, take)
    samples = synthesise(text, espeak_name(speaker, language), manner)
    scaled = samples.astype(np.float32) * np.float32(loudness / 2**15)
    sound: npt.NDArray[np.float32] = np.clip(soxr.resample(scaled, _ESPEAK_RATE, RATE), -1.0, 1.0)
    return sound


def background_noise(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A recording in which nobody speaks: (samples,) of faint noise at `RATE`, half a second to three seconds."""
    samples = int(rng.uniform(0.5, 3.0) * RATE)
    return rng.standard_normal(samples, dtype=np.float32) * np.float32(rng.uniform(0.0, _FAINT))


def wav_bytes(samples: npt.NDArray[np.float32]) -> bytes:
    """A mono 16-bit WAV file of samples at `RATE`."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(samples * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()
