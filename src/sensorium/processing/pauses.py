"""Long recordings in stretches, cut where nobody speaks: models are raised on sentences, and people go on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sensorium.config import AudioConfig
from sensorium.messages import Audio
from sensorium.processing.audio import Samples, load_audio
from sensorium.processing.codes import pcm16, wav_bytes

_FRAMES = 50  # a second, whose loudness is compared
_PAUSE = 13  # frames: longer than within a word, or between two
_BREATH = 9  # frames over which loudness is averaged where there is no pause
_NOTHING = 0.002  # of full scale, -54 dB: no microphone is so far from who speaks
_SILENT = 0.03  # of the loudest frame's amplitude


def stretches(part: Audio, config: AudioConfig, seconds: float) -> list[Audio]:
    """A recording of more than `seconds` cut in its pauses, and where it is quietest so that none lasts longer.

    Stretches without sound are left out; of a recording without any its first second is as good as all. One that is
    short enough stays as it is, as all do where `seconds` is 0.

    Raises:
        DataError: as `load_audio`.
    """
    if not seconds:
        return [part]
    samples = load_audio(part, config)
    if np.abs(samples).max() < _NOTHING:
        return [_part(samples[: config.sample_rate], config)]
    if len(samples) <= seconds * config.sample_rate:
        return [part]
    hop = max(config.sample_rate // _FRAMES, 1)
    frames = np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop)
    loudness = np.sqrt(np.square(frames).mean(1))
    sounds = loudness > _SILENT * loudness.max()
    longest = max(int(seconds * config.sample_rate) // hop, 2)
    pieces = [
        samples[start * hop : end * hop]
        for first, last in pairwise([0, *_pauses(sounds), len(frames)])
        for start, end in pairwise(_cuts(loudness, first, last, longest))
        if sounds[start:end].any()
    ]
    return [_part(piece, config) for piece in pieces]


def _part(samples: Samples, config: AudioConfig) -> Audio:
    return Audio(data=wav_bytes(pcm16(samples), config.sample_rate))


def _pauses(sounds: npt.NDArray[np.bool_]) -> list[int]:
    """The middles of the pauses between frames that sound."""
    (heard,) = np.nonzero(sounds)
    return [int(before + after + 1) // 2 for before, after in pairwise(heard) if after - before > _PAUSE]


def _cuts(loudness: npt.NDArray[np.float32], first: int, last: int, longest: int) -> list[int]:
    """From the first frame to the last, cut at the quietest moment of the second half of the time it may last."""
    smooth = np.convolve(loudness, np.full(_BREATH, 1 / _BREATH), "same")
    cuts = [first]
    while last - cuts[-1] > longest:
        half = cuts[-1] + longest // 2
        cuts.append(half + int(np.argmin(smooth[half : cuts[-1] + longest + 1])))
    return [*cuts, last]
