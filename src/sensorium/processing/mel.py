"""Log-mel spectrograms as Whisper's (Radford et al. 2022, arXiv:2212.04356), and recordings in windows of them."""

from __future__ import annotations

import functools
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from sensorium.codecs.spectra import POWER_FLOOR, POWER_RANGE, mel_filters
from sensorium.config import AudioConfig
from sensorium.errors import DataError

Samples: TypeAlias = npt.NDArray[np.float32]
Values: TypeAlias = npt.NDArray[np.float32]

_LOUDEST = 65536.0  # 16-bit samples that nobody scaled are still heard: all is relative to the peak
_AT_ONCE = 256  # frames: what lies between the steps stays in the processor's cache
_BAND = 16  # mels


def log_mel(samples: Samples, config: AudioConfig) -> Values:
    """The log-mel spectrogram of one stretch of sound, `(log10(power) + 4) / 4`, clipped 80 dB below its peak.

    Args:
        samples: (n,) float32 at `config.sample_rate`.
        config: sizes of the transform.

    Returns:
        (n_mels, frames) float32, one frame per whole `hop` and at least one.

    Raises:
        DataError: when there is no sample, or one is not a finite number.
    """
    check_samples(samples, config.sample_rate)
    frames, half = max(len(samples) // config.hop, 1), config.n_fft // 2
    wave = torch.from_numpy(np.require(samples, np.float32, ("C", "W")))
    if len(wave) <= half:  # too short to be reflected at its ends: silence follows
        wave = F.pad(wave, (0, half + 1 - len(wave)))
    wave = torch.cat([wave[1 : half + 1].flip(0), wave, wave[-half - 1 : -1].flip(0)])  # reflected at its ends
    window, bands = _tables(config.sample_rate, config.n_fft, config.n_mels)
    framed = wave.as_strided((frames, config.n_fft), (config.hop, 1))
    levels = torch.empty(config.n_mels, frames)
    for start in range(0, frames, _AT_ONCE):
        spectrum = torch.fft.rfft(framed[start : start + _AT_ONCE] * window)
        squares = torch.view_as_real(spectrum).square()  # (frames, n_fft // 2 + 1, 2)
        power = (squares[..., 0] + squares[..., 1]).T
        for band in bands:
            levels[band.mels, start : start + _AT_ONCE] = band.filters @ power[band.bins]
    levels.clamp_(min=POWER_FLOOR).log10_()
    values: Values = levels.clamp_(min=float(levels.max()) - POWER_RANGE).add_(4.0).mul_(0.25).numpy()
    return values


def audio_windows(samples: Samples, config: AudioConfig) -> list[Values]:
    """Log-mels of consecutive windows of `window_seconds`, (n_mels, frames) float32 each.

    The last one keeps its own length, or with `pad_to_window` is filled up with silence, as Whisper does. What is
    left over at the end without a whole frame is no window.

    Raises:
        DataError: when there is no sample, or one is not a finite number.
    """
    size = round(config.window_seconds * config.sample_rate)
    windows = []
    for start in range(0, max(len(samples), 1), size):
        window = samples[start : start + size]
        if start and len(window) < config.hop:
            break
        windows.append(_log_mel_filled(window, size, config) if config.pad_to_window else log_mel(window, config))
    return windows


def check_samples(samples: Samples, sample_rate: int) -> None:
    """Raise `DataError` when samples are none, or are not a row of finite numbers of a believable size."""
    if samples.ndim != 1 or len(samples) == 0:
        raise DataError(f"a recording must be a row of samples, not an array of shape {samples.shape}")
    if not (samples.max() <= _LOUDEST and samples.min() >= -_LOUDEST):  # both are NaN when any is NaN
        where = int(np.argmax(~(np.abs(samples) <= _LOUDEST)))
        value = float(samples[where])
        raise DataError(f"sample {where} ({where / sample_rate:.3f} s) is {value:g}; samples lie between -1 and 1")


def _log_mel_filled(samples: Samples, size: int, config: AudioConfig) -> Values:
    """Log-mel of samples followed by silence up to `size`. Frames that hear only the silence are not computed."""
    heard = min(size, (len(samples) + 2 * (config.n_fft + config.hop)) // config.hop * config.hop)
    values = log_mel(np.pad(samples, (0, heard - len(samples))) if heard > len(samples) else samples, config)
    missing = size // config.hop - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing)), mode="edge") if missing else values


class _Band(NamedTuple):
    """Neighbouring mels, and the bins they hear: a filter is zero nearly everywhere, which need not be multiplied."""

    mels: slice
    bins: slice
    filters: torch.Tensor  # (mels, bins)


@functools.lru_cache(16)
def _tables(sample_rate: int, n_fft: int, n_mels: int) -> tuple[torch.Tensor, list[_Band]]:
    """Hann's window, (n_fft,), and the mel filters in bands, in float32."""
    filters = mel_filters(sample_rate, n_fft, n_mels).astype(np.float32)
    bands = []
    for start in range(0, n_mels, _BAND):
        heard = np.flatnonzero(filters[start : start + _BAND].any(axis=0))
        bins = slice(int(heard[0]), int(heard[-1]) + 1) if len(heard) else slice(0, 1)
        part = np.ascontiguousarray(filters[start : start + _BAND, bins])
        bands.append(_Band(slice(start, start + _BAND), bins, torch.from_numpy(part)))
    return torch.hann_window(n_fft), bands
