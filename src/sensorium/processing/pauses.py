"""Long recordings in stretches, cut where they are quietest: models are raised on sentences, and people go on."""

from __future__ import annotations

import numpy as np

from sensorium.config import AudioConfig
from sensorium.messages import Audio
from sensorium.processing.audio import Samples, load_audio
from sensorium.processing.codes import pcm16, wav_bytes

_FRAMES = 50  # a second, whose loudness is compared
_BREATH = 9  # frames over which it is averaged: a gap between words is shorter than one between sentences
_SILENT = 0.03  # of the loudest frame: a stretch that stays below says nothing


def stretches(part: Audio, config: AudioConfig, seconds: float) -> list[Audio]:
    """A recording, cut where it is quietest so that no stretch is longer than `seconds`; those without sound left out.

    One that is short enough stays as it is, and so does every recording where `seconds` is 0.

    Raises:
        DataError: as `load_audio`.
    """
    if not seconds:
        return [part]
    samples = load_audio(part, config)
    if len(samples) <= seconds * config.sample_rate:
        return [part]
    pieces = _cut(samples, config.sample_rate, seconds)
    loudest = float(np.abs(samples).max())
    return [
        Audio(data=wav_bytes(pcm16(piece), config.sample_rate))
        for piece in pieces
        if np.abs(piece).max() > _SILENT * loudest
    ] or [part]


def _cut(samples: Samples, sample_rate: int, seconds: float) -> list[Samples]:
    """Each stretch ends at the quietest moment of the second half of the time it may last."""
    hop = max(sample_rate // _FRAMES, 1)
    longest = max(int(seconds * sample_rate) // hop, 2)  # in frames, as all below
    frames = np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop)
    loudness = np.convolve(np.square(frames).mean(1), np.full(_BREATH, 1 / _BREATH), "same")
    pieces, start = [], 0
    while len(frames) - start > longest:
        first = start + longest // 2
        end = first + int(np.argmin(loudness[first : start + longest + 1]))
        pieces.append(samples[start * hop : end * hop])
        start = end
    return [*pieces, samples[start * hop :]]
