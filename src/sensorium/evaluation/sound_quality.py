"""How far a sound is from the one it should be, by measures that no codec here is trained on."""

from __future__ import annotations

import importlib
import math
import warnings
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.codecs.spectra import log_mel_frames, magnitudes
from sensorium.errors import ConfigError, DataError

Samples: TypeAlias = npt.NDArray[np.float32]

RATE = 16_000  # samples a second
_DECIBELS = 20 / math.log(10)  # of a natural logarithm of amplitudes
_RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))  # n_fft, hop
_FLOOR = 1e-5  # sizes of bins below this count as this


def mel_distance(heard: Samples, true: Samples) -> float:
    """Mean absolute difference of log-mel spectra in dB (80 mels, windows of 1,024 samples every 256); 0 if equal.

    Args:
        heard: (n,) samples at `RATE`.
        true: (n,) what they should be.

    Raises:
        DataError: the two are not equally long rows of finite samples.
    """
    ours, theirs = (log_mel_frames(sound, RATE, 1024, 256, 80) for sound in _pair(heard, true))
    return float((ours - theirs).abs().mean()) * _DECIBELS


def stft_distance(heard: Samples, true: Samples) -> float:
    """Spectral convergence and mean difference of natural log sizes, added, as a mean over three resolutions.

    After Yamamoto et al. 2020, arXiv:1910.11480, with windows of 512, 1,024 and 2,048 samples; arguments and errors
    are those of `mel_distance`.
    """
    ours, theirs = _pair(heard, true)
    parts = [_spectral(magnitudes(ours, *size), magnitudes(theirs, *size)) for size in _RESOLUTIONS]
    return sum(parts) / len(parts)


def stoi(heard: Samples, true: Samples) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), by pystoi: 1 if equal, 0.4 or less for noise.

    Args:
        heard: (n,) samples at `RATE`.
        true: (n,) what they should be.

    Raises:
        ConfigError: pystoi, of the extra `test`, is not installed.
        DataError: as `mel_distance`, or less than 0.4 s of `true` is louder than silence.
    """
    _pair(heard, true)
    try:
        pystoi: Any = importlib.import_module("pystoi")
    except ImportError:
        raise ConfigError("STOI needs pystoi, of the extra test: pip install 'sensorium[test]'") from None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(true, heard, RATE))
        except RuntimeWarning:
            raise DataError(
                f"STOI compares 0.4 s of speech at least, and {len(true) / RATE:.2f} s with its silences cut out "
                "are less (give longer sounds)"
            ) from None


def _spectral(ours: Tensor, theirs: Tensor) -> float:
    convergence = (ours - theirs).norm() / theirs.norm().clamp_min(_FLOOR)
    apart = ours.clamp_min(_FLOOR).log() - theirs.clamp_min(_FLOOR).log()
    return float(convergence + apart.abs().mean())


def _pair(heard: Samples, true: Samples) -> tuple[Tensor, Tensor]:
    """(1, n) of each."""
    if heard.ndim != 1 or heard.shape != true.shape or not len(heard):
        raise DataError(
            f"sounds of shapes {heard.shape} and {true.shape} cannot be compared (give two rows of as many samples)"
        )
    if not (np.isfinite(heard).all() and np.isfinite(true).all()):
        raise DataError("a sound to compare has samples that are not finite numbers")
    ours, theirs = (torch.from_numpy(np.array(sound, np.float32))[None] for sound in (heard, true))
    return ours, theirs
