"""Recordings: any file that libsndfile reads (WAV, FLAC, OGG, MP3, …), to mono float32 at one sample rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from sensorium.config import AudioConfig
from sensorium.errors import DataError
from sensorium.messages import Audio
from sensorium.processing.limits import named, open_media
from sensorium.processing.mel import check_samples

Samples: TypeAlias = npt.NDArray[np.float32]

_RATES = (1_000, 1_536_000)  # Hz; beyond these a header is wrong, or there is no speech in it
_BLOCK = 2**20  # samples of all channels that are decoded at a time


def load_audio(part: Audio, config: AudioConfig) -> Samples:
    """Decode a recording, mix its channels equally, and resample it: (n,) float32 at `config.sample_rate`.

    One that breaks off is heard as far as it goes, where its format can do without an end.

    Raises:
        DataError: when it cannot be read, holds no sound or samples that are no numbers, has more than `max_bytes`
            or (by its header, before decoding) lasts longer than `max_seconds`, or is an address that was not fetched.
    """
    name = named(part)
    with open_media(part, config.max_bytes) as stream:
        try:
            with soundfile.SoundFile(stream) as sound:
                _check_length(sound, config, name)
                samples = _resampled(_mono_blocks(sound, config, name), sound.samplerate, config.sample_rate)
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            raise DataError(f"{name} is no recording that can be read: {_reason(error)}") from None
    if len(samples) == 0:
        raise DataError(f"{name} holds no sound")
    return samples


def _check_length(sound: soundfile.SoundFile, config: AudioConfig, name: str) -> None:
    low, high = _RATES
    if not low <= sound.samplerate <= high:
        raise DataError(f"{name} has {sound.samplerate} samples a second, outside {low} to {high}")
    seconds = sound.frames / sound.samplerate
    if sound.frames < _UNKNOWN and seconds > config.max_seconds:
        raise DataError(_too_long(name, f"{seconds:.1f}", config))


_UNKNOWN = 2**62  # libsndfile gives about the largest integer for a length that no header tells


def _too_long(name: str, seconds: str, config: AudioConfig) -> str:
    return f"{name} lasts {seconds} s, longer than {config.max_seconds:g} s (set max_seconds, or cut it)"


def _mono_blocks(sound: soundfile.SoundFile, config: AudioConfig, name: str) -> Iterator[Samples]:
    """Decode block by block, the mean of all channels; checks what the header did not tell."""
    size = max(_BLOCK // sound.channels, 1)
    heard, limit = 0, config.max_seconds * sound.samplerate
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        mono: Samples = block[:, 0] if sound.channels == 1 else block.mean(axis=1)
        try:
            check_samples(mono, sound.samplerate)
        except DataError as error:
            after = f" after {heard / sound.samplerate:.1f} s" if heard else ""
            raise DataError(f"{name}{after}: {error}") from None
        heard += len(mono)
        if heard > limit:
            raise DataError(_too_long(name, f"over {config.max_seconds:g}", config))
        yield mono


def _resampled(blocks: Iterator[Samples], rate: int, wanted: int) -> Samples:
    if rate == wanted:
        parts = list(blocks)
    else:
        resampler = soxr.ResampleStream(rate, wanted, 1, dtype="float32")
        parts = [resampler.resample_chunk(block) for block in blocks]
        parts.append(resampler.resample_chunk(np.empty(0, np.float32), last=True))
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])


def _reason(error: Exception) -> str:
    """What libsndfile says, without the Python object that it read from."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0].rpartition(">: ")[2]
    return "it is cut short or broken" if said.startswith("File does not exist") else said  # of an MP3 without a frame
